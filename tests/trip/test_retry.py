"""Retry from the SDK to a worker and back: the same inputs, the same group, new tasks in the old places."""

import pytest

from compute_nb import Executor
from compute_nb.tasks import TaskState


def third_time_lucky(folder, number):
    import pathlib

    tries = pathlib.Path(folder) / f"tries {number}"
    tries.touch()
    with tries.open("a") as file:
        file.write("x")
    if len(tries.read_text()) < number:
        raise ValueError(f"try {len(tries.read_text())} of {number}")
    return number


def test_what_failed_runs_again_until_it_has_a_value(tmp_path):
    with Executor("local") as executor:
        futures = [executor.submit(third_time_lucky, str(tmp_path), number) for number in (1, 2, 3)]
        first = list(futures)
        assert isinstance(futures[2].exception(60), ValueError)
        assert isinstance(futures[1].exception(60), ValueError)
        assert futures[0].result(60) == 1
        futures = executor.retry_tasks(futures)
        assert futures[0] is first[0]
        assert [one.task_group_id for one in futures] == [str(executor.task_group_id)] * 3
        assert futures[1].result(60) == 2
        assert isinstance(futures[2].exception(60), ValueError)
        futures = executor.retry_tasks(futures)
        assert [one.result(60) for one in futures] == [1, 2, 3]
        assert len({one.task_id for one in [*first, *futures]}) == 5
        again = Executor(task_group_id=executor.task_group_id).reload_tasks()
        assert [one.result(60) for one in again] == [1, 2, 3]


def test_a_stale_future_gets_what_another_program_has_retried(tmp_path):
    with Executor("local") as executor:
        failed = executor.submit(third_time_lucky, str(tmp_path), 2)
        assert isinstance(failed.exception(60), ValueError)
        (mine,) = executor.retry_tasks([failed])
        assert mine.result(60) == 2
        (other,) = executor.retry_tasks([failed])
        assert (other.task_id, other.result(60)) == (mine.task_id, 2)


def test_a_task_that_was_cancelled_too_late_has_its_value(tmp_path):
    with Executor("local") as executor:
        task = executor.submit(third_time_lucky, str(tmp_path), 1)
        executor.wait_accepted(60)
        task.cancel()
        (again,) = executor.retry_tasks([task])
        assert again.result(60) == 1
        assert again.state is TaskState.SUCCEEDED


def test_nothing_to_retry_asks_nobody():
    executor = Executor("nowhere at all")
    assert executor.retry_tasks([]) == []
    executor.shutdown()
    with pytest.raises(RuntimeError):
        executor.retry_tasks([])
