"""A future ends once, wakes whoever waits in whatever way, and decodes when it is asked."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import subprocess
import sys
import threading

import pytest

from compute_nb.errors import ComputeError, DeserializationError, TaskExecutionFailed, TaskLost
from compute_nb.future import ComputeFuture
from compute_nb.serialize import ComputeSerializer, DillDataBase64, JSONData
from compute_nb.tasks import Move, TaskResult, TaskState, new_id
from compute_nb.terms import Terms

TERMS = Terms(new_id(), new_id())
SERIALIZER = ComputeSerializer()


class Keeper:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.process_id = os.getpid()
        self.cancelled: list[ComputeFuture] = []

    def cancel(self, futures):
        self.cancelled += futures

    def answered(self, endpoint_id): ...

    def environment(self, endpoint_id):
        return {"python": "3.11.7"} if endpoint_id == TERMS.endpoint_id else {}


def future(keeper=None) -> ComputeFuture:
    return ComputeFuture(new_id(), TERMS, keeper)


def success(one: ComputeFuture, value=42) -> TaskResult:
    data = SERIALIZER.serialize(value)
    return result(one, TaskState.SUCCEEDED, data)


def result(one: ComputeFuture, state: TaskState, data: str, code=None) -> TaskResult:
    return TaskResult(one.id, TERMS.task_group_id, state, data, code, 1, 10.0, 11.0, 12.0)


def test_a_result_gives_its_value_and_times():
    one = future()
    assert one.take(success(one))
    assert one.result() == 42
    assert one.exception() is None
    assert (one.state, one.attempt) == (TaskState.SUCCEEDED, 1)
    assert (one.submitted_at, one.started_at, one.ended_at) == (10.0, 11.0, 12.0)
    assert one.raw == SERIALIZER.serialize(42)
    assert one.done()
    assert not one.running()
    assert not one.cancelled()


def test_the_value_is_the_same_object_each_time():
    one = future()
    one.take(success(one, [1]))
    assert one.result() is one.result()


def test_none_is_a_value():
    one = future()
    one.take(success(one, None))
    assert one.result() is None


def test_nothing_is_read_before_it_is_asked_for():
    one = future()
    one.take(result(one, TaskState.SUCCEEDED, "00\nnot a pickle"))
    assert one.done()
    assert one.exception().__class__ is DeserializationError
    with pytest.raises(DeserializationError, match=str(one.task_id)):
        one.result()


def test_a_value_that_cannot_be_read_yet_is_read_later():
    one = future()
    one.take(result(one, TaskState.SUCCEEDED, "01\n" + "Y19fbWFpbl9fCmxhdGVyX2hlcmUKLg==\n"))
    with pytest.raises(DeserializationError, match="define that name here first"):
        one.result()
    main = sys.modules["__main__"]
    main.later_here = "now"
    try:
        assert one.result() == "now"
    finally:
        del main.later_here


def test_only_the_first_end_counts():
    one = future()
    assert one.take(success(one))
    assert not one.take(result(one, TaskState.FAILED, "late"))
    assert not one.fail(ComputeError("late"))
    assert not one.follow(Move(one.id, TERMS.task_group_id, TaskState.RUNNING, 2, 13.0))
    assert one.result() == 42
    assert not one.cancel()


def test_moves_are_followed():
    one = future()
    assert one.follow(Move(one.id, TERMS.task_group_id, TaskState.RUNNING, 1, 11.0))
    assert one.running()
    assert (one.state, one.attempt, one.started_at) == (TaskState.RUNNING, 1, 11.0)
    assert "running" in repr(one)


def test_a_failure_is_raised_once_made():
    one = future()
    one.take(result(one, TaskState.FAILED, "Traceback ...\nValueError: no"))
    with pytest.raises(TaskExecutionFailed, match="ValueError: no"):
        one.result()
    assert one.exception() is one.exception()
    assert one.exception().completion_t == "12.0"


def test_a_lost_task_says_so():
    one = future()
    one.take(result(one, TaskState.LOST, "its agent is gone"))
    with pytest.raises(TaskLost, match="its agent is gone"):
        one.result()


def test_stopping_to_wait_leaves_the_task():
    one = future()
    with pytest.raises(TimeoutError, match="it goes on"):
        one.result(timeout=0.01)
    with pytest.raises(TimeoutError):
        one.exception(timeout=0)
    assert not one.done()
    one.take(success(one))
    assert one.result(timeout=0) == 42


def test_a_waiting_thread_is_woken():
    one, values = future(), []
    waiting = threading.Thread(target=lambda: values.append(one.result(60)))
    waiting.start()
    one.take(success(one))
    waiting.join(60)
    assert values == [42]


def test_cancel_ends_at_once_and_is_told():
    keeper = Keeper()
    one = future(keeper)
    assert one.cancel()
    assert one.cancelled()
    assert one.done()
    assert one.state is TaskState.CANCELLED
    assert keeper.cancelled == [one]
    assert one.cancel()
    assert keeper.cancelled == [one]
    with pytest.raises(concurrent.futures.CancelledError):
        one.result()
    with pytest.raises(concurrent.futures.CancelledError):
        one.exception()
    assert not one.take(success(one))


def test_wait_and_as_completed_know_all_ends():
    done, failed, cancelled, open_one = (future(Keeper()) for _ in range(4))
    ends = [
        lambda: done.take(success(done)),
        lambda: failed.fail(ComputeError("no")),
        cancelled.cancel,
    ]
    seen = []
    watching = threading.Thread(
        target=lambda: seen.extend(concurrent.futures.as_completed([done, failed, cancelled], 60))
    )
    watching.start()
    for end in ends:
        end()
    watching.join(60)
    assert set(seen) == {done, failed, cancelled}
    found = concurrent.futures.wait([done, failed, cancelled, open_one], timeout=0)
    assert found.done == {done, failed, cancelled}
    assert found.not_done == {open_one}


def test_wait_never_returns_early():
    """`wait` counts who is pending under the conditions of all: an end in between must not count twice."""
    for _ in range(200):
        futures = [future() for _ in range(8)]
        ending = threading.Thread(target=lambda all_=futures: [f.take(success(f)) for f in all_])
        ending.start()
        assert concurrent.futures.wait(futures, timeout=60).not_done == set()
        ending.join()


def test_callbacks_are_called_once_with_the_future(caplog):
    one, heard = future(), []
    one.add_done_callback(heard.append)
    one.add_done_callback(lambda _: 1 / 0)
    one.add_done_callback(heard.append)
    assert heard == []
    one.take(success(one))
    assert heard == [one, one]
    one.add_done_callback(heard.append)
    assert heard == [one, one, one]
    assert "a callback of task" in caplog.text


def test_await_gives_the_value():
    async def main():
        one = future()
        asyncio.get_running_loop().call_soon(one.take, success(one))
        return await one

    assert asyncio.run(main()) == 42


def test_ending_an_await_leaves_the_task():
    async def main():
        keeper = Keeper()
        one = future(keeper)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(one, 0.01)
        assert not one.done()
        assert keeper.cancelled == []
        threading.Thread(target=one.take, args=(success(one),)).start()
        return await one

    assert asyncio.run(main()) == 42


def test_await_raises_what_result_raises():
    async def main():
        one = future()
        one.fail(ComputeError("no"))
        await one

    with pytest.raises(ComputeError, match="no"):
        asyncio.run(main())


def test_wrap_future_works_as_asyncio_says():
    async def main():
        one = future(Keeper())
        wrapped = asyncio.wrap_future(one)
        wrapped.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert one.cancelled()

    asyncio.run(main())


def test_a_future_made_by_hand():
    one = ComputeFuture()
    assert one.task_id is None
    assert one.task_group_id is None
    assert one.environment == {}
    one.set_result(3)
    assert one.result() == 3
    other = ComputeFuture()
    other.set_exception(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        other.result()
    with pytest.raises(ComputeError, match="without a task"):
        one.id


def test_a_future_made_by_hand_ends_once_as_in_the_standard_library():
    one = ComputeFuture()
    assert one.set_running_or_notify_cancel()
    assert (one.running(), one.done()) == (True, False)
    with pytest.raises(TimeoutError):
        one.result(0)
    one.set_result(3)
    assert (one.running(), one.done(), one.result()) == (False, True, 3)
    for again in (
        lambda: one.set_result(4),
        lambda: one.set_exception(ValueError()),
        one.set_running_or_notify_cancel,
    ):
        with pytest.raises(concurrent.futures.InvalidStateError, match="has ended already"):
            again()
    assert one.result() == 3
    other = ComputeFuture()
    other.cancel()
    assert not other.set_running_or_notify_cancel()
    with pytest.raises(concurrent.futures.InvalidStateError):
        other.set_result(1)
    assert other.cancelled()


def test_what_is_known_of_the_task():
    one = future(Keeper())
    assert one.task_id == str(one.id)
    assert one.task_group_id == str(TERMS.task_group_id)
    assert one.environment == {"python": "3.11.7"}


def test_a_forked_child_is_told_instead_of_waiting_for_ever():
    code = """
import os, sys
from compute_nb.errors import ComputeError
from compute_nb.future import ComputeFuture
class Keeper: process_id = os.getpid()
future = ComputeFuture(None, None, Keeper())
child = os.fork()
if child == 0:
    try:
        future.result()
    except ComputeError as error:
        os._exit(7 if "forked" in str(error) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], timeout=60).returncode == 7


def test_interrupt_ends_the_waiting_only():
    code = """
from compute_nb.future import ComputeFuture
future = ComputeFuture()
try:
    print("waiting", flush=True)
    future.result()
except KeyboardInterrupt:
    print(future.done())
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "False\n"
        assert process.wait(60) == 0


def test_an_allow_list_is_kept():
    only_json = ComputeSerializer(allowed_deserializer_types=["compute_nb.*Code", JSONData])
    one = ComputeFuture(new_id(), Terms(new_id(), new_id(), serializer=only_json))
    one.take(result(one, TaskState.SUCCEEDED, DillDataBase64().serialize(1)))
    with pytest.raises(DeserializationError, match="not allowed"):
        one.result()
