"""Fair share (semantics 19): users and groups take turns, so a lone task passes a long sweep."""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest
from own_home import own_home, service, terminal_agent

from compute_nb import Executor
from compute_nb.serialize import ComputeSerializer, PureSourceTextInspect
from compute_nb.tasks import TaskState

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


@pytest.fixture
def shared_endpoint(tmp_path):
    """A public endpoint and a second user, for whom `guest:<id>` names it. Yields its id.

    It has one worker: what that is given begins in this order.
    """
    settings = tmp_path / "endpoint.toml"
    settings.write_text("workers = 1\npublic = true\n")
    with own_home() as home:
        status = json.loads((service(home, "start"), service(home, "status", "--json"))[1])
        token = tmp_path / "guest.token"
        for words in (
            ("user", "add", "guest"),
            ("token", "create", "it", "--user", "guest", "--file", str(token)),
        ):
            subprocess.run([sys.executable, "-m", "compute_nb.cli", *words], check=True, capture_output=True)
        (home.root / "config.toml").write_text(
            f'[services.guest]\nurl = "{status["url"]}"\ntoken_file = "{token}"\n'
        )
        with terminal_agent("shared", "--config", str(settings)):
            rows = json.loads(service(home, "status", "--json"))["endpoints"]
            yield next(row["id"] for row in rows if row["name"] == "shared")


def wait_for(path):
    import os
    import time

    while os.path.exists(path):
        time.sleep(0.01)


def until(true):
    limit = time.monotonic() + 60
    while not true():
        assert time.monotonic() < limit
        threading.Event().wait(0.01)


def test_a_task_of_another_user_is_next_but_one_however_many_groups_the_first_has(shared_endpoint, tmp_path):
    gate = tmp_path / "gate"
    gate.touch()
    with ExitStack() as stack:
        source = ComputeSerializer(strategy_code=PureSourceTextInspect())
        many = [stack.enter_context(Executor(shared_endpoint, serializer=source)) for _ in range(10)]
        guest = stack.enter_context(Executor(f"guest:{shared_endpoint}", serializer=source))
        sweep = [one.submit(wait_for, str(gate)) for one in many for _ in range(4)]
        until(lambda: sum(task.running() for task in sweep) == 1)
        lone = guest.submit(noop)
        until(
            lambda: (
                lone.state is TaskState.DELIVERED
                and all(task.state is not TaskState.WAITING for task in sweep)
            )
        )
        gate.unlink()
        assert lone.result(60) == 1
        for task in sweep:
            task.result(60)
        before = [task for task in sweep if task.started_at < lone.started_at]
        assert len(before) <= 1 + 1, "the one that ran, and the next one"
