"""The whole trip with RabbitMQ between: script, service, agent; and the password, which nobody sees."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from own_home import own_home, service
from rabbit import Vhost

from compute_nb import Executor
from compute_nb.home import Home

WAIT_S = 60


@pytest.fixture(scope="module")
def rabbit_home(rabbit) -> Iterator[tuple[Home, Vhost]]:
    with rabbit.vhost() as vhost, own_home() as home:
        options = vhost.options
        words = [f"--broker={options.broker}", f"--broker-admin={options.admin}"]
        said = service(home, "start", *words, f"--broker-password-file={options.password_file}")
        assert said.startswith("http://"), said
        yield home, vhost


@pytest.fixture
def executor(rabbit_home) -> Iterator[Executor]:
    with Executor("local") as one:
        yield one


def square(number: int) -> int:
    return number * number


def talk(gate: str) -> str:
    print("on the way", flush=True)
    with open(gate) as end:
        return end.read()


def test_a_thousand_tasks_and_their_reload(executor: Executor) -> None:
    futures = [executor.submit(square, number) for number in range(1_000)]
    assert [future.result(WAIT_S) for future in futures] == [number * number for number in range(1_000)]
    with Executor("local") as again:
        reloaded = again.reload_tasks(executor.task_group_id)
        assert sorted(future.result(WAIT_S) for future in reloaded) == [n * n for n in range(1_000)]


def test_what_a_task_prints_is_heard_while_it_runs(executor: Executor, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    heard = threading.Event()
    executor.add_update_callback(
        lambda told: heard.set() if any("on the way" in f.live_text for f in told) else None
    )
    future = executor.submit(talk, str(tmp_path / "gate"))
    assert heard.wait(WAIT_S)
    (tmp_path / "gate").write_text("done")
    assert future.result(WAIT_S) == "done"


def test_a_running_task_is_cancelled_on_the_worker(executor: Executor, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    running = threading.Event()
    executor.add_update_callback(
        lambda told: running.set() if any("on the way" in f.live_text for f in told) else None
    )
    future = executor.submit(talk, str(tmp_path / "gate"))
    assert running.wait(WAIT_S)
    assert future.cancel()
    assert executor.submit(square, 3).result(WAIT_S) == 9


def test_it_is_found_again_by_who_starts_the_service_next(rabbit_home, rabbit) -> None:
    home, _ = rabbit_home
    service(home, "restart")
    status = json.loads(service(home, "status", "--json"))
    assert status["broker"].startswith(f"RabbitMQ at amqp://127.0.0.1:{rabbit.amqp_port}, virtual host ")
    with Executor("local") as executor:
        assert executor.submit(square, 7).result(WAIT_S) == 49


def test_a_start_changes_no_broker_of_a_running_service(rabbit_home) -> None:
    home, vhost = rabbit_home
    assert "restart --broker" in service(home, "start", "--broker=embedded")
    assert "restart --broker" in service(home, "start", f"--broker={vhost.options.broker}x")
    assert service(home, "start", f"--broker={vhost.options.broker}").startswith("http://")


def test_the_password_is_in_no_process_list_environment_log_or_file_of_the_service(
    rabbit_home, rabbit
) -> None:
    home, _ = rabbit_home
    pid = json.loads(service(home, "status", "--json"))["pid"]
    service_itself = psutil.Process(pid)
    told = [" ".join(service_itself.cmdline()), str(service_itself.environ())]
    for process in service_itself.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has just ended
            told += [" ".join(process.cmdline()), str(process.environ())]
    assert [text for text in told if rabbit.password in text] == []
    files = {}
    for path in home.root.rglob("*"):
        with suppress(FileNotFoundError, IsADirectoryError):  # one of the store's comes and goes
            files[path] = path.read_bytes()
    assert len(files) > 3
    assert [path for path, held in files.items() if rabbit.password.encode() in held] == []


def test_a_password_by_the_environment_does_not_reach_tasks(rabbit, monkeypatch) -> None:
    with rabbit.vhost() as vhost, own_home() as home:
        monkeypatch.setenv("COMPUTE_NB_BROKER_PASSWORD", rabbit.password)
        service(home, "start", f"--broker={vhost.options.broker}", f"--broker-admin={vhost.options.admin}")
        monkeypatch.delenv("COMPUTE_NB_BROKER_PASSWORD")
        with Executor("local") as executor:
            seen = executor.submit(lambda: dict(__import__("os").environ)).result(WAIT_S)
        assert "PATH" in seen
        assert rabbit.password not in str(seen)
        assert "no password for RabbitMQ" in service(home, "restart")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--broker-admin=http://127.0.0.1:1"], "need --broker URL beside them"),
        (["--broker=amqp://tests:secret@127.0.0.1/x"], "must not stand in the address"),
        (["--broker=amqp://tests@127.0.0.1:1/x", "--broker-password-file=/nowhere"], "can't be read"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(words: list[str], why: str) -> None:
    with own_home() as home:
        said = service(home, "start", *words)
        assert why in said
        assert "secret" not in said
        assert "Traceback" not in said
