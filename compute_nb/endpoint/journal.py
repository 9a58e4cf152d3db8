"""This module is the journal of an agent: the runs that it has accepted, and their ends, on disk.

SQLite in WAL mode without a sync at each commit: what is committed survives the kill of the agent. A power
cut may lose the latest commits, so after a restart of the machine all that was held counts as begun, under
a new journal id.

A message with tasks is one row, as it came; each of its runs has a number, made of the row's and its place.
The ends that came together are one row too. Single rows for each task cost 19 us a task, this about 2.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID, uuid4

from compute_nb import wire
from compute_nb.endpoint.engine import Ended, EngineBatch, EngineTask
from compute_nb.errors import ComputeError
from compute_nb.tasks import Broken, Dispatch, Outcome, Run, RunResult, TaskBatch

PLACES = 1 << 16
SCHEMA = 1

_BROKEN = "broken"
_log = logging.getLogger(__name__)

_TABLES = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    PRAGMA wal_autocheckpoint = 4000;
    CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS message (number INTEGER PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS over (message INTEGER PRIMARY KEY, places BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS ended (number INTEGER PRIMARY KEY, ends TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS function (id BLOB PRIMARY KEY, code TEXT NOT NULL) WITHOUT ROWID;
"""


# What a full or failing disk gives, and another reader of the file: it may pass.
PASSING = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN})


class JournalFull(ComputeError):
    """The disk takes nothing now; nothing has changed, and the same may be tried again later."""


class JournalUnreadable(ComputeError):
    """The journal was written by a newer version of this package."""


@dataclass(slots=True, eq=False)
class _Entry:
    """A run that is known: held while `row` is None, else ended (or broken) in that row."""

    run: Run
    number: int
    row: int | None = None
    broken: str | None = None


@dataclass(slots=True)
class _Message:
    """A row of tasks: how many of them are not over, and the bits of those that are."""

    left: int
    over: int = 0


