"""Local agents as processes: an interpreter of the test stands in for them, and says when it starts."""

import gc
import json
import os
import select
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from compute_nb.service.supervisor import _Kept

from .conftest import run_service

WAIT_S = 60

SCRIPT = """#!{python}
import fcntl, os, signal, sys
lock = open("agent.lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
with open({fifo!r}, "w") as fifo:
    fifo.write(f"{{os.getpid()}} {{' '.join(sys.argv[1:])}}\\n")
signal.pause()
"""


class Interpreters:
    """Executables that pretend to be a Python whose agent holds its lock and waits for a signal."""

    def __init__(self, folder):
        self._folder = folder
        self._fifo = folder / "starts"
        os.mkfifo(self._fifo)
        self._reader = os.open(self._fifo, os.O_RDWR)
        self._said = b""
        self.pids = []

    def make(self, name):
        path = self._folder / name
        path.write_text(SCRIPT.format(python=sys.executable, fifo=str(self._fifo)))
        path.chmod(0o700)
        return str(path)

    def started(self, timeout_s=WAIT_S):
        """Returns (process, command line) of the next agent that starts, or None if none does."""
        while b"\n" not in self._said:
            if not select.select([self._reader], [], [], timeout_s)[0]:
                return None
            self._said += os.read(self._reader, 4096)
        line, _, self._said = self._said.partition(b"\n")
        pid, _, words = line.decode().partition(" ")
        self.pids.append(int(pid))
        return psutil.Process(int(pid)), words

    def close(self):
        os.close(self._reader)
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def interpreters(tmp_path):
    some = Interpreters(tmp_path)
    yield some
    some.close()


def local(service, python, prefix="/env"):
    return service.ok("POST", "/v3/compute_nb/local", {"python": python, "prefix": prefix})


def test_one_agent_an_environment(home, interpreters):
    with run_service(home) as service:
        python = interpreters.make("python")
        first = local(service, python)
        process, words = interpreters.started()
        assert words == "-m compute_nb.cli endpoint run local"
        assert os.getsid(process.pid) == process.pid
        assert local(service, python) == first
        other = local(service, interpreters.make("other"), "/other")
        assert other["endpoint_id"] != first["endpoint_id"]
        assert other["name"].startswith("local-")
        assert interpreters.started()[1].endswith(other["name"])
        assert interpreters.started(timeout_s=0.1) is None


def test_it_finds_the_home_and_no_secret_on_its_command_line(home, interpreters):
    os.environ["COMPUTE_NB_SERVICE_URL"] = "http://elsewhere"
    try:
        with run_service(home) as service:
            local(service, interpreters.make("python"))
            process, _ = interpreters.started()
            environment = process.environ()
            assert environment["COMPUTE_NB_HOME"] == str(home.root)
            assert "COMPUTE_NB_SERVICE_URL" not in environment
            told = " ".join([*process.cmdline(), *environment.values()])
            assert service.token.rsplit("_", 1)[1] not in told
    finally:
        del os.environ["COMPUTE_NB_SERVICE_URL"]


def test_a_dead_agent_is_started_again_and_a_stopped_one_is_not_before_a_submit(home, interpreters):
    with run_service(home) as service:
        endpoint_id = local(service, interpreters.make("python"))["endpoint_id"]
        process, _ = interpreters.started()
        process.kill()
        again, _ = interpreters.started()
        assert again.pid != process.pid
        service.ok("POST", f"/v3/endpoints/{endpoint_id}/lock")
        assert not again.is_running()
        assert interpreters.started(timeout_s=0.5) is None
        assert service.submit(endpoint_id, service.function())[0] == 200
        assert interpreters.started() is not None


def test_the_service_takes_its_agents_with_it_unless_it_is_to_be_followed(home, interpreters):
    python = interpreters.make("python")
    with run_service(home) as service:
        kept = local(service, python)
        process, _ = interpreters.started()
        service.stop(keep_agents=True)
    assert process.is_running()
    with run_service(home) as service:
        assert local(service, python) == kept
        assert interpreters.started(timeout_s=0.5) is None
        process.kill()
        assert interpreters.started() is not None
        last = psutil.Process(interpreters.pids[-1])
    assert not last.is_running()


def test_an_endpoint_is_known_again_after_the_store_was_lost(home, interpreters):
    python = interpreters.make("python")
    with run_service(home) as service:
        before = local(service, python)
        interpreters.started()
    for path in home.state.glob("store.db*"):
        path.unlink()
    with run_service(home) as service:
        assert local(service, python) == before
        UUID(before["endpoint_id"])
        interpreters.started()


@pytest.mark.parametrize("python", ["python3", "/nowhere/python", ""])
def test_only_a_program_with_a_full_path_is_started(service, python):
    body = {"python": python, "prefix": "/env"}
    status, answer = service.call("POST", "/v3/compute_nb/local", body)
    assert status == 400
    assert "full path" in answer["message"]


@pytest.mark.parametrize("damage", ["folder", "garbage"])
def test_a_lost_folder_or_id_is_written_again(home, interpreters, damage):
    with run_service(home) as service:
        known = local(service, interpreters.make("python"))
        interpreters.started()
        service.ok("POST", f"/v3/endpoints/{known['endpoint_id']}/lock")
        folder = home.endpoint_dir("local")
        if damage == "folder":
            shutil.rmtree(folder)
        else:
            (folder / "endpoint.json").write_text("[")
        assert service.submit(known["endpoint_id"], service.function())[0] == 200
        assert interpreters.started() is not None
        assert json.loads((folder / "endpoint.json").read_text())["endpoint_id"] == known["endpoint_id"]


def test_an_agent_whose_log_was_deleted_is_started_again(home, interpreters):
    with run_service(home) as service:
        local(service, interpreters.make("python"))
        process, _ = interpreters.started()
        (home.endpoint_dir("local") / "agent.log").unlink()
        process.kill()
        assert interpreters.started() is not None


def test_an_agent_that_could_not_be_started_is_tried_again(home, interpreters, caplog):
    with run_service(home) as service:
        python = Path(interpreters.make("python"))
        local(service, str(python))
        process, _ = interpreters.started()
        python.rename(python.with_name("away"))
        process.kill()
        until = time.monotonic() + WAIT_S
        while "its agent can't be started" not in caplog.text:
            assert time.monotonic() < until
        python.with_name("away").rename(python)
        assert interpreters.started() is not None


class Bare:
    """An agent that has nothing that its keeper asks for."""


def test_a_keeper_that_failed_begins_again_at_the_next_submit(home, interpreters, caplog):
    with run_service(home) as service:
        known = local(service, interpreters.make("python"))
        process, _ = interpreters.started()
        (kept,) = (k for k in gc.get_objects() if type(k) is _Kept and k.agent._home is home)
        agent, kept.agent = kept.agent, Bare()
        kept.agent.endpoint = agent.endpoint
        process.kill()
        until = time.monotonic() + WAIT_S
        while not kept.keeper.done():
            assert time.monotonic() < until
        kept.agent = agent
        assert service.submit(known["endpoint_id"], service.function())[0] == 200
        assert interpreters.started() is not None
    assert "left alone until the next submit" in caplog.text
