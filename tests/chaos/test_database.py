"""PostgreSQL restarted, killed with -9 and crashed under load, with the real client, service and agent."""

import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from own_postgresql import PostgresqlServer, programs

PROGRAM = Path(__file__).parent / "programs" / "steady.py"
BETWEEN = 200
POLL_S, WAIT_S = 0.02, 60.0


def command(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "compute_nb.cli", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def begun(lines: Path) -> Counter[str]:
    return Counter(lines.read_text().split())


def goes_on(lines: Path) -> None:
    """Returns when so many more tasks have begun."""
    wanted, pause = len(begun(lines)) + BETWEEN, threading.Event()
    for _ in range(int(WAIT_S / POLL_S)):
        if len(begun(lines)) >= wanted:
            return
        pause.wait(POLL_S)
    raise AssertionError("the tasks do not go on")


@pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed: `make system` does it")
def test_a_database_that_comes_and_goes_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPUTE_NB_HOME", str(tmp_path / "home"))
    lines = tmp_path / "lines"
    server = PostgresqlServer()
    try:
        command("service", "start", "--store", server.database())
        words = [sys.executable, str(PROGRAM), str(lines)]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
            assert load.stdin is not None
            assert load.stdout is not None
            assert load.stdout.readline() == "0\n"
            for end in (
                lambda: server.end(signal.SIGINT),
                server.kill,
                lambda: server.end(signal.SIGQUIT),
            ):
                goes_on(lines)
                end()
                server.start()
            goes_on(lines)
            load.stdin.close()
            totals = json.loads(load.stdout.readline())
        print(totals)
        begins = begun(lines)
        accepted = totals["submitted"] - totals.get("refused", 0)
        assert totals["right"] == accepted > 500, totals
        assert len(begins) == accepted
        assert max(begins.values()) == 1, "a task has begun twice"
        counts = json.loads(command("service", "status", "--json"))["tasks"]
        assert {state: n for state, n in counts.items() if n} == {"SUCCEEDED": accepted}
    finally:
        command("service", "stop")
        server.stop()
