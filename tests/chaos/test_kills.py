"""kill -9 in the middle of 200 running tasks: of the kernel, the service and the agent."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from compute_nb.endpoint import machine
from compute_nb.endpoint.slots import RECORDS

PROGRAMS = Path(__file__).parent / "programs"
COUNT = 200
SQUARES = {number: str(number * number) for number in range(COUNT)}


@dataclass(frozen=True)
class Sweep:
    """200 tasks under way: the process that submitted them, their group, and the lines they leave."""

    process: subprocess.Popen[str]
    group: str
    lines: Path
    held: Path

    def go_on(self) -> None:
        """Lets task 60 end, once what is to be killed is killed."""
        self.held.unlink()

    def begun(self) -> Counter[int]:
        return Counter(int(line) for line in self.lines.read_text().split())

    def results(self) -> dict[int, str]:
        out, _ = self.process.communicate(timeout=150)
        return parse(out)


def parse(out: str) -> dict[int, str]:
    rows = (line.split(" ", 1) for line in out.splitlines())
    return {int(number): text for number, text in rows}


def python(*args: str | Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, *map(str, args)], stdout=subprocess.PIPE, text=True)
    _started.append(process)
    return process


_started: list[subprocess.Popen[str]] = []


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("COMPUTE_NB_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    for process in _started:
        with process:  # of a test that failed: it would start the service again
            process.kill()
    _started.clear()
    subprocess.run([sys.executable, "-m", "compute_nb.cli", "service", "stop"], capture_output=True)


def sweep(folder: Path, retries: int) -> Sweep:
    """Returns when task 60 has begun, so that the kill falls in the middle; it runs until `go_on`."""
    lines, pipe, held = folder / "lines", folder / "signal", folder / "held"
    held.touch()
    os.mkfifo(pipe)
    with os.fdopen(os.open(pipe, os.O_RDWR)) as reader:
        process = python(PROGRAMS / "submit.py", lines, pipe, str(COUNT), str(retries), held)
        assert process.stdout is not None
        group = process.stdout.readline().strip()
        assert reader.readline() == "60\n"
    return Sweep(process, group, lines, held)


def service_pid() -> int:
    done = subprocess.run(
        [sys.executable, "-m", "compute_nb.cli", "service", "status", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(json.loads(done.stdout)["pid"])


def agent_pid(home: Path) -> int:
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if (
            "endpoint" in words
            and "run" in words
            and environment(process).get("COMPUTE_NB_HOME") == str(home)
        ):
            return int(process.pid)
    raise AssertionError("no agent runs for this home")


def environment(process: psutil.Process) -> dict[str, str]:
    try:
        return dict(process.environ())
    except psutil.Error:
        return {}


def test_kernel_killed(home: Path, tmp_path: Path) -> None:
    running = sweep(tmp_path, retries=0)
    running.process.kill()
    running.process.communicate()
    running.go_on()
    out, _ = python(PROGRAMS / "reload.py", running.group).communicate(timeout=150)
    assert parse(out) == SQUARES
    assert running.begun() == Counter(range(COUNT))


def test_service_killed(home: Path, tmp_path: Path) -> None:
    running = sweep(tmp_path, retries=0)
    os.kill(service_pid(), signal.SIGKILL)
    running.go_on()
    assert running.results() == SQUARES
    out, _ = python(PROGRAMS / "reload.py", running.group).communicate(timeout=150)
    assert parse(out) == SQUARES
    assert running.begun() == Counter(range(COUNT))


def test_agent_killed_without_retries(home: Path, tmp_path: Path) -> None:
    running = sweep(tmp_path, retries=0)
    os.kill(agent_pid(home), signal.SIGKILL)
    running.go_on()
    results = running.results()
    lost = {number for number, text in results.items() if text.startswith("TaskLost")}
    # A worker has a record for the chunk that it runs and for one whose end was not yet journalled. A chunk
    # holds up to 64 tasks if they are short; tasks of 20 ms travel one by one.
    assert 1 <= len(lost) <= RECORDS * machine.usable_cpus()
    assert all("agent" in results[number] for number in lost)
    assert {n: text for n, text in results.items() if n not in lost} == {
        n: text for n, text in SQUARES.items() if n not in lost
    }
    assert max(running.begun().values()) == 1
    assert lost <= set(running.begun())


def test_agent_killed_with_a_retry(home: Path, tmp_path: Path) -> None:
    running = sweep(tmp_path, retries=1)
    os.kill(agent_pid(home), signal.SIGKILL)
    running.go_on()
    assert running.results() == SQUARES
    assert max(running.begun().values()) <= 2
    assert set(running.begun()) == set(range(COUNT))
