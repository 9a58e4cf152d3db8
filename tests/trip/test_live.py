"""What running tasks print, by way of worker, agent, service and watcher, as it is heard by whoever waits."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compute_nb import ComputeFuture, Executor
from compute_nb.errors import WorkerDied
from compute_nb.live import KEPT

WAIT_S = 60


class Ear:
    """Notes what each update callback tells, and waits for it."""

    def __init__(self, executor: Executor) -> None:
        self._heard = threading.Condition()
        self.told: list[str] = []
        executor.add_update_callback(self._hear)

    def _hear(self, futures: list[ComputeFuture]) -> None:
        with self._heard:
            self.told += [future.live_text for future in futures]
            self._heard.notify_all()

    def wait(self, until: Callable[[list[str]], Any]) -> None:
        with self._heard:
            assert self._heard.wait_for(lambda: until(self.told), WAIT_S), self.told


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "gate")
    return tmp_path / "gate"


def talk(gate: str) -> int:
    import os
    import sys

    print("by print")
    os.system("echo by a program")
    print("by stderr", file=sys.stderr, flush=True)
    with open(gate) as file:
        file.read()
    return 1


def test_functions_are_heard_while_they_run(gate: Path) -> None:
    executor = Executor("local")
    ear = Ear(executor)
    future = executor.submit(talk, str(gate))
    ear.wait(lambda told: any("by stderr" in text for text in told))
    assert future.live_text == "by print\nby a program\nby stderr\n"
    gate.write_text("")
    assert future.result(WAIT_S) == 1
    assert future.live_text == ""


def die_once(folder: str) -> str:
    import os
    import signal
    import time

    first = not os.path.exists(folder + "/begun")
    print("first words" if first else "second try", flush=True)
    if first:
        open(folder + "/begun", "w").close()
        while not os.path.exists(folder + "/heard"):
            time.sleep(0.01)
        print("last words", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    with open(folder + "/gate") as file:
        return file.read()


def test_another_attempt_begins_anew(gate: Path) -> None:
    executor = Executor("local", retries=1)
    ear = Ear(executor)
    future = executor.submit(die_once, str(gate.parent))
    ear.wait(lambda told: "first words\n" in told)
    (gate.parent / "heard").touch()
    ear.wait(lambda told: "second try\n" in told)
    assert not any("words" in text and "second" in text for text in ear.told)
    gate.write_text("done")
    assert future.result(WAIT_S) == "done"


def test_the_last_words_of_a_worker_that_died_stay(gate: Path) -> None:
    (gate.parent / "heard").touch()
    future = Executor("local").submit(die_once, str(gate.parent))
    assert isinstance(future.exception(WAIT_S), WorkerDied)
    assert future.live_text == "first words\nlast words\n"


def flood(gate: str) -> None:
    import sys

    line = "x" * 99 + "\n"
    for _ in range(300_000):
        sys.stdout.write(line)
    print("the end", flush=True)
    with open(gate) as file:
        file.read()


def test_of_a_flood_head_and_tail_are_heard_and_others_go_on(gate: Path) -> None:
    executor = Executor("local")
    ear = Ear(executor)
    future = executor.submit(flood, str(gate))
    assert [f.result(WAIT_S) for f in [executor.submit(abs, -n) for n in range(300)]] == list(range(300))
    ear.wait(lambda told: any(text.endswith("the end\n") for text in told))
    assert len(future.live_text) < 2 * KEPT + 100
    assert "characters left out ...]" in future.live_text
    gate.write_text("")
    assert future.result(WAIT_S) is None
