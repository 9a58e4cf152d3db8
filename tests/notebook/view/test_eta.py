"""The ETA: simulated workers, and whether the estimate holds what it says."""

import heapq
import random

import pytest

from compute_nb.notebook.view.eta import Estimate, Work, estimate


def simulated(runs: list[float], workers: list[tuple[float, int]], now: float) -> tuple[Work, float]:
    """Returns what is known at `now` of tasks that take so long, and how much longer they take in truth.

    Args:
        workers: (from when, how many).
    """
    free = [(at, 0) for at, count in workers for _ in range(count)]
    heapq.heapify(free)
    spans = []
    for run in runs:
        at, _ = heapq.heappop(free)
        spans.append((at, at + run))
        heapq.heappush(free, (at + run, 0))
    ended = sorted((span for span in spans if span[1] <= now), key=lambda span: span[1])
    running = [begun for begun, end in spans if begun <= now < end]
    waiting = sum(begun > now for begun, _ in spans)
    left = max(end for _, end in spans) - now
    return Work(ended[-256:], len(ended), waiting, running, now), left


@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("count", [1, 2, 16])
def test_most_estimates_hold(spread, count):
    chance = random.Random(7)
    hits, told = 0, 0
    for _ in range(60):
        runs = [max(0.2, chance.gauss(10, 10 * spread)) for _ in range(40 * count)]
        work, left = simulated(runs, [(0, count)], chance.uniform(60, 200))
        found = estimate(work)
        if work.finished < 3:
            assert found is None
            continue
        assert found is not None
        told += 1
        hits += found.low_s * 0.95 <= left <= found.high_s * 1.05
        assert (1 - spread / 2) * count <= found.workers <= count
    assert hits >= 0.75 * told
    assert told > 50


def test_nothing_is_said_from_fewer_than_three():
    work, _ = simulated([10.0] * 10, [(0, 1)], 25)
    assert work.finished == 2
    assert estimate(work) is None


def test_it_says_what_it_rests_on():
    work, _ = simulated([10.0] * 60, [(0, 2)], 155)
    assert estimate(work).told() == "about 2 to 3 min left, from 30 finished tasks on 2 workers"


def test_more_workers_count_at_once():
    work, left = simulated([10.0] * 200, [(0, 2), (205, 6)], 208)
    found = estimate(work)
    assert found.low_s <= left <= found.high_s
    assert found.told().endswith("from 40 finished tasks on 2 workers; 8 run now")


def test_a_change_of_pace_is_seen_and_said():
    work, left = simulated([2.0] * 40 + [12.0] * 60, [(0, 2)], 130)
    found = estimate(work)
    assert found.changed
    assert 0.8 * left <= found.high_s
    assert "since the pace changed" in found.told()


def test_the_last_that_run_too_long_have_no_estimate():
    work, _ = simulated([2.0] * 9 + [500.0], [(0, 1)], 60)
    assert estimate(work).told() == "no estimate: 1 task runs longer than any before"


def test_one_that_takes_too_long_is_said_and_counts_as_no_worker():
    work, _ = simulated([500.0] + [4.0] * 60, [(0, 2)], 81)
    found = estimate(work)
    assert found.low_s <= 160 <= found.high_s
    assert found.told().endswith("from 20 finished tasks on 1 worker; 1 task runs longer than any before")


def test_nothing_is_said_while_nothing_runs():
    work, _ = simulated([10.0] * 10, [(0, 1)], 55)
    stopped = Work(work.recent, work.finished, work.waiting + 1, (), work.now + 600)
    assert estimate(stopped) is None


def test_where_nobody_says_when_tasks_begin_it_rests_on_their_ends():
    recent = [(None, 10.0 * place) for place in range(20)]
    found = estimate(Work(recent, 20, 6, (), 190))
    assert found.low_s <= 60 <= found.high_s
    assert found.told() == "about 50 to 70 s left, from 20 finished tasks"


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (1, 5, "a few seconds"),
        (11.2, 14.9, "about 11 to 15 s"),
        (31, 58, "about 30 to 60 s"),
        (100, 230, "about 1 to 4 min"),
        (170, 180, "about 2 to 3 min"),
        (5_500, 8_000, "about 1.5 to 2.5 h"),
        (200_000, 400_000, "about 2 to 5 days"),
    ],
)
def test_ranges_as_people_say_them(low, high, told):
    assert Estimate(low, high, 9).told() == f"{told} left, from 9 finished tasks"
