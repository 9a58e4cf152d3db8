"""The census: counts and times of runs as their futures move."""

import time

import pytest
from made_runs import BEGAN, end, run_of, start

from compute_nb.future import ComputeFuture
from compute_nb.notebook.runs.census import STATES, Census, Sample
from compute_nb.notebook.view.times import times_of
from compute_nb.tasks import TaskState, new_id


def test_it_counts_states_and_times():
    run = run_of(5)
    census = Census(run)
    assert census.take().counts[TaskState.WAITING] == 5
    start(run.futures[0], 1.0)
    end(run.futures[1], TaskState.SUCCEEDED, after_s=5.0, ran_s=3.0)
    end(run.futures[2], TaskState.FAILED, after_s=9.0, ran_s=5.0)
    run.futures[3].cancel()
    snapshot = census.take()
    assert snapshot.sentence() == "1 of 5 done, 1 running, 1 waiting, 1 failed, 1 cancelled"
    assert census.running == {0: BEGAN + 1.0}
    assert (census.waits.median, census.runs.median) == (2.0, 4.0)
    assert [ended - BEGAN for _, ended in census.recent] == [5.0, 9.0]
    assert snapshot.started_at == BEGAN + 1.0
    assert snapshot.ended_at is None


def test_the_end_has_the_time_of_the_last_one():
    run = run_of(2)
    census = Census(run)
    end(run.futures[0], TaskState.SUCCEEDED, after_s=9.0)
    end(run.futures[1], TaskState.SUCCEEDED, after_s=4.0)
    census.take()
    assert times_of(census).told() == "waited 5.5 s and ran 1.0 s (medians), 9.0 s in all"


def test_a_state_that_comes_before_its_times_is_looked_at_again():
    run = run_of(1)
    future = run.futures[0]
    census = Census(run)
    future.state = TaskState.SUCCEEDED
    census.take()
    assert census.unsure
    future.started_at, future.ended_at = BEGAN + 1, BEGAN + 2
    assert census.take().ended_at == BEGAN + 2
    assert not census.unsure


def test_a_task_that_is_submitted_again_is_open_again():
    run = run_of(3)
    for future in run.futures:
        end(future, TaskState.FAILED)
    census = Census(run)
    assert census.take().ended
    run.futures[1] = ComputeFuture(new_id())  # type: ignore[index]
    assert census.take().sentence() == "0 of 3 done, 1 waiting, 2 failed"


def test_it_agrees_with_the_run_for_all_states():
    run = run_of(100 * len(STATES))
    for place, future in enumerate(run.futures):
        future.state = STATES[place % len(STATES)]
    counts = run.snapshot().counts
    assert Census(run).take().counts == dict(counts)


def test_100_000_tasks_are_counted_fast_and_in_little_memory():
    run = run_of(100_000)
    census = Census(run)
    census.take()
    began = time.thread_time()
    census.take()
    assert time.thread_time() - began < 0.5
    assert len(census.codes) == 100_000


def test_a_sample_keeps_few_and_knows_the_median():
    sample = Sample()
    assert sample.median is None
    for value in range(100_001):
        sample.add(value)
    assert len(sample._values) <= 1_024
    assert abs(sample.median - 50_000) < 1_000


def test_the_time_before_a_late_retry_is_no_time_of_the_run():
    run = run_of(3)
    for place in (0, 1):
        end(run.futures[place], TaskState.SUCCEEDED, after_s=5)
    end(run.futures[2], TaskState.SUCCEEDED, after_s=27)
    run.futures[2].submitted_at = BEGAN + 20
    census = Census(run)
    census.take()
    assert census.idle_s == pytest.approx(15)
    assert times_of(census).told().endswith(", 12 s in all")
