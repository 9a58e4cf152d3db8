"""Stores of before open with their data intact, whatever happens meanwhile; those of later are left alone."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from own_postgresql import PostgresqlServer

from compute_nb.service.migrations import migrations
from compute_nb.service.store import Store, StoreUnusable
from compute_nb.tasks import Hello, Run, Submission, TaskSpec, TaskState, new_id

from .test_store import ME

OLD = Path(__file__).parent / "old_stores"
LAB, GROUP = UUID(int=0xE), UUID(int=6)
TASKS = [UUID(int=0x100 + number) for number in range(5)]


def test_both_dialects_have_the_same_steps_without_a_gap() -> None:
    sqlite, postgresql = migrations("sqlite"), migrations("postgresql")
    assert [step[:2] for step in sqlite] == [step[:2] for step in postgresql]
    assert [step.number for step in sqlite] == list(range(1, len(sqlite) + 1))
    assert [step.name for step in sqlite[:3]] == ["tables", "retry", "fetched"]
    assert all(step.statements for step in (*sqlite, *postgresql))


def old_file(folder: Path, version: int) -> Path:
    """A store as the program of that schema version has left it; *.sql is its dump."""
    path = folder / "store.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript((OLD / f"{version}.sql").read_text())
    connection.close()
    return path


def old_database(server: PostgresqlServer) -> str:
    """The same in PostgreSQL, of version 2: there is none of before."""
    url = server.database()
    file = sqlite3.connect(":memory:")
    file.executescript((OLD / "2.sql").read_text())
    with psycopg.connect(url) as link:
        for step in migrations("postgresql")[:2]:
            for statement in step.statements:
                link.execute(statement)
        link.execute("CREATE TABLE migration (version integer PRIMARY KEY, at double precision NOT NULL)")
        link.execute("INSERT INTO migration VALUES (1, 0), (2, 0)")
        link.execute("DELETE FROM tally")
        for table in ("tally", "function", "endpoint", "task_group", "options", "task", "payload", "result"):
            _copy(file, link, table)
        for table in ("function", "endpoint", "task_group", "options"):
            link.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'no'), 10)")
    file.close()
    return url


def _copy(file: sqlite3.Connection, link: psycopg.Connection, table: str) -> None:
    columns = link.execute("SELECT * FROM " + table).description or []
    kinds = {column.name: column.type_display for column in columns}
    names = [row[1] for row in file.execute(f"PRAGMA table_info({table})")]
    places = ", ".join(f"%s::text::{kinds[n]}" if kinds[n] != "bytea" else "%s" for n in names)
    for row in file.execute(f"SELECT * FROM {table}"):
        values = [
            value.hex() if isinstance(value, bytes) and kinds[name] == "uuid" else value
            for name, value in zip(names, row, strict=True)
        ]
        link.execute(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", values)


def check_and_use(place: Path | str, version: int) -> None:
    """All is there, and the store goes on from it."""

    async def main() -> None:
        store = Store.open(place)
        store.start(lambda _: None)
        rows = {row.task_id: row for row in await store.task_rows(ME, TASKS)}
        done, failed, running, cancelled, waiting = (rows[task] for task in TASKS)
        assert (done.state, done.data) == (TaskState.SUCCEEDED, "value")
        assert (failed.state, failed.data) == (TaskState.FAILED, "went wrong")
        assert (running.state, running.started_at) == (TaskState.RUNNING, 7.0)
        assert cancelled.state is TaskState.CANCELLED
        assert (waiting.state, waiting.retries) == (TaskState.WAITING, 1)
        assert (await store.inputs(ME, TASKS[4])).args == "args 104"
        counts = await store.counts()
        assert counts[TaskState.WAITING] == (1 if version == 1 else 2)
        (task,) = [new_id()]
        spec = TaskSpec(task, done.function_id, "new")
        assert (await store.submit(ME, Submission(LAB, GROUP, (spec,)))).new
        hello = Hello(new_id(), UUID(int=0x10), new_id(), {}, held=(Run(TASKS[4], 0),))
        assert (await store.hello(LAB, hello)).welcome.drop == ()
        assert (await store.delete(ME, task_ids=[TASKS[0]])).deleted == 1
        store.close()

    asyncio.run(main())


@pytest.mark.parametrize("version", [1, 2])
def test_an_old_file_opens_with_its_data(tmp_path: Path, version: int) -> None:
    path = old_file(tmp_path, version)
    check_and_use(path, version)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT max(version) FROM migration").fetchone() == (len(migrations("sqlite")),)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_an_old_database_opens_with_its_data(postgresql: PostgresqlServer) -> None:
    check_and_use(old_database(postgresql), 2)


@pytest.mark.parametrize("version", [1, 2])
def test_old_and_new_files_have_the_same_tables(tmp_path: Path, version: int) -> None:
    path, fresh = old_file(tmp_path, version), tmp_path / "fresh.db"
    tables = []
    for one in (path, fresh):
        Store.open(one).close()
        connection = sqlite3.connect(one)
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
        tables.append({name: sql for name, sql in rows if name != "migration"})
        connection.close()
    assert tables[0] == tables[1]


KILLED = """
import resource, signal, sys
from pathlib import Path
from compute_nb.service.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
Store.open(Path(sys.argv[1]))
"""


def test_a_migration_that_is_killed_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    """The kernel kills the process at the write that makes a file longer than so many bytes."""
    killed = 0
    for number, most in enumerate((100, 4_500, 9_000, 13_000, 17_000, 21_000, 25_000, 60_000)):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = old_file(folder, 1)
        done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(most)], check=False)
        killed += done.returncode == -signal.SIGXFSZ
        connection = sqlite3.connect(path)
        (version,) = connection.execute("SELECT max(version) FROM migration").fetchone()
        columns = [row[1] for row in connection.execute("PRAGMA table_info(task)")]
        indexes = [row[1] for row in connection.execute("PRAGMA index_list(task)")]
        connection.close()
        assert version in (1, len(migrations("sqlite")))
        assert ("fetched" in columns) == ("task_retry" in indexes) == (version > 1)
        check_and_use(path, 1)
    assert killed >= 3, "nothing was killed in the middle"


def test_a_migration_in_postgresql_that_is_cut_off_leaves_the_old_or_the_new(
    postgresql: PostgresqlServer, cable
) -> None:
    broken = 0
    for answers in range(8, 40, 4):
        place = old_database(postgresql)
        cable.cut_after = answers
        try:
            Store.open(place.replace(str(postgresql.port), str(cable.port)), busy_timeout_s=1).close()
        except StoreUnusable:
            broken += 1
        name = place.rsplit("/", 1)[1]
        ((version,),) = postgresql.execute("SELECT max(version) FROM migration", name)
        columns = postgresql.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'task'", name
        )
        assert version in (2, len(migrations("postgresql")))
        assert (("fetched",) in columns) == (version > 2)
        check_and_use(place, 2)
    assert broken >= 3, "nothing was cut in the middle"


def test_a_newer_file_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    Store.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO migration VALUES (?, 0)", (len(migrations("sqlite")) + 1,))
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreUnusable, match=r"store\.db has schema version \d+.*upgrade compute_nb"):
        Store.open(path)
    assert path.read_bytes() == before


def test_a_newer_database_is_refused_untouched(postgresql: PostgresqlServer) -> None:
    place = postgresql.database()
    Store.open(place).close()
    name = place.rsplit("/", 1)[1]
    postgresql.execute("INSERT INTO migration VALUES (99, 0)", name)
    # What has written anything has taken a number for it.
    (before,) = postgresql.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
    with pytest.raises(StoreUnusable, match=r"has schema version 99.*upgrade compute_nb"):
        Store.open(place)
    assert postgresql.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text") == [before]
