"""An endpoint of ours as a core endpoint: what a service without extensions asks of it, on two engines."""

from __future__ import annotations

import concurrent.futures
import json
import os
import subprocess
import sys
import threading
import time

import psutil
import pytest
from own_home import own_home, service

from compute_nb import Executor
from compute_nb.client import Client
from compute_nb.endpoint.folder import Folder
from compute_nb.errors import WorkerDied
from compute_nb.serialize import ComputeSerializer, PureSourceTextInspect

WAIT_S = 60
SOURCE = ComputeSerializer(PureSourceTextInspect())


def double(x):
    return x * 2


def fail(reason):
    raise ValueError(reason)


def die():
    import os

    os._exit(3)


def hold(begun, path):
    """Says that it runs, and reads a pipe until somebody writes."""
    open(begun, "w").close()
    with open(path) as pipe:
        return pipe.read()


class Held:
    """A task that runs until it is let go; it says that it has begun by a pipe of its own."""

    def __init__(self, folder):
        self._begun, self._gate = folder / "begun", folder / "gate"
        os.mkfifo(self._begun)
        os.mkfifo(self._gate)

    def submit(self, executor):
        future = executor.submit(hold, str(self._begun), str(self._gate))
        with self._begun.open():  # opened once the task opens it
            return future

    def let_go(self):
        with self._gate.open("w") as pipe:
            pipe.write("open")


@pytest.fixture
def holds(tmp_path):
    """One for each worker."""
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made.append(Held(tmp_path / name))
    return made


def endpoint(*words):
    command = [sys.executable, "-m", "compute_nb.cli", "endpoint", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WAIT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def row_of(name):
    (row,) = [row for row in json.loads(endpoint("list", "--json")) if row["name"] == name]
    return row


@pytest.fixture(scope="module")
def home():
    with own_home() as one:
        service(one, "start", "--plain")
        yield one
        for row in json.loads(endpoint("list", "--json")):
            endpoint("stop", row["name"])


@pytest.fixture(scope="module", params=["processes", "threads"])
def name(home, request):
    """An endpoint that is called like its engine."""
    folder = home.endpoint_dir(request.param)
    folder.mkdir(parents=True)
    (folder / "endpoint.toml").write_text(f'engine = "{request.param}"\nworkers = 2\nstop_s = {WAIT_S}\n')
    endpoint("start", request.param)
    return request.param


@pytest.fixture
def executor(name):
    with Executor(name, serializer=SOURCE) as one:
        yield one
        one.cancel_all()


def test_it_is_a_published_endpoint_to_the_service(name):
    status = Client().get_endpoint_status(name)
    assert status["status"] == "online"
    assert "compute_nb" not in status["details"]
    assert status["details"]["engine_type"] == name
    assert status["details"]["compute_nb_figures"]["workers"] == 2
    row = row_of(name)
    assert (row["engine"], row["workers"], row["running"]) == (name, 2, True)
    assert row["python"]


def test_values_errors_and_a_death(executor, name):
    assert list(executor.map(double, range(300), timeout=WAIT_S)) == [2 * n for n in range(300)]
    assert isinstance(executor.submit(fail, "no").exception(WAIT_S), ValueError)
    assert type(executor.submit(die).exception(WAIT_S)) is WorkerDied
    assert executor.submit(double, 4).result(WAIT_S) == 8


def test_a_cancel_says_that_the_task_may_still_run(executor, holds):
    held, _ = holds
    future = held.submit(executor)
    assert future.cancel()
    with pytest.raises(concurrent.futures.CancelledError, match="it may still run"):
        future.result()
    held.let_go()
    assert executor.submit(double, 5).result(WAIT_S) == 10


def test_an_agent_that_is_killed_and_started_goes_on(executor, holds, name, home):
    """What had not begun runs; what ran is lost, and says why."""
    running = [hold.submit(executor) for hold in holds]
    waiting = [executor.submit(double, n) for n in range(20)]
    executor.wait_accepted(WAIT_S)
    folder = home.endpoint_dir(name)
    users = [*folder.glob("users/*")]
    process = Folder(folder).process()
    process.kill()
    psutil.wait_procs([process], timeout=WAIT_S)
    endpoint("start", name)
    for future in running:
        assert "killed or stopped while this task ran" in str(future.exception(WAIT_S))
    assert [future.result(WAIT_S) for future in waiting] == [2 * n for n in range(20)]
    assert [*folder.glob("users/*")] == users


def leavings(home, name):
    return (home.endpoint_dir(name) / "agent.log").read_text().count("the endpoint ends")


def test_an_agent_that_is_stopped_sends_what_ran_and_keeps_what_did_not(executor, holds, name, home):
    running = [hold.submit(executor) for hold in holds]
    waiting = [executor.submit(double, n) for n in range(3)]
    executor.wait_accepted(WAIT_S)
    before, pause = leavings(home, name), threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as aside:
        stopping = aside.submit(endpoint, "stop", name)
        while leavings(home, name) == before and not stopping.done():
            pause.wait(0.02)
        for hold, future in zip(holds, running, strict=True):
            hold.let_go()
            assert future.result(WAIT_S) == "open"
        assert "2 tasks that ran came to an end" in stopping.result(WAIT_S)
    limit = time.monotonic() + WAIT_S
    while (row := row_of(name))["state"] != "offline":  # the service hears of the end a little later
        assert time.monotonic() < limit
    assert (row["engine"], row["workers"]) == (name, 2)
    assert "is online" in endpoint("start", name)
    assert [future.result(WAIT_S) for future in waiting] == [0, 2, 4]
