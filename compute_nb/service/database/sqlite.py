"""This module is SQLite under the store: one file, its refusal when it can't be used, its sync thread."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from compute_nb.service.database.contract import StoreFull, StoreUnusable
from compute_nb.service.database.sync import Syncer
from compute_nb.service.migrations import migrate, migrations
from compute_nb.service.statements import Statements

_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = NORMAL",
    "cache_size = -65536",
    # The sync thread checkpoints; this is what holds if it can't keep up (in pages, 80 MB).
    "wal_autocheckpoint = 20000",
    # What is deleted is overwritten: a deletion means the bytes.
    "secure_delete = ON",
    "temp_store = MEMORY",
    # A WAL that has grown is cut back when it begins anew, in bytes.
    "journal_size_limit = 16777216",
)
_ROWS_A_PAGE = 5


class SqliteDatabase:
    """A store's file; opened by the constructor, made or migrated if need be.

    Args:
        path: In a folder that exists.
        durable: True if `synced` waits for the disk.
        busy_timeout_s: How long to wait for another program that writes the file.

    Raises:
        StoreUnusable: The folder can't be written, or the file is damaged, or from a newer version.
    """

    duplicate = sqlite3.IntegrityError
    lost = False
    unsure = False

    def __init__(self, path: Path, *, durable: bool = True, busy_timeout_s: float = 5.0) -> None:
        self.path = path
        self.name = str(path)
        self.url = f"sqlite:///{path}"
        self.statements = Statements("sqlite")
        self.connection = self._connect(busy_timeout_s)
        # No method in between: this is the way of every statement.
        self.execute: Callable[..., Any] = self.connection.execute
        try:
            self._prepare()
        except StoreUnusable:
            self.connection.close()
            raise
        except (sqlite3.Error, OSError) as error:
            self.connection.close()
            raise self._told(error) from error
        self._paths = (str(path), f"{path}-wal")
        self._files = _identities(self._paths)
        self._saved: str | None = None
        self._moved = 0
        self._syncer = Syncer(path, durable=durable, explain=self._told)

    def __repr__(self) -> str:
        return f"<SqliteDatabase {self.path}>"

    def _connect(self, busy_timeout_s: float) -> sqlite3.Connection:
        try:
            # Created by us so that the file, and with it the WAL, is readable by its owner only.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            return sqlite3.connect(
                self.path,
                timeout=busy_timeout_s,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=512,
            )
        except (sqlite3.Error, OSError) as error:
            raise self._told(error) from error

    def _deleted(self) -> StoreUnusable:
        """Saves beside it what the deleted file holds, once, as long as it is open here."""
        if self._saved is None:
            copy = self.path.with_name(f"{self.path.name}.saved-{int(time.time())}")
            try:
                os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                self.connection.execute("VACUUM INTO ?", (str(copy),))
                self._saved = (
                    f"all that it held is in {copy}: stop the service, move that to {self.path} (and any "
                    f"{self.path.name}-wal away), then start it again"
                )
            except (sqlite3.Error, OSError) as error:
                self._saved = f"what it held could not be saved ({error}): put back a backup"
        return StoreUnusable(
            f"store {self.path} was deleted or replaced while the service ran; {self._saved}"
        )

    def _prepare(self) -> None:
        if self._version() > len(migrations("sqlite")):
            raise StoreUnusable(
                f"store {self.path} has schema version {self._version()}, this compute_nb knows up to "
                f"{len(migrations('sqlite'))}: upgrade compute_nb, or set COMPUTE_NB_HOME to another folder; "
                "the file was not touched"
            )
        if not self._version():
            self.connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        for pragma in _PRAGMAS:
            self.connection.execute(f"PRAGMA {pragma}")
        self.connection.execute("BEGIN IMMEDIATE")
        stepped = migrate(self, "sqlite", self._version())
        self.commit()
        if stepped:
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        # The WAL is made anew at each start; SQLite would sync its name with the first checkpoint only.
        _sync_folder(self.path.parent)

    def _version(self) -> int:
        tables = self.connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'migration'").fetchall()
        if not tables:
            return 0
        (version,) = self.connection.execute(self.statements["version"]).fetchone()
        return int(version)

    # -- store thread -------------------------------------------------------------------------

    @property
    def changes(self) -> int:
        """How many rows were changed since it was opened; a page that was moved counts as its rows."""
        return self.connection.total_changes + _ROWS_A_PAGE * self._moved

    @property
    def intact(self) -> bool:
        """True within a transaction: SQLite ends one by itself where it can't go on."""
        return self.connection.in_transaction

    def begin(self) -> None:
        """Begins a transaction; nobody else can write then.

        Raises:
            StoreUnusable: The file was deleted or replaced since it was opened: nobody would find again what
                is written to it.
        """
        if self._files != _identities(self._paths):
            raise self._deleted()
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Commits: safe from kill -9 from now on."""
        self.connection.execute("COMMIT")

    def rollback(self) -> None:
        """Undoes the transaction if there is one."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def executemany(self, sql: str, rows: Iterable[Any]) -> int:
        """Executes once for each row of values; returns how many table rows were changed."""
        return self.connection.executemany(sql, rows).rowcount

    def insert(self, sql: str, values: Sequence[Any]) -> int:
        """Inserts a row and returns its number."""
        return int(self.connection.execute(sql, values).lastrowid or 0)

    def stream(self, sql: str, values: Sequence[Any]) -> Generator[Any, None, None]:
        """Yields rows as they are read from the file."""
        with closing(self.connection.execute(sql, values)) as cursor:
            yield from cursor

    def explain(self, error: Exception) -> StoreUnusable | None:
        """Returns what to tell about an error: the file, what SQLite says, and the mend."""
        return self._told(error) if isinstance(error, sqlite3.Error | StoreUnusable) else None

    def reconnect(self) -> bool:
        """A file is never `lost`."""
        return False

    def give_back(self, pages: int) -> bool:
        """Cuts free pages off the end of the file; a file that an older program made keeps them for reuse."""
        if self.connection.execute("PRAGMA auto_vacuum").fetchone()[0] != 2:
            return False
        free = self._free_pages()
        for _ in range(min(free, pages)):
            # One each: a pragma without columns is stepped once by Python's driver, whatever its number.
            self.connection.execute("PRAGMA incremental_vacuum(1)")
        left = self._free_pages()
        self._moved += free - left  # through the WAL, which would grow until a commit has to copy it
        return bool(left)

    def _free_pages(self) -> int:
        return int(self.connection.execute("PRAGMA freelist_count").fetchone()[0])

    # -- loop ---------------------------------------------------------------------------------

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts the thread `sync`."""
        self._syncer.start(loop)

    def stop(self) -> None:
        """Ends it and closes the file."""
        self._syncer.stop()
        self.connection.close()

    async def synced(self) -> None:
        """Returns when all that was committed before the call is on the disk, if that is wanted."""
        await self._syncer.wait()

    def wrote(self, changes: int) -> None:
        """Counts changed rows towards the next checkpoint."""
        self._syncer.wrote(changes)

    def _told(self, error: Exception) -> StoreUnusable:
        if isinstance(error, StoreUnusable):
            return error
        path, code = self.path, getattr(error, "sqlite_errorcode", None)
        # Extended codes carry the plain one in the low byte.
        plain = None if code is None else code & 0xFF
        if plain == sqlite3.SQLITE_FULL:
            return StoreFull(
                f"the disk of store {path} is full, nothing of this request was kept: free some space"
            )
        if plain in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return StoreUnusable(
                f"store {path} is damaged ({error}): stop the service, then mend it with "
                f"`sqlite3 {path} .recover`, or move it away to begin with an empty one"
            )
        if plain in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreUnusable(
                f"store {path} is in use by another program ({error}): end that one, then start the service "
                "again"
            )
        return StoreUnusable(
            f"store {path} can't be read or written ({error}): look at the rights and free space of "
            f"{path.parent}, or set COMPUTE_NB_HOME to a folder that can be written"
        )


def _identities(paths: Iterable[str]) -> list[tuple[int, int] | None]:
    found: list[tuple[int, int] | None] = []
    for path in paths:
        try:
            status = os.stat(path)
            found.append((status.st_dev, status.st_ino))
        except FileNotFoundError:
            found.append(None)
    return found


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
