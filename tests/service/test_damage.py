"""Stores that are damaged, deleted or full: one clear error, nothing accepted is lost, and it goes on."""

import asyncio
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import pytest
from own_postgresql import USER

from compute_nb.errors import ComputeError
from compute_nb.service.store import Store, StoreFull, StoreUnusable
from compute_nb.tasks import TaskState

from .conftest import run_service
from .test_store import ME, Rig

MOUNTS = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
LARGE = os.urandom(25_000).hex()


def damage(path: Path, first: int, count: int = 1) -> None:
    """Overwrites pages, as a disk does that goes bad."""
    with path.open("r+b") as file:
        for page in range(first, first + count):
            file.seek(4096 * page)
            file.write(b"\xa5" * 4096)


def test_damaged_pages_fail_what_needs_them_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def fill() -> Rig:
        rig = await Rig(path).set_up()
        await rig.submit(500)
        rig.store.close()
        return rig

    async def use(rig: Rig) -> tuple[int, list[StoreUnusable]]:
        """Asks for all kinds of things; returns how many went well, and the errors."""
        await rig.open()
        good, errors = 0, []
        for call in (
            lambda: rig.submit(1),
            lambda: rig.store.counts(),
            lambda: rig.hello(),
            lambda: rig.store.endpoints(ME),
            lambda: rig.store.set_meta("a", "b"),
        ):
            try:
                await call()
                good += 1
            except StoreUnusable as error:
                errors.append(error)
        rig.store.close()
        return good, errors

    rig = asyncio.run(fill())
    whole = path.read_bytes()
    told = 0
    for first in range(1, len(whole) // 4096, 3):
        path.write_bytes(whole)
        damage(path, first)
        try:
            _, errors = asyncio.run(use(rig))
        except StoreUnusable as error:
            errors = [error]
        for error in errors:
            assert "store.db is damaged" in str(error)
            assert "move it away" in str(error)
        told += bool(errors)
    assert told > 3
    path.write_bytes(whole)
    assert asyncio.run(use(rig)) == (5, [])


def test_a_wal_that_was_cut_short_leaves_what_came_first(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    program = (
        "import asyncio, os, signal, sys\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from service.test_store import Rig\n"
        "async def main():\n"
        "    rig = await Rig(Path(sys.argv[1])).set_up()\n"
        "    for _ in range(20):\n"
        "        print(*await rig.submit(1), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    tests = Path(__file__).parent.parent
    words = [sys.executable, "-c", program, str(path), str(tests)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    tasks = done.stdout.split()
    assert len(tasks) == 20, done.stderr
    wal = Path(f"{path}-wal").read_bytes()
    seen = set()
    for cut in range(0, len(wal), len(wal) // 12):
        folder = tmp_path / str(cut)
        folder.mkdir()
        shutil.copy(path, folder)
        (folder / "store.db-wal").write_bytes(wal[:cut])
        Store.open(folder / "store.db").close()
        connection = sqlite3.connect(folder / "store.db")
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        stored = [str_id(row[0]) for row in connection.execute("SELECT id FROM task ORDER BY no")]
        (waiting,) = connection.execute("SELECT n FROM tally WHERE state = 0").fetchone()
        connection.close()
        assert stored == tasks[: len(stored)], "those that came first"
        assert waiting == len(stored), "no part of a commit"
        seen.add(len(stored))
    assert len(seen) > 3


def str_id(blob: bytes) -> str:
    text = blob.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


@pytest.mark.parametrize("name", ["store.db", "store.db-wal"])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_store_deleted_under_a_running_service_is_saved(tmp_path: Path, name: str, replaced: bool) -> None:
    async def main() -> None:
        rig = await Rig(tmp_path / "store.db").set_up()
        tasks = await rig.submit(3)
        (tmp_path / name).unlink()
        if replaced:
            (tmp_path / name).write_bytes(b"")
        for _ in range(2):
            with pytest.raises(
                StoreUnusable, match=r"was deleted or replaced.*all that it held is in"
            ) as told:
                await rig.submit(1)
        rig.store.close()
        (saved,) = tmp_path.glob("store.db.saved-*")
        assert str(saved) in str(told.value)
        assert saved.stat().st_mode & 0o777 == 0o600
        for left in tmp_path.glob("store.db*"):
            if left != saved:
                left.unlink()
        saved.rename(tmp_path / "store.db")
        await rig.open()
        assert await rig.states(tasks) == ["WAITING"] * 3
        rig.store.close()

    asyncio.run(main())


# -- a full disk ----------------------------------------------------------------------------------


@contextmanager
def mounted(size: str) -> Iterator[Path]:
    """A disk of that size."""
    folder = Path(mkdtemp(prefix="compute_nb-disk-", dir="/tmp"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()


@pytest.fixture(params=["limit", *(["disk"] if MOUNTS else [])])
def small(request, tmp_path: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder in which files can't grow beyond 1 MB, and what ends that."""
    if request.param == "disk":
        with mounted("1536k") as folder:
            grow = ["mount", "-o", "remount,size=64m", str(folder)]
            yield folder, lambda: subprocess.run(grow, check=True) and None
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    yield tmp_path, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def fill_up(rig: Rig, error: type[StoreUnusable]) -> tuple[list, list]:
    """Submits until the disk is full; returns what was accepted, and the specs that were refused."""
    accepted = []
    for _ in range(1000):
        specs = rig.specs(2, LARGE)
        try:
            accepted += await rig.submit(2, specs=specs)
            await rig.store.synced()
        except error as full:
            assert "free" in str(full)  # noqa: PT017
            return accepted, specs
    raise AssertionError("it does not get full")


def test_a_full_disk_keeps_what_was_accepted_and_goes_on(small) -> None:
    folder, make_room = small

    async def main() -> None:
        rig = await Rig(folder / "store.db").set_up()
        await rig.hello()
        accepted, refused = await fill_up(rig, StoreUnusable)
        assert accepted
        runs = rig.sent()
        assert {run.task_id for run in runs} <= set(accepted), "nothing leaves that is not stored"
        assert await rig.states(accepted) == ["WAITING"] * len(accepted)
        assert await rig.store.task_rows(ME, [spec.task_id for spec in refused]) == []
        make_room()
        accepted += await rig.submit(2, specs=refused)
        while runs:
            await rig.finish(*runs)
            runs = rig.sent()
        assert await rig.states(accepted) == ["SUCCEEDED"] * len(accepted)
        counts = await rig.store.counts()
        assert {state: n for state, n in counts.items() if n} == {TaskState.SUCCEEDED: len(accepted)}
        rig.store.close()

    asyncio.run(main())


if MOUNTS:

    def test_a_full_tablespace_keeps_what_was_accepted_and_goes_on(postgresql) -> None:
        async def main(folder: Path) -> None:
            if USER:
                shutil.chown(folder, USER, USER)
            postgresql.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
            postgresql.execute("CREATE DATABASE full_one TABLESPACE small")
            rig = await Rig(postgresql.url("full_one")).set_up()
            await rig.hello()
            accepted, refused = await fill_up(rig, StoreFull)
            assert len(accepted) > 10
            assert await rig.states(accepted) == ["WAITING"] * len(accepted)
            subprocess.run(["mount", "-o", "remount,size=128m", str(folder)], check=True)
            accepted += await rig.submit(2, specs=refused)
            assert await rig.states(accepted) == ["WAITING"] * len(accepted)
            assert (await rig.store.counts())[TaskState.WAITING] == len(accepted)
            rig.store.close()
            postgresql.execute("DROP DATABASE full_one")
            postgresql.execute("DROP TABLESPACE small")

        with mounted("24m") as folder:
            asyncio.run(main(folder))


def test_a_damaged_store_ends_the_start_of_a_service_with_one_line(home) -> None:
    home.store_file.write_bytes(os.urandom(20_000))
    with pytest.raises(ComputeError, match=r"store\.db is damaged") as told, run_service(home):
        pass
    assert "\n" not in str(told.value)
