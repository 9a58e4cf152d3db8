"""The queues of groups: which are read, what is asked for where there is none, results before their names."""

from __future__ import annotations

import threading
from uuid import UUID

import pytest

from compute_nb import wire
from compute_nb.amqp import Incoming
from compute_nb.config import ServiceSettings
from compute_nb.errors import ComputeError
from compute_nb.future import ComputeFuture
from compute_nb.groups import LONGEST_PAUSE_S, MAX_QUEUES, GroupQueues
from compute_nb.home import Home
from compute_nb.published_messages import PublishedResult
from compute_nb.reach import Reach
from compute_nb.spool import Spool
from compute_nb.tasks import ErrorCode, TaskState, new_id
from compute_nb.terms import Terms
from compute_nb.watcher import ResultWatcher


class Waiting:
    """Has open tasks, and notes which are asked about."""

    def __init__(self):
        self.open, self.asked = [], []

    def open_tasks(self):
        return [future for future in self.open if not future.done()]

    def ask_about(self, task_ids):
        self.asked.append(list(task_ids))


class Call:
    """What a link was asked to call later."""

    def __init__(self, seconds, call):
        self.seconds, self.call, self.cancelled = seconds, call, False

    def cancel(self):
        self.cancelled = True


class Link:
    """Notes what it is told; time passes when the test says so."""

    is_open = True

    def __init__(self):
        self.reading, self.left, self.calls, self.settled = {}, [], [], []

    def read(self, queue, on_missing):
        self.reading[queue] = on_missing

    def leave(self, queue):
        del self.reading[queue]
        self.left.append(queue)

    def call_later(self, seconds, call):
        self.calls.append(Call(seconds, call))
        return self.calls[-1]

    def call_soon(self, call):
        call()

    def ack_beside(self, message):
        self.settled.append(("ack", message.tag))

    def reject_beside(self, message):
        self.settled.append(("reject", message.tag))

    def lose(self, queue):
        self.reading.pop(queue)(queue, ComputeError("no queue"))

    def due(self):
        """Makes the last call that is still wanted; returns after how many seconds it came."""
        call = next(one for one in reversed(self.calls) if not one.cancelled)
        call.cancelled = True
        call.call()
        return call.seconds


@pytest.fixture
def waiting():
    return Waiting()


@pytest.fixture
def queues(waiting):
    one = GroupQueues(waiting)
    one._prefix = "r."
    return one


def open_future(waiting, group=None):
    future = ComputeFuture(new_id(), Terms(new_id(), group or new_id()))
    future.sent, future.submitted_at = True, 1.0
    waiting.open.append(future)
    return future


def group_of(future) -> UUID:
    return future.terms.task_group_id


def test_each_group_is_read_once(queues, waiting):
    link, group = Link(), new_id()
    queues.follow(None, group, link)
    queues.follow(None, group, link)
    queues.ready(link)
    assert list(link.reading) == [f"r.{group}"]


