"""What is forgotten and when, and what is deleted: the bytes too."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from compute_nb.home import Home
from compute_nb.service.database.sqlite import SqliteDatabase
from compute_nb.service.retention import DAY_S, PART, Retention
from compute_nb.service.store import Forbidden, NotFound
from compute_nb.tasks import Events, Outcome, Run, RunResult, TaskState, new_id
from compute_nb.wire import Stored

from .conftest import WAIT_S, Agent, Peer, run_service
from .test_store import ME, YOU, Play, Rig, playing

KEPT = Retention()


@pytest.fixture
def play(place: Path | str) -> Play:
    return playing(place)


@pytest.fixture
def play_file(tmp_path: Path) -> Play:
    return playing(tmp_path / "store.db")


async def ended(rig: Rig, count: int, group: UUID | None = None, **more: object) -> list[UUID]:
    """Submits tasks and has them end as values."""
    tasks = await rig.submit(count, group, **more)
    while runs := rig.sent():
        results = await rig.finish(*runs)
        assert results.results
        for result in results.results:
            assert result.state is TaskState.SUCCEEDED
    return tasks


async def known(rig: Rig, tasks: list[UUID]) -> int:
    """How many are stored, without fetching any."""
    counts = await rig.store.counts()
    return sum(counts.values())


def test_kept_for_thirty_days_after_the_last_delivery_or_for_180(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        fetched = await ended(rig, 3)
        never = await ended(rig, 2)
        # The agent said that they ended at 2.0 s, which can't be: a wrong clock must not cost a value.
        began = rig.now
        await rig.store.fetched(fetched[:1])
        rig.now += 20 * DAY_S
        await rig.store.task_rows(ME, fetched[1:])
        rig.now += 10 * DAY_S
        assert await rig.store.sweep(KEPT) == 1
        assert [row.task_id for row in await rig.store.task_rows(ME, fetched)] == fetched[1:], "asked again"
        rig.now += 30 * DAY_S - 1
        assert await rig.store.sweep(KEPT) == 0
        rig.now += 1
        assert await rig.store.sweep(KEPT) == 2
        assert (await rig.store.counts())[TaskState.SUCCEEDED] == 2
        rig.now = began + 180 * DAY_S - 1
        assert await rig.store.sweep(KEPT) == 0
        rig.now += 1
        assert await rig.store.sweep(KEPT) == 2
        assert await rig.store.task_rows(ME, never) == []

    play(scene)


def test_open_tasks_stay_and_the_group_goes_with_its_last_task(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        group, newest = new_id(), new_id()
        await ended(rig, 2, group)
        (open_one,) = await rig.submit(1, group)
        (run,) = rig.sent()
        await rig.submit(0, newest)
        rig.now += 200 * DAY_S
        assert await rig.store.sweep(KEPT) == 2
        assert (await rig.store.group(ME, group)).task_group_id == group
        assert await rig.states([open_one]) == ["WAITING"]
        await rig.report(held=(run,))
        await rig.finish(run, outcome=Outcome.ERROR)
        assert (await rig.store.delete(ME, task_group_id=group))[:2] == (1, 0)
        with pytest.raises(NotFound):
            await rig.store.group(ME, group)
        assert (await rig.store.group(ME, newest)).task_group_id == newest, "its number must not come back"
        await ended(rig, 1, group)
        assert sum((await rig.store.counts()).values()) == 1

    play(scene)


def test_a_sweep_and_a_deletion_are_small_steps_between_which_others_are_served(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello(agent={"workers": 1000})
        group = new_id()
        for _ in range(3):
            await ended(rig, 1000, group)
        rig.now += 200 * DAY_S
        worst, sweeping = 0.0, asyncio.ensure_future(rig.store.sweep(KEPT))
        served = 0
        while not sweeping.done():
            began = time.perf_counter()
            await rig.store.counts()
            worst = max(worst, time.perf_counter() - began)
            served += 1
        assert sweeping.result() == 3000
        assert served >= 3000 // PART, "others were served between its steps"
        assert worst < 20.0, "`make million` measures it"
        assert sum((await rig.store.counts()).values()) == 0

    play(scene)


def test_only_the_owner_deletes_and_open_tasks_stay(play: Play) -> None:
    async def scene(rig: Rig) -> None:
        await rig.hello()
        group = new_id()
        (first, second) = await ended(rig, 2, group)
        (third,) = await rig.submit(1, group)
        with pytest.raises(Forbidden):
            await rig.store.delete(YOU, task_group_id=group)
        with pytest.raises(NotFound):
            await rig.store.delete(ME, task_group_id=new_id())
        assert (await rig.store.delete(YOU, task_ids=[first, third]))[:2] == (0, 0)
        assert (await rig.store.delete(ME, task_ids=[first, third, new_id()]))[:2] == (1, 1)
        assert [row.task_id for row in await rig.store.task_rows(ME, [first, second, third])] == [
            second,
            third,
        ]
        with pytest.raises(NotFound, match="inputs were deleted"):
            await rig.store.inputs(ME, first)
        late = await rig.finish(Run(first, 0))
        assert (late.results, late.stored) == ((), (Run(first, 0),)), "set aside; the agent may forget it"
        assert (await rig.store.delete(ME, task_group_id=group))[:2] == (1, 1)
        counts = await rig.store.counts()
        assert {state: n for state, n in counts.items() if n} == {TaskState.WAITING: 1}

    play(scene)


def test_what_is_deleted_is_in_no_file_any_more_and_the_disk_has_the_space(
    play_file: Play, tmp_path: Path
) -> None:
    def bytes_on_disk() -> bytes:
        return b"".join(path.read_bytes() for path in tmp_path.iterdir())

    async def scene(rig: Rig) -> None:
        await rig.hello(agent={"workers": 1000})
        before = (tmp_path / "store.db").stat().st_size
        tasks = await ended(rig, 200, args="secret argument " * 1000)
        checkpoint(rig)
        assert b"secret argument" in bytes_on_disk()
        grown = (tmp_path / "store.db").stat().st_size
        assert grown > before + 3_000_000
        assert (await rig.store.delete(ME, task_ids=tasks)).deleted == 200
        checkpoint(rig)
        assert b"secret argument" not in bytes_on_disk()
        assert (tmp_path / "store.db").stat().st_size < before + 200_000

    play_file(scene)


def test_a_step_gives_back_as_many_pages_as_it_says(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "store.db", durable=False)
    database.execute("CREATE TABLE filler (text)")
    database.executemany("INSERT INTO filler VALUES (?)", [("x" * 4000,)] * 300)
    database.execute("DELETE FROM filler")
    before = database.changes
    (free,) = database.execute("PRAGMA freelist_count").fetchone()
    assert database.give_back(100)
    assert database.execute("PRAGMA freelist_count").fetchone() == (free - 100,)
    assert database.changes > before, "else nobody would copy the WAL, until a commit has to"
    assert not database.give_back(free)
    database.connection.close()


def checkpoint(rig: Rig) -> None:
    """What the sync thread does now and then."""
    busy = 1
    while busy:  # if that thread does it just now
        busy, *_ = rig.store._database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def test_deleted_rows_make_room_in_postgresql(postgresql) -> None:
    size: Callable[[str], int] = lambda name: postgresql.execute(f"SELECT pg_database_size('{name}')")[0][0]  # noqa: E731

    async def scene(rig: Rig) -> None:
        name = str(rig.place).rsplit("/", 1)[1]
        await rig.hello(agent={"workers": 1000})
        sizes = []
        for _ in range(4):
            tasks = await ended(rig, 100, args=new_id().hex * 500)
            assert (await rig.store.delete(ME, task_ids=tasks)).deleted == 100
            postgresql.execute("VACUUM", name)
            sizes.append(size(name))
        assert sizes[-1] - sizes[0] < 1_000_000, sizes

    playing(postgresql.database())(scene)


def fetched(home: Home) -> int:
    """How many tasks the store has as fetched."""
    connection = sqlite3.connect(home.store_file)
    (count,) = connection.execute("SELECT count(fetched) FROM task").fetchone()
    connection.close()
    return int(count)


def test_what_a_watcher_was_told_counts_as_fetched_and_is_forgotten_in_time(home: Home) -> None:
    with run_service(home, idle_s=0.2) as service:
        agent, group = Agent(service), new_id()
        function = service.function()
        _, answer = service.submit(agent.endpoint_id, function, 2, task_group_id=str(group))
        runs, now = [Run(UUID(task_id), 0) for task_id in answer["tasks"][function]], time.time()
        agent.report(results=(RunResult(runs[0], Outcome.SUCCESS, "5\n01\nok", None, now, now),))
        agent.expect(Stored)
        assert fetched(home) == 0, "nobody was told"
        body = {"watch_id": str(new_id()), "task_groups": [str(group)]}
        watch = service.ok("POST", "/v3/compute_nb/watch", body)
        ears = Peer(watch["connection_url"])
        ears.read(watch["queue"])
        agent.report(results=(RunResult(runs[1], Outcome.SUCCESS, "5\n01\nok", None, now, now),))
        assert [result.task_id for result in ears.expect(Events).results] == [runs[1].task_id]
        ears.close()
        pause = threading.Event()
        deadline = time.monotonic() + WAIT_S
        while not fetched(home) and time.monotonic() < deadline:
            pause.wait(0.02)
        assert fetched(home) == 1
        agent.close()
    with run_service(home, retention=Retention(0.0, 3600.0)):
        pass  # it ends before its first look
    with run_service(home, idle_s=0.2) as service:  # sweeps at its first look, and has `retention` in mind
        deadline = time.monotonic() + WAIT_S
        while fetched(home) and time.monotonic() < deadline:
            pause.wait(0.02)
        counts = service.ok("GET", "/v3/compute_nb/status")["tasks"]
        assert counts["SUCCEEDED"] == 1, "the one that nobody was told"
