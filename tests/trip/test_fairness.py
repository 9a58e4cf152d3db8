"""Fair share (semantics 19): groups take turns on an endpoint, so a lone task passes a long sweep."""

import os

from compute_nb import Executor

TASKS = 500
NAP_S = 1.0
TURNS = 3  # 500 tasks of 1 s: a lone task ends within 3 s, so behind 3 turns of each worker


def nap(seconds):
    import time

    time.sleep(seconds)


def noop():
    return 1


def test_a_lone_task_ends_within_three_turns_of_each_worker():
    workers = len(os.sched_getaffinity(0))
    with Executor("local") as many, Executor("local") as lone:
        lone.submit(noop).result(60)
        naps = [many.submit(nap, NAP_S) for _ in range(TASKS)]
        many.wait_accepted(60)
        naps[0].result(60)
        for _ in range(3):
            one = lone.submit(noop)
            assert one.result(60) == 1
            after = [nap for nap in naps if (nap.started_at or 0) > one.submitted_at]
            passed = [nap for nap in after if nap.started_at < one.started_at]
            assert len(passed) <= TURNS * workers
        assert sum(not nap.done() for nap in naps) > TASKS / 2
        many.cancel_all()
