"""This module is the file of an agent's journal: its rows, how they are spelled, and what each commit writes.

SQLite in WAL mode without a sync at each commit: what is committed survives the kill of the agent. A power
cut may lose the latest commits, so after a restart of the machine the journal has a new id.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from compute_nb import wire
from compute_nb.errors import ComputeError
from compute_nb.tasks import Dispatch

SCHEMA = 1

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


class JournalFile:
    """The rows on disk; all methods belong to one thread. Methods that write are called within a `commit`.

    Args:
        path: The file, made if there is none.
        boot_id: Of the machine as it runs now.

    Attributes:
        db: The connection.
        same_boot: Whether the machine has run on since the file was written, or it is new.
        journal_id: As written, or a new one.

    Raises:
        JournalUnreadable: It is of a newer version.
        sqlite3.Error: It is damaged, or can't be read or written.
    """

    def __init__(self, path: Path, boot_id: UUID) -> None:
        self.db = _connect(path)
        meta = dict(self.db.execute("SELECT name, value FROM meta"))
        if int(meta.get("schema", SCHEMA)) > SCHEMA:
            self.db.close()
            raise JournalUnreadable(
                f"{path} was written by a newer compute_nb: update this one, or move the file away"
            )
        self.same_boot = meta.get("boot_id", str(boot_id)) == str(boot_id)
        known = self.same_boot and "journal_id" in meta
        self.journal_id = UUID(meta["journal_id"]) if known else uuid4()
        self._meta = {"schema": str(SCHEMA), "journal_id": str(self.journal_id), "boot_id": str(boot_id)}

    def close(self) -> None:
        """Closes it."""
        self.db.close()

    # what there is

    def functions(self) -> dict[int, str]:
        """Reads the code of each function, by its id."""
        rows = self.db.execute("SELECT id, code FROM function")
        return {int.from_bytes(key, "big"): code for key, code in rows}

    def messages(self) -> Iterator[tuple[int, Dispatch]]:
        """Reads the messages in order, each with its number."""
        rows = self.db.execute("SELECT number, body FROM message ORDER BY number").fetchall()
        for number, body in rows:
            yield number, _dispatch(body)

    def over(self) -> dict[int, int]:
        """Reads, by the number of its message, the bits of those places of it that are over."""
        rows = self.db.execute("SELECT message, places FROM over")
        return {number: int.from_bytes(places, "little") for number, places in rows}

    def ends(self) -> Iterator[tuple[int, list[list[Any]]]]:
        """Reads the rows of ends in order, each with its number."""
        for number, ends in self.db.execute("SELECT number, ends FROM ended ORDER BY number").fetchall():
            yield number, json.loads(ends)

    def last_message(self) -> int:
        """Reads the highest number of a message; 0 if there is none."""
        return self._last("message")

    def last_row(self) -> int:
        """Reads the highest number of a row of ends; 0 if there is none."""
        return self._last("ended")

    def _last(self, table: str) -> int:
        (last,) = self.db.execute(f"SELECT max(number) FROM {table}").fetchone()
        return int(last or 0)

    # what changes

    @contextlib.contextmanager
    def commit(self) -> Iterator[None]:
        """Commits what is written inside.

        Raises:
            JournalFull: Nothing was written.
        """
        try:
            with self.db:
                yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in PASSING:
                raise JournalFull(str(error)) from error
            raise

    def begin_boot(self) -> None:
        """Makes the file this boot's."""
        self.db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", self._meta.items())

    def add_functions(self, functions: Mapping[UUID, str]) -> None:
        """Writes the code of functions."""
        rows = [(function_id.bytes, code) for function_id, code in functions.items()]
        self.db.executemany("INSERT OR REPLACE INTO function VALUES (?, ?)", rows)

    def remove_functions(self, ids: Iterable[int]) -> None:
        """Forgets functions."""
        rows = [(one.to_bytes(16, "big"),) for one in ids]
        self.db.executemany("DELETE FROM function WHERE id = ?", rows)

    def add_message(self, number: int, body: bytes) -> None:
        """Writes a message as it came."""
        self.db.execute("INSERT INTO message VALUES (?, ?)", (number, body))

    def mark_over(self, number: int, over: int) -> None:
        """Writes which places of a message are over, as bits."""
        places = over.to_bytes((over.bit_length() + 7) // 8, "little")
        self.db.execute("INSERT OR REPLACE INTO over VALUES (?, ?)", (number, places))

    def remove_message(self, number: int) -> None:
        """Forgets a message."""
        self.db.execute("DELETE FROM message WHERE number = ?", (number,))
        self.db.execute("DELETE FROM over WHERE message = ?", (number,))

    def add_ends(self, number: int, ends: Sequence[Sequence[object]]) -> None:
        """Writes the ends that came together as a row."""
        self.db.execute("INSERT INTO ended VALUES (?, ?)", (number, json.dumps(ends)))

    def remove_ends(self, numbers: Iterable[int]) -> None:
        """Forgets rows of ends."""
        self.db.executemany("DELETE FROM ended WHERE number = ?", [(number,) for number in numbers])


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