def test_a_missing_queue_is_asked_for_with_growing_pauses(queues, waiting):
    link, future = Link(), open_future(waiting)
    queue = f"r.{group_of(future)}"
    queues.follow(None, group_of(future), link)
    pauses = []
    for _ in range(8):
        link.lose(queue)
        pauses.append(link.due())
    assert pauses == [0.5, 1, 2, 4, 8, 16, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    assert waiting.asked == [[future.id]] * 8
    assert queue in link.reading
    link.lose(queue)
    future.fail(ComputeError("over"))
    link.due()
    assert len(waiting.asked) == 8
    assert queue not in link.reading


def test_all_that_is_open_is_asked_for_now_and_then(queues, waiting):
    link, future = Link(), open_future(waiting)
    queues.follow(None, group_of(future), link)
    assert [link.due() for _ in range(6)] == [5, 10, 20, 40, 60, 60]
    assert waiting.asked == [[future.id]] * 6


def test_a_lost_connection_keeps_the_groups_that_are_needed(queues, waiting):
    link, future = Link(), open_future(waiting)
    for group in (group_of(future), new_id()):
        queues.follow(None, group, link)
    queues.forget()
    assert all(call.cancelled for call in link.calls)
    again = Link()
    queues.ready(again)
    assert list(again.reading) == [f"r.{group_of(future)}"]


def test_idle_queues_make_room(queues, waiting):
    link = Link()
    for _ in range(MAX_QUEUES):
        queues.follow(None, new_id(), link)
    future = open_future(waiting)
    queues.follow(None, group_of(future), link)
    assert len(link.reading) == MAX_QUEUES
    assert len(link.left) == 1
    assert f"r.{group_of(future)}" in link.reading


def message(record, **fields):
    return Incoming("r.x", wire.encode(record), 7, **fields)


def test_values_errors_and_what_is_to_be_fetched(queues, waiting):
    task_id, link = new_id(), Link()
    (value,) = queues.take(link, message(PublishedResult(task_id, "11\n1"), timestamp=9)).results
    assert (value.state, value.data, value.ended_at) == (TaskState.SUCCEEDED, "11\n1", 9.0)
    for code, state in ((ErrorCode.REMOTE, TaskState.FAILED), (ErrorCode.LOST, TaskState.LOST)):
        record = PublishedResult(task_id, "why", None, (code, "?"))
        (error,) = queues.take(link, message(record)).results
        assert (error.state, error.data, error.error_code) == (state, "why", code)
    fetched = message(PublishedResult(task_id, ""), headers={"high_assurance": True})
    assert queues.take(link, fetched).results == ()
    assert waiting.asked == [[task_id]]


def test_what_is_no_result_is_refused(queues):
    with pytest.raises(wire.MalformedMessage):
        queues.take(Link(), message(wire.Stop()))


def test_a_task_is_lost_only_after_a_minute_of_silence(waiting):
    future, now = open_future(waiting), [0.0]
    queues = GroupQueues(waiting, clock=lambda: now[0])
    assert queues.given_up([future], []) == []
    now[0] = 59.0
    assert queues.given_up([], [future.id]) == []
    now[0] = 119.0
    assert queues.given_up([future], []) == []
    now[0] = 180.0
    assert queues.given_up([future], []) == [future]


@pytest.fixture
def watcher(tmp_path):
    one = ResultWatcher(Reach(ServiceSettings("test", "http://127.0.0.1:1", token="x"), Home(tmp_path)))
    one.read_from(GroupQueues(one), Spool(Home(tmp_path)))
    yield one
    one._spool.close(30)


def result(task_id):
    return Incoming("r.x", wire.encode(PublishedResult(task_id, "11\n42")), 1)


def test_a_result_before_its_name_is_kept_for_it(watcher):
    future, task_id, link = ComputeFuture(new_id(), Terms(new_id(), new_id())), new_id(), Link()
    future.named = False
    watcher.add(future)
    watcher.expect_names()
    assert future.task_id is None
    watcher.on_message(link, result(task_id))
    watcher.on_message(link, result(new_id()))
    assert not future.done()
    watcher.name([(future, task_id)])
    assert future.result(0) == 42
    assert future.task_id == str(task_id)
    assert not watcher._early
    assert link.settled == [("ack", 1)] * 2


def test_a_result_is_acknowledged_once_it_is_on_the_disk(watcher):
    future, acknowledged = ComputeFuture(new_id(), Terms(new_id(), new_id())), threading.Event()
    found = []

    class Later(Link):
        def ack_beside(self, message):
            found.append(watcher._spool.of(future.terms.task_group_id))
            acknowledged.set()

    watcher.add(future)
    watcher.on_message(Later(), result(future.id))
    assert future.result(0) == 42
    assert acknowledged.wait(60)
    (kept,) = found
    assert kept[future.id].data == "11\n42"


def test_a_result_of_somebody_else_is_not_kept(watcher):
    watcher.on_message(Link(), result(new_id()))
    assert not watcher._early


def test_a_result_after_a_cancel_is_set_aside(watcher):
    future, task_id = ComputeFuture(new_id(), Terms(new_id(), new_id())), new_id()
    watcher.add(future)
    watcher.expect_names()
    future.withdraw()
    watcher.name([(future, task_id)])
    watcher.on_message(Link(), result(task_id))
    assert future.cancelled()
    assert repr(watcher).startswith("ResultWatcher<0 open")
