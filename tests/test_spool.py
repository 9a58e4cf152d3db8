"""The spool by itself: what is put is there for the next process, bounded, and for its owner only."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from compute_nb.home import Home
from compute_nb.spool import Spool
from compute_nb.tasks import ErrorCode, TaskResult, TaskState, new_id

GROUP = new_id()
WAIT_S = 60


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def result(data: str = "11\n42", group=GROUP, **changes) -> TaskResult:
    made = TaskResult(new_id(), group, TaskState.SUCCEEDED, data, None, 0, 1.5, None, 3.0)
    return made._replace(**changes)


def written(spool: Spool) -> bool:
    """Waits until all that was put is on the disk."""
    done = threading.Event()
    spool.afterwards(done.set)
    return done.wait(WAIT_S)


def kept(home: Home) -> list[Path]:
    return sorted((home.root / "spool").glob("*"))


def test_what_was_put_is_found_by_the_next_process(home: Home) -> None:
    spool = Spool(home)
    failed = result("Traceback\ud800", state=TaskState.FAILED, error_code=ErrorCode.REMOTE, attempt=2)
    told = result(worker={"python": "3.11"}, submitted_at=None)
    for one in (failed, told, result(group=new_id())):
        spool.put(one)
    assert written(spool)
    spool.close(WAIT_S)
    assert Spool(home).of(GROUP) == {failed.task_id: failed, told.task_id: told}
    assert Spool(home).of(new_id()) == {}


def test_only_its_owner_reads_it(home: Home) -> None:
    spool = Spool(home)
    spool.put(result())
    assert written(spool)
    (path,) = kept(home)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    spool.close(WAIT_S)


def test_without_a_result_nothing_is_made(home: Home) -> None:
    assert written(Spool(home))
    assert not home.root.exists()


def test_a_torn_line_costs_that_result_only(home: Home) -> None:
    first, second = Spool(home), Spool(home)
    one, two = result(), result()
    for spool, put in ((first, one), (second, two)):
        spool.put(put)
        assert written(spool)
        spool.close(WAIT_S)
    for path in kept(home):
        with path.open("ab") as file:
            file.write(b'{"task": "0b1c\n[1]\n{"task": 3}\n\xff\n{"task"')
    assert Spool(home).of(GROUP) == {one.task_id: one, two.task_id: two}


def test_the_oldest_group_goes_when_it_gets_too_large(home: Home) -> None:
    spool = Spool(home, max_bytes=3_000)
    old, new = new_id(), new_id()
    spool.put(result("x" * 1_500, old))
    assert written(spool)
    os.utime(kept(home)[0], (1, 1))
    spool.put(result("x" * 1_500, new))
    assert written(spool)
    assert spool.of(old) == {}
    assert len(spool.of(new)) == 1
    spool.close(WAIT_S)


def test_a_home_that_cannot_be_written_stops_nobody(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    home.root.parent.mkdir(exist_ok=True)
    home.root.write_text("no folder")
    spool = Spool(home)
    spool.put(result())
    assert written(spool)
    assert "1 results are not kept in the home folder" in caplog.text
    assert spool.of(GROUP) == {}
    spool.close(WAIT_S)
