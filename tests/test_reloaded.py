"""The tasks of a reloaded group: made when looked at, fetched when asked for, each once."""

from __future__ import annotations

import concurrent.futures
import os
import threading

import pytest

from compute_nb.errors import ServiceUnreachable, TaskExecutionFailed, TaskLost
from compute_nb.future import ComputeFuture
from compute_nb.reloaded import FETCH_CHARACTERS, FIRST_FETCH, ReloadedTasks
from compute_nb.routes import Group, Status
from compute_nb.serialize import ComputeSerializer
from compute_nb.tasks import TaskResult, TaskState, new_id, new_ids
from compute_nb.terms import Terms

TERMS = Terms(new_id(), new_id())
ELSEWHERE = new_id()
SERIALIZER = ComputeSerializer()


class Keeper:
    process_id = os.getpid()

    def cancel(self, futures): ...

    def answered(self, endpoint_id): ...

    def environment(self, endpoint_id):
        return {}


class Service:
    """Answers as the service does, and notes what it was asked."""

    def __init__(self, count, value=lambda index: SERIALIZER.serialize(index), states=None):
        self.ids = new_ids(count)
        self.value = value
        self.states = states or {}
        self.asked = []
        self.away = False
        self.gone = set()

    def state(self, index):
        return self.states.get(index, TaskState.SUCCEEDED)

    def ask(self, task_ids):
        if self.away:
            raise ServiceUnreachable("not now")
        self.asked.append(len(task_ids))
        found = [i for i in map(self.ids.index, task_ids) if i not in self.gone]
        results = [
            TaskResult(
                self.ids[i], TERMS.task_group_id, self.state(i), self.value(i), None, 2, 10.0, 11.0, 12.0
            )
            for i in found
        ]
        return Status([], results, {self.ids[i]: ELSEWHERE if i == 1 else TERMS.endpoint_id for i in found})

    def reloaded(self):
        group = Group()
        group.endpoint_id = TERMS.endpoint_id
        group.add([[str(t), self.state(i).value, 10.0, 11.0, 12.0, 2] for i, t in enumerate(self.ids)])
        waited = {
            i: ComputeFuture(self.ids[i], TERMS, Keeper())
            for i in range(len(self.ids))
            if not self.state(i).ended
        }
        return ReloadedTasks(group, TERMS, Keeper(), waited, self.ask)


def test_nothing_is_asked_before_a_value_is_wanted():
    service = Service(20, states={3: TaskState.RUNNING, 4: TaskState.FAILED})
    tasks = service.reloaded()
    assert len(tasks) == 20
    assert [one.id for one in tasks] == service.ids
    assert [one.done() for one in tasks].count(False) == 1
    assert tasks[4].state is TaskState.FAILED
    assert (tasks[0].submitted_at, tasks[0].started_at, tasks[0].ended_at) == (10.0, 11.0, 12.0)
    assert (tasks[0].attempt, tasks[0].sent, tasks[0].cancel()) == (2, True, False)
    assert repr(tasks).endswith("18 SUCCEEDED, 1 WAITING, 1 FAILED>")
    done = concurrent.futures.wait(tasks, timeout=0)
    assert len(done.not_done) == 1
    assert service.asked == []


def test_it_is_a_sequence():
    tasks = Service(5).reloaded()
    assert tasks[-1] is tasks[4]
    assert tasks[1:3] == [tasks[1], tasks[2]]
    assert tasks[2] in tasks
    assert tasks.index(tasks[3]) == 3
    assert bool(Service(0).reloaded()) is False
    with pytest.raises(IndexError):
        tasks[5]


def test_values_come_in_pages_that_grow():
    service = Service(3000)
    tasks = service.reloaded()
    assert [one.result() for one in tasks] == list(range(3000))
    assert service.asked[0] == FIRST_FETCH
    assert service.asked[1:] == [1000, 1000, 992]
    assert tasks[1].terms.endpoint_id == ELSEWHERE
    assert tasks[2].terms is TERMS


def test_large_values_come_one_by_one():
    service = Service(FIRST_FETCH + 3, value=lambda index: "x" * FETCH_CHARACTERS)
    tasks = service.reloaded()
    assert all(one.raw for one in tasks)
    assert service.asked == [FIRST_FETCH, 1, 1, 1]


def test_a_value_that_is_not_to_be_had_now_is_asked_for_again():
    service = Service(
        3, states={2: TaskState.FAILED}, value=lambda i: SERIALIZER.serialize(i) if i < 2 else "no"
    )
    tasks = service.reloaded()
    service.away = True
    with pytest.raises(ServiceUnreachable):
        tasks[0].result()
    assert tasks[0].done()
    service.away = False
    assert tasks[0].result() == 0
    with pytest.raises(TaskExecutionFailed, match="no"):
        tasks[2].result()
    assert tasks[2].error_code is None
    assert service.asked == [3]


def test_a_task_that_is_gone_meanwhile_is_lost():
    service = Service(2)
    service.gone.add(1)
    tasks = service.reloaded()
    with pytest.raises(TaskLost, match="does not know task"):
        tasks[1].result()
    assert tasks[0].result() == 0


def test_many_threads_fetch_each_value_once():
    service = Service(500)
    tasks = service.reloaded()
    start = threading.Barrier(8)

    def read(_):
        start.wait(60)
        return [one.result() for one in tasks]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(8))) == [list(range(500))] * 8
    assert sum(service.asked) == 500


def test_a_retried_task_is_shown_by_the_newest_in_its_place():
    first, second, third, again, once_more = new_ids(5)
    group = Group()
    rows = [(first, []), (second, []), (third, []), (again, [str(second)]), (once_more, [str(again)])]
    group.add([[str(task_id), "SUCCEEDED", 10.0, 11.0, 12.0, 2, *more] for task_id, more in rows])
    group.settle()
    assert [group.task_id(index) for index in range(len(group))] == [first, once_more, third]
    assert [group.find(task_id) for task_id in (first, once_more, third)] == [0, 1, 2]
    assert group[1].task_id == once_more


def test_values_of_retried_tasks_come_from_their_newest():
    service = Service(12)
    ids = service.ids
    retried = {ids[9]: ids[2], ids[11]: ids[9], ids[10]: ids[0]}
    group = Group()
    group.endpoint_id = TERMS.endpoint_id
    for one in ids:
        more = [str(retried[one])] if one in retried else []
        group.add([[str(one), "SUCCEEDED", 10.0, 11.0, 12.0, 2, *more]])
    group.settle()
    tasks = ReloadedTasks(group, TERMS, Keeper(), {}, service.ask)
    assert [one.result() for one in tasks] == [10, 1, 11, 3, 4, 5, 6, 7, 8]
