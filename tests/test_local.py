"""Finding and starting the user's own service, with real processes."""

from __future__ import annotations

import concurrent.futures
import json
import os
import socket
import subprocess
import sys

import psutil
import pytest
from ended import kill
from own_home import own_home, service

from compute_nb import local
from compute_nb.errors import ComputeError, ServiceUnreachable
from compute_nb.home import Home
from compute_nb.private import write_private


@pytest.fixture
def home():
    with own_home() as one:
        yield one


def test_the_service_is_started_once_and_found_again(home):
    assert local.find_service(home) is None
    info = local.ensure_service(home)
    assert local.answers(info)
    assert local.ensure_service(home) == info
    assert info.token not in repr(info)
    process = psutil.Process(info.pid)
    assert process.ppid() != os.getpid()
    assert os.getsid(info.pid) != os.getsid(0)


def test_two_processes_at_the_same_moment_get_one_service(home):
    code = (
        "from compute_nb.local import ensure_service; from compute_nb.home import Home\n"
        "info = ensure_service(Home.default()); print(info.url, info.pid)"
    )
    start = [sys.executable, "-W", "error", "-c", code]
    both = [subprocess.Popen(start, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (one.communicate(timeout=60)[0] for one in both)
    assert first == second
    assert first.startswith("http://127.0.0.1:")


def test_threads_at_the_same_moment_get_one_service(home):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: local.ensure_service(home), range(4)))
    assert len(found) == 1


def test_a_killed_service_is_started_again_at_the_same_address(home):
    info = local.ensure_service(home)
    kill(info.pid)
    again = local.ensure_service(home, asked=False)
    assert (again.url, again.token, again.service_id) == (info.url, info.token, info.service_id)
    assert again.pid != info.pid


def test_a_stopped_service_starts_only_when_asked(home):
    info = local.ensure_service(home)
    service(home, "stop")
    assert not local.answers(info)
    with pytest.raises(ServiceUnreachable, match="stopped by command"):
        local.ensure_service(home, asked=False)
    assert local.answers(local.ensure_service(home))
    assert not home.stopped_mark.exists()


def test_another_program_on_the_port_is_not_taken_for_the_service(home):
    info = local.ensure_service(home)
    service(home, "stop")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(info.url.rpartition(":")[2])))
        other.listen()
        other.settimeout(0.1)
        with pytest.raises(ComputeError, match=r"did not start: .*port") as caught:
            local._start(home)
    assert str(home.service_log) in str(caught.value)


def test_files_that_cannot_be_read_are_named(home):
    write_private(home.service_file, "{")
    write_private(home.token_file, "x")
    with pytest.raises(ComputeError, match=r"service.json.*can't be read.*service restart"):
        local.find_service(home)
    write_private(home.service_file, json.dumps({"url": "x"}))
    with pytest.raises(ComputeError, match="can't be read"):
        local.find_service(home)


def test_an_unwritable_home_names_the_mend(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ComputeError, match="set COMPUTE_NB_HOME to a folder that can"):
        local.ensure_service(Home(tmp_path / "file" / "home"))