class Journal:
    """What an agent holds, in memory and on disk; all methods belong to one thread.

    Made by `open_journal`; `recover` is called once before anything changes.
    """

    def __init__(self, path: Path, boot_id: UUID) -> None:
        self._db = _connect(path)
        self._known: dict[tuple[int, int], _Entry] = {}
        self._messages: dict[int, _Message] = {}
        self._rows: dict[int, int] = {}
        self._touched: set[int] = set()
        self._finished: list[int] = []
        self._functions: dict[int, str] = {}
        meta = dict(self._db.execute("SELECT name, value FROM meta"))
        if int(meta.get("schema", SCHEMA)) > SCHEMA:
            self._db.close()
            raise JournalUnreadable(
                f"{path} was written by a newer compute_nb: update this one, or move the file away"
            )
        self.same_boot = meta.get("boot_id", str(boot_id)) == str(boot_id)
        self.journal_id = UUID(meta["journal_id"]) if "journal_id" in meta else uuid4()
        if not self.same_boot:
            self.journal_id = uuid4()
        self._load()
        self._last_message = self._last("message")
        self._last_row = self._last("ended")
        self._meta = {
            "schema": str(SCHEMA),
            "journal_id": str(self.journal_id),
            "boot_id": str(boot_id),
        }

    def close(self) -> None:
        """Writes what is left to write and closes the file; what that does not take comes up again."""
        with contextlib.suppress(JournalFull):
            self.flush()
        self._db.close()

    # what there is

    def held(self) -> list[Run]:
        """The runs that have not ended."""
        return [entry.run for entry in self._known.values() if entry.row is None]

    def done(self) -> list[Run]:
        """The runs that have ended and whose results may be unknown to the service."""
        return [e.run for e in self._known.values() if e.row is not None and e.broken is None]

    def broken(self) -> list[Broken]:
        """The runs that had begun when their worker or agent was lost."""
        return [Broken(e.run, e.broken) for e in self._known.values() if e.broken is not None]

    def number(self, run: Run) -> int | None:
        """The number of a run that is held."""
        entry = self._known.get(_key(run))
        return entry.number if entry is not None and entry.row is None else None

    def results(self) -> Iterator[RunResult]:
        """Reads the results of all that is done from disk."""
        for _, ends in self._db.execute("SELECT number, ends FROM ended ORDER BY number").fetchall():
            for number, task_id, attempt, outcome, *rest in json.loads(ends):
                entry = self._known.get((UUID(task_id).int, attempt))
                if entry is not None and entry.number == number and outcome != _BROKEN:
                    yield RunResult(entry.run, Outcome(outcome), *rest)

    def batches(self) -> list[EngineBatch]:
        """Reads all that is held from disk, for an engine that knows nothing yet."""
        found: list[EngineBatch] = []
        rows = self._db.execute("SELECT number, body FROM message ORDER BY number").fetchall()
        for number, body in rows:
            found += self._held_batches(number, body)
        return found

    def _held_batches(self, number: int, body: bytes) -> Iterator[EngineBatch]:
        place = number * PLACES
        for batch in _dispatch(body).batches:
            numbered = [EngineTask(place + i, call.run, call.args) for i, call in enumerate(batch.tasks)]
            place += len(numbered)
            held = tuple(task for task in numbered if self.number(task.run) == task.number)
            if held:
                yield self._engine_batch(batch, held)

    def _engine_batch(self, batch: TaskBatch, tasks: tuple[EngineTask, ...]) -> EngineBatch:
        code = self._functions.get(batch.function_id.int, "")
        return EngineBatch(batch.task_group_id, batch.function_id, code, batch.options, tasks, batch.owner)

    # what changes

    def recover(self, begun: Iterable[int] | None, reason: str) -> None:
        """Counts runs of an earlier agent as broken, then makes the journal this boot's.

        Args:
            begun: Numbers of those that had begun; None if nobody knows, then all.
            reason: For people: what happened to them.
        """
        numbers = None if begun is None else set(begun)
        lost = [
            entry
            for entry in self._known.values()
            if entry.row is None and (numbers is None or entry.number in numbers)
        ]
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", self._meta.items())
            if lost:
                self._insert_ends(
                    [[e.number, *_spelled(e.run), _BROKEN, reason, None, None, None] for e in lost]
                )
        if lost:
            self._note_ends([(entry, reason) for entry in lost])

    def begin_session(self) -> None:
        """Forgets functions that no held run needs: the service sends the others again."""
        needed = {batch.function_id.int for batch in self.batches()}
        gone = [key for key in self._functions if key not in needed]
        with self._commit():
            self._db.executemany(
                "DELETE FROM function WHERE id = ?", [(key.to_bytes(16, "big"),) for key in gone]
            )
        for key in gone:
            del self._functions[key]

    def accept(self, dispatch: Dispatch, body: bytes) -> list[EngineBatch]:
        """Commits the tasks of a message and returns them under their numbers, known runs left out.

        Args:
            dispatch: The message.
            body: Its bytes.

        Raises:
            JournalFull: None was taken.
        """
        fresh = self._without_known(dispatch)
        if fresh is not dispatch:
            body = wire.encode(fresh)
        count = sum(len(batch.tasks) for batch in fresh.batches)
        if count > PLACES:
            raise wire.MalformedMessage(f"{count} tasks in one message, at most {PLACES} can be numbered")
        self._last_message += 1
        with self._commit():
            self._db.executemany(
                "INSERT OR REPLACE INTO function VALUES (?, ?)",
                [(function_id.bytes, code) for function_id, code in fresh.functions.items()],
            )
            if count:
                self._db.execute("INSERT INTO message VALUES (?, ?)", (self._last_message, body))
        for function_id, code in fresh.functions.items():
            self._functions[function_id.int] = code
        if count:
            self._messages[self._last_message] = _Message(count)
        return self._note(fresh)

    def _without_known(self, dispatch: Dispatch) -> Dispatch:
        known = self._known
        if not any(_key(call.run) in known for batch in dispatch.batches for call in batch.tasks):
            return dispatch
        batches = [
            replace(batch, tasks=tuple(call for call in batch.tasks if _key(call.run) not in known))
            for batch in dispatch.batches
        ]
        return replace(dispatch, batches=tuple(batch for batch in batches if batch.tasks))

    def _note(self, dispatch: Dispatch) -> list[EngineBatch]:
        number, found = self._last_message * PLACES, []
        for batch in dispatch.batches:
            tasks = []
            for call in batch.tasks:
                self._known[_key(call.run)] = _Entry(call.run, number)
                tasks.append(EngineTask(number, call.run, call.args))
                number += 1
            found.append(self._engine_batch(batch, tuple(tasks)))
        return found

    def end(self, ended: Sequence[Ended]) -> list[RunResult]:
        """Commits ends of tasks; returns the results of those that are still wanted.

        Raises:
            JournalFull: None was noted.
        """
        wanted, entries = [], []
        for number, result in ended:
            entry = self._known.get(_key(result.run))
            if entry is not None and entry.number == number and entry.row is None:
                wanted.append(result)
                entries.append((entry, None))
        if wanted:
            ends: list[list[object]] = [
                [entry.number, *_spelled(result.run), result.outcome.value, *result[2:]]
                for (entry, _), result in zip(entries, wanted, strict=True)
            ]
            with self._commit():
                self._insert_ends(ends)
            self._note_ends(entries)
        return wanted

    def _insert_ends(self, ends: list[list[object]]) -> None:
        self._db.execute("INSERT INTO ended VALUES (?, ?)", (self._last_row + 1, json.dumps(ends)))

    def _note_ends(self, entries: Sequence[tuple[_Entry, str | None]]) -> None:
        """Follows a committed row of ends."""
        self._last_row += 1
        self._rows[self._last_row] = len(entries)
        for entry, reason in entries:
            entry.row, entry.broken = self._last_row, reason

    def forget(self, runs: Iterable[Run]) -> list[int]:
        """Forgets runs; the disk follows with the next commit, since a second forgetting does no harm.

        Returns:
            The numbers of those that had not ended.
        """
        unended = []
        for run in runs:
            entry = self._known.pop(_key(run), None)
            if entry is None:
                continue
            if entry.row is None:
                unended.append(entry.number)
            else:
                self._rows[entry.row] -= 1
                if not self._rows[entry.row]:
                    self._finished.append(entry.row)
                    del self._rows[entry.row]
            self._over(entry.number)
        return unended

    def _over(self, number: int) -> None:
        message_number, place = divmod(number, PLACES)
        message = self._messages[message_number]
        message.left -= 1
        message.over |= 1 << place
        self._touched.add(message_number)

    def flush(self) -> None:
        """Commits what has been forgotten.

        Raises:
            JournalFull: It stays to be written.
        """
        if self._touched or self._finished:
            with self._commit():
                pass

    @contextlib.contextmanager
    def _commit(self) -> Iterator[None]:
        """Commits what is written inside, and what has been forgotten before.

        Raises:
            JournalFull: Nothing was written.
        """
        try:
            with self._db:
                self._write_pending()
                yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in PASSING:
                raise JournalFull(str(error)) from error
            raise
        self._pending_is_written()

    def _write_pending(self) -> None:
        """Within a transaction: removes messages and rows that nobody needs, marks the rest."""
        if self._finished:
            rows = [(row,) for row in self._finished]
            self._db.executemany("DELETE FROM ended WHERE number = ?", rows)
        for number in self._touched:
            message = self._messages[number]
            if message.left:
                places = message.over.to_bytes((message.over.bit_length() + 7) // 8, "little")
                self._db.execute("INSERT OR REPLACE INTO over VALUES (?, ?)", (number, places))
            else:
                self._db.execute("DELETE FROM message WHERE number = ?", (number,))
                self._db.execute("DELETE FROM over WHERE message = ?", (number,))

    def _pending_is_written(self) -> None:
        self._finished.clear()
        for number in self._touched:
            if not self._messages[number].left:
                del self._messages[number]
        self._touched.clear()

    # what was there

    def _load(self) -> None:
        for key, code in self._db.execute("SELECT id, code FROM function"):
            self._functions[int.from_bytes(key, "big")] = code
        over = {number: int.from_bytes(p, "little") for number, p in self._db.execute("SELECT * FROM over")}
        for number, body in self._db.execute("SELECT number, body FROM message"):
            self._load_message(number, _dispatch(body), over.get(number, 0))
        for row, ends in self._db.execute("SELECT number, ends FROM ended ORDER BY number"):
            self._load_ends(row, json.loads(ends))

    def _load_message(self, number: int, dispatch: Dispatch, over: int) -> None:
        runs = [call.run for batch in dispatch.batches for call in batch.tasks]
        self._messages[number] = _Message(len(runs) - over.bit_count(), over)
        for place, run in enumerate(runs):
            if not over >> place & 1:
                self._known[_key(run)] = _Entry(run, number * PLACES + place)

    def _load_ends(self, row: int, ends: list[list[object]]) -> None:
        count = 0
        for number, task_id, attempt, outcome, data, *_ in ends:
            entry = self._known.get((UUID(str(task_id)).int, int(str(attempt))))
            if entry is not None and entry.number == number:
                entry.row = row
                entry.broken = str(data) if outcome == _BROKEN else None
                count += 1
        if count:
            self._rows[row] = count
        else:
            self._finished.append(row)

    def _last(self, table: str) -> int:
        (last,) = self._db.execute(f"SELECT max(number) FROM {table}").fetchone()
        return int(last or 0)


def open_journal(path: Path, boot_id: UUID) -> Journal:
    """Opens a journal; a damaged one is put aside and a new one made, which says so by its journal id.

    Args:
        path: The file, made if there is none.
        boot_id: Of the machine as it runs now.

    Raises:
        JournalUnreadable: It is of a newer version.
        sqlite3.OperationalError: It can't be read or written.
    """
    try:
        return Journal(path, boot_id)
    except sqlite3.OperationalError:
        raise
    except (sqlite3.DatabaseError, wire.MalformedMessage, ValueError, TypeError) as error:
        aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
        _log.error("journal %s is damaged (%s): put aside as %s", path, error, aside.name)
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return Journal(path, boot_id)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False)  # a core endpoint opens it for the thread of a link
    try:
        db.executescript(_TABLES)
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
    except sqlite3.Error:
        db.close()
        raise
    return db


def _dispatch(body: bytes) -> Dispatch:
    message = wire.decode(body)
    if not isinstance(message, Dispatch):
        raise sqlite3.DatabaseError(f"a row of the journal holds a {type(message).__name__}")
    return message


def _key(run: Run) -> tuple[int, int]:
    return run.task_id.int, run.attempt  # a UUID hashes in Python, an int in C


def _spelled(run: Run) -> tuple[str, int]:
    return str(run.task_id), run.attempt
