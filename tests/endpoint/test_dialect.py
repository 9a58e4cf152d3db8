"""The published dialect, between a conversation with a real journal and engine and a link that is a fake."""

import json
from dataclasses import replace
from uuid import uuid4

import pytest

from compute_nb import wire
from compute_nb.amqp import Incoming
from compute_nb.endpoint.dialect import Dialect
from compute_nb.published_messages import PublishedResult, PublishedTask, StatusReport
from compute_nb.tasks import new_id

from .test_conversation import CODE, ENDPOINT, PLACES, SERIALIZER, Life


class Spoken:
    """A life of an agent whose link speaks the published dialect."""

    def __init__(self, folder, **options):
        self.life = Life(folder, **options)
        self.link = self.life.link
        self.dialect = Dialect(ENDPOINT, PLACES.results, PLACES.heartbeats, 12.5, {"python_version": "3"})
        self.dialect.join(self.life.agent, self.link)
        self.life.agent._link, self.life.agent._stop = self.dialect, self.dialect.end
        self.link.is_open = True
        assert self.dialect.plan().queues == (PLACES.tasks,)
        self.dialect.on_open(self.link)
        self.dialect.on_ready(self.link)

    def task(self, value, *, tag=1, **headers):
        task_id = new_id()
        told = {"function_uuid": str(uuid4()), "task_uuid": str(task_id), **headers}
        body = wire.encode(PublishedTask(task_id, CODE + SERIALIZER.pack_call((value,), {})))
        self.dialect.on_message(self.link, Incoming(PLACES.tasks, body, tag, told))
        return task_id

    def results(self):
        found = [m for _, _, m in self.link.published if isinstance(m, PublishedResult)]
        return {result.task_id: result for result in found}

    def confirm(self, ok=True):
        for number, _, _ in list(self.link.published):
            self.dialect.on_confirm(self.link, number, ok)

    def pump(self, until):
        self.life.link.confirms = False
        self.life.pump(until)

    def end(self):
        self.dialect.on_end(None)


@pytest.fixture
def spoken(tmp_path):
    made = []

    def begin(**options):
        for one in made:
            one.end()
        made[:] = [Spoken(tmp_path, **options)]
        return made[-1]

    yield begin
    for one in made:
        one.end()


def test_single_tasks_become_single_results_that_are_forgotten_when_confirmed(spoken):
    one = spoken()
    tasks = [one.task(n, tag=n) for n in (1, 2)]
    assert one.link.acked == [1, 2]
    one.pump(lambda: set(one.results()) == set(tasks))
    result = one.results()[tasks[1]]
    assert SERIALIZER.deserialize(result.data) == 2
    assert (result.error, result.details) == (None, {"python_version": "3"})
    assert result.started_at <= result.ended_at
    assert one.life.journal.done()
    one.confirm()
    assert one.life.journal.done() == []


def test_what_the_broker_refuses_is_sent_again(spoken):
    one = spoken()
    task_id = one.task(7)
    one.pump(lambda: task_id in one.results())
    one.confirm(ok=False)
    one.link.published.clear()
    one.pump(lambda: task_id in one.results())
    one.confirm()
    assert one.life.journal.done() == []


def test_heartbeats_say_that_it_is_the_same_and_at_last_that_it_ends(spoken):
    one = spoken()
    beats = [m for _, _, m in one.link.published if isinstance(m, StatusReport)]
    assert beats[0].endpoint_id == ENDPOINT
    assert beats[0].global_state["active"]
    assert beats[0].global_state["start_unix"] == 12.5
    assert beats[0].global_state["compute_nb_figures"]["workers"] == 2
    one.dialect.end()
    last = one.link.published[-1][2]
    assert last.global_state == {"heartbeat_period": 0, "active": False}
    assert one.link.stopped


def test_what_was_broken_ends_as_lost(spoken):
    one = spoken(workers=1)
    running, waiting = one.task("/never/there"), one.task(5)
    one.pump(lambda: one.life.agent._running)
    one = spoken(workers=1)
    error = one.results()[running].error
    assert error[0] == "TaskLost"
    assert "killed or stopped" in error[1]
    one.pump(lambda: waiting in one.results())
    one.confirm()
    assert (one.life.journal.done(), one.life.journal.broken()) == ([], [])


@pytest.mark.parametrize(
    "headers",
    [{"function_uuid": "x"}, {"task_uuid": None}, {"resource_specification": "{"}],
)
def test_a_task_that_can_not_be_read_is_refused(spoken, headers):
    one = spoken()
    one.task(1, tag=9, **headers)
    assert (one.link.rejected, one.link.acked) == ([9], [])


def test_options_travel(spoken):
    one = spoken()
    wanted = json.dumps({"num_nodes": 1})
    task_id = one.task(1, resource_specification=wanted)
    one.pump(lambda: task_id in one.results())
    assert "processes" in one.results()[task_id].error[1]  # has no nodes to give
    strategy = "compute_nb.serialize:NoSuchStrategy"
    task_id = one.task(1, result_serializers=[strategy])
    one.pump(lambda: task_id in one.results())
    assert "NoSuchStrategy" in one.results()[task_id].error[1]


def test_another_message_in_the_queue_is_refused(spoken):
    one = spoken()
    message = Incoming(PLACES.tasks, wire.encode(wire.Stop()), 3, {})
    one.dialect.on_message(one.link, message)
    one.dialect.on_message(one.link, replace(message, body=b"", tag=4))
    assert one.link.rejected == [3, 4]
