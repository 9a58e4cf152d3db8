"""The service as a process: one for each home, its files, ports, signals and end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from stat import S_IMODE

import pytest
from filelock import FileLock, Timeout

from compute_nb.errors import ComputeError
from compute_nb.service.address import check
from compute_nb.service.config import ServiceConfig
from compute_nb.service.lock import locked, running
from compute_nb.service.ports import PortTaken, listen
from compute_nb.service.process import _take

WAIT_S = 60


@pytest.fixture
def launched(home):
    """Starts `service run` processes of `home`: (process, its ready line); none outlives the test."""
    processes = []

    def launch(*options):
        reader, writer = os.pipe()
        command = [sys.executable, "-m", "compute_nb.cli", "service", "run", f"--home={home.root}"]
        process = subprocess.Popen(
            [*command, *options, f"--ready-fd={writer}"], pass_fds=[writer], stderr=subprocess.PIPE
        )
        os.close(writer)
        processes.append(process)
        return process, reader

    yield launch
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait(WAIT_S)
        process.stderr.close()


def line(reader):
    with os.fdopen(reader) as pipe:
        return pipe.readline().strip()


@contextmanager
def taken_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


def test_its_files_tell_how_it_is_reached_and_are_its_owners_alone(home, launched):
    process, reader = launched()
    word, url = line(reader).split(" ")
    facts = json.loads(home.service_file.read_text())
    assert (word, facts["url"], facts["pid"]) == ("ready", url, process.pid)
    assert set(facts) == {
        *("url", "pid", "amqp_port", "broker", "store", "token_file", "service_id", "version"),
        "plain",
    }
    for path in (home.service_file, home.token_file, home.service_key, home.service_log):
        assert S_IMODE(path.stat().st_mode) == 0o600
    token = home.token_file.read_text().strip()
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT_S) == 0
    assert not home.service_file.exists()
    assert not locked(home)
    log = home.service_log.read_text()
    assert "listens at" in log
    assert token.rsplit("_", 1)[1] not in log


def test_two_at_the_same_moment_end_up_as_one(home, launched):
    (one, first), (two, second) = launched(), launched()
    lines = {line(first), line(second)}
    assert len(lines) == 1
    assert lines.pop().startswith("ready http://127.0.0.1:")
    alive = running(home)
    assert alive is not None
    (other,) = {one.pid, two.pid} - {alive.pid}
    assert next(p for p in (one, two) if p.pid == other).wait(WAIT_S) == 0


def test_after_kill_9_the_next_one_has_the_same_ports_token_and_id(home, launched):
    process, reader = launched()
    assert line(reader).startswith("ready ")
    before, token = json.loads(home.service_file.read_text()), home.token_file.read_text()
    process.kill()
    process.wait(WAIT_S)
    assert running(home) is None
    _, reader = launched()
    line(reader)
    after = json.loads(home.service_file.read_text())
    assert before | {"pid": 0} == after | {"pid": 0}
    assert home.token_file.read_text() == token


def test_ctrl_c_ends_it(launched):
    process, reader = launched()
    assert line(reader).startswith("ready ")
    process.send_signal(signal.SIGINT)
    assert process.wait(WAIT_S) == 0


def test_an_auto_started_one_ends_when_nobody_needs_it(launched):
    process, reader = launched("--auto", "--idle-s=0.2")
    assert line(reader).startswith("ready ")
    assert process.wait(WAIT_S) == 0


def test_a_taken_port_is_an_error_that_names_its_owner(launched):
    with taken_port() as port:
        process, reader = launched(f"--port={port}")
        said = line(reader)
        assert process.wait(WAIT_S) == 1
    assert said.startswith(f"error port {port} on 127.0.0.1 is taken by process {os.getpid()} (")
    assert "--port" in said
    assert said.removeprefix("error ") in process.stderr.read().decode()


def test_without_a_pipe_a_second_one_says_who_runs(home, launched):
    process, reader = launched()
    url = line(reader).split(" ")[1]
    command = [sys.executable, "-m", "compute_nb.cli", "service", "run", f"--home={home.root}"]
    second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WAIT_S)
    assert second.returncode == 1
    assert f"process {process.pid} at {url}" in second.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_other_addresses_than_loopback_are_refused(home, host):
    with pytest.raises(ComputeError, match="TLS"):
        check(ServiceConfig(home, host))


def test_ports_are_drawn_where_no_client_socket_lands():
    first, second = listen("127.0.0.1", None, "--port"), listen("127.0.0.1", None, "--port")
    for sock in (first, second):
        assert 15_000 <= sock.getsockname()[1] < 32_000
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    with pytest.raises(PortTaken):
        listen("127.0.0.1", first.getsockname()[1], "--port")
    first.close()
    second.close()


def test_a_question_about_the_lock_does_not_keep_it_from_starting(home):
    probe = FileLock(home.service_lock)
    probe.acquire()

    class Held(FileLock):
        """Is let go once it was asked for in vain."""

        def acquire(self, *args, **options):
            try:
                return super().acquire(*args, **options)
            except Timeout:
                probe.release()
                raise

    lock = Held(home.service_lock, thread_local=False)
    assert _take(lock, home, wait=False) is None
    lock.release()


def test_it_ends_when_its_home_is_deleted(home, launched):
    process, reader = launched("--idle-s=0.4")  # it looks four times as often
    assert line(reader).startswith("ready ")
    home.root.rename(home.root.with_name("deleted"))  # in one step: it writes its files again
    assert process.wait(WAIT_S) == 0


def test_it_writes_its_files_again(home, launched):
    _, reader = launched("--idle-s=0.2")
    assert line(reader).startswith("ready ")
    before = home.service_file.read_text(), home.token_file.read_text()
    home.service_file.unlink()
    home.token_file.write_text("spoilt")
    until = time.monotonic() + WAIT_S
    while running(home) is None or home.token_file.read_text() == "spoilt":
        assert time.monotonic() < until
    assert (home.service_file.read_text(), home.token_file.read_text()) == before


def test_it_has_descriptors_for_the_connections_that_it_allows():
    code = (
        "import resource\nfrom compute_nb.service.process import _raise_file_limit, MAX_FILES\n"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))\n_raise_file_limit()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(hard, MAX_FILES))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
