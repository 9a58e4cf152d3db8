"""kill -9 of what holds tasks, at different moments: none begins twice, and all that had begun is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from compute_nb import wire
from compute_nb.endpoint import machine
from compute_nb.endpoint.agent import settle_past
from compute_nb.endpoint.journal import open_journal
from compute_nb.tasks import Dispatch, Run, TaskBatch, TaskCall, new_id
from compute_nb.wire import pack_buffers

VICTIM = Path(__file__).with_name("victim.py")
TASKS = 300
# one write call a line: the file tells who has begun, whatever is killed when
SOURCE = (
    "def note(path, i, pause_s):\n    import os, time\n    fd = os.open(path, os.O_WRONLY | os.O_APPEND)\n"
    "    os.write(fd, f'{i}\\n'.encode())\n    os.close(fd)\n    time.sleep(pause_s)\n    return i\n"
)


def message(path: Path, runs: list[Run], pause_s: float) -> bytes:
    calls = tuple(
        TaskCall(run, pack_buffers([f'11\n["{path}", {i}, {pause_s}]', "11\n{}"]))
        for i, run in enumerate(runs)
    )
    code = pack_buffers([f"st\nnote:{SOURCE}"])
    function = uuid4()
    return wire.encode(Dispatch(uuid4(), {function: code}, (TaskBatch(uuid4(), function, {}, calls),)))


def start(folder: Path, engine: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(VICTIM), str(folder), engine],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def begun(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()]


@pytest.mark.parametrize(
    ("engine", "pause_s", "ends"),
    [
        *[("processes", *at) for at in [(0.0, 1), (0.0, 60), (0.0, 150), (0.002, 20), (0.03, 10)]],
        *[(engine, *at) for engine in ("threads", "mpi") for at in [(0.0, 100), (0.03, 10)]],
    ],
)
def test_none_begins_twice_and_what_had_begun_is_broken(tmp_path, engine, pause_s, ends):
    path = tmp_path / "begun"
    path.touch()
    runs = [Run(new_id(), 0) for _ in range(TASKS if pause_s < 0.01 else 60)]
    victim = start(tmp_path, engine)
    victim.stdin.write(message(path, runs, pause_s).hex() + "\n")
    victim.stdin.close()
    for line in victim.stdout:
        if int(line) >= ends:
            break
    victim.kill()
    victim.wait()
    victim.stdout.close()

    journal = open_journal(tmp_path / "journal.db", machine.boot_id())
    settle_past(journal, tmp_path)  # its workers are gone after this
    before = begun(path)
    place = {run: i for i, run in enumerate(runs)}
    held = {place[run] for run in journal.held()}
    done = {place[run] for run in journal.done()}
    broken = {place[one.run] for one in journal.broken()}
    journal.close()
    assert len(before) == len(set(before))
    assert held | done | broken == set(place.values())
    assert len(held) + len(done) + len(broken) == len(runs)
    assert not held & set(before)
    assert done <= set(before)
    assert set(before) <= done | broken
    assert len(broken - set(before)) <= 2  # marked, and killed before the first line of the task

    survivor = start(tmp_path, engine)
    survivor.stdin.close()
    assert survivor.wait(timeout=60) == 0
    survivor.stdout.close()
    after = begun(path)
    assert len(after) == len(set(after))
    assert sorted(set(after) | broken) == sorted(place.values())
    journal = open_journal(tmp_path / "journal.db", machine.boot_id())
    assert {place[run] for run in journal.done()} == held | done
    assert {place[one.run] for one in journal.broken()} == broken
    journal.close()
