"""This module is the store's file: its tables, its migrations, its refusal when it can't be used."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from pathlib import Path

from compute_nb.errors import ComputeError
from compute_nb.service.migrations import migrations

logger = logging.getLogger(__name__)


class StoreUnusable(ComputeError):
    """The store's file can't be read or written; the text names it and the mend."""


class StoreFull(StoreUnusable):
    """The disk is full: the request that needed it failed and left nothing behind."""


class StoreClosed(StoreUnusable):
    """The store was closed before this could be done."""


def connect(path: Path, busy_timeout_s: float = 5.0) -> sqlite3.Connection:
    """Opens the store's file, made or migrated if need be; may be used from one thread at a time.

    Raises:
        StoreUnusable: The folder can't be written, or the file is damaged, or from a newer version.
    """
    try:
        # Created by us so that the file, and with it the WAL, is readable by its owner only.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(
            path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False, cached_statements=512
        )
    except (sqlite3.Error, OSError) as error:
        raise explain(path, error) from error
    try:
        _refuse_newer(connection, path)
        _prepare(connection)
        _migrate(connection, path)
        # The WAL is made anew at each start; SQLite would sync its name with the first checkpoint only.
        _sync_folder(path.parent)
    except StoreUnusable:
        connection.close()
        raise
    except (sqlite3.Error, OSError) as error:
        connection.close()
        raise explain(path, error) from error
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    for pragma in (
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "cache_size = -65536",
        # The sync thread checkpoints; this is what holds if it can't keep up (in pages, 80 MB).
        "wal_autocheckpoint = 20000",
        # Debian's library overwrites freed bytes by default, which costs and protects nothing here.
        "secure_delete = OFF",
        "temp_store = MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _refuse_newer(connection: sqlite3.Connection, path: Path) -> None:
    version, known = _version(connection), len(migrations("sqlite"))
    if version > known:
        raise StoreUnusable(
            f"store {path} has schema version {version}, this compute_nb knows up to {known}: "
            "upgrade compute_nb, or set COMPUTE_NB_HOME to another folder; the file was not touched"
        )


def _version(connection: sqlite3.Connection) -> int:
    tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'migration'").fetchall()
    if not tables:
        return 0
    (version,) = connection.execute("SELECT max(version) FROM migration").fetchone()
    return int(version)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    version = _version(connection)
    if version == 0:
        connection.execute("CREATE TABLE migration (version INTEGER PRIMARY KEY, at REAL NOT NULL)")
    missing = migrations("sqlite")[version:]
    for step in missing:
        for statement in step.statements:
            connection.execute(statement)
        connection.execute("INSERT INTO migration (version, at) VALUES (?, ?)", (step.number, time.time()))
        logger.info("store %s is at schema version %d", path, step.number)
    # A service that ended without answering: its clients will ask again.
    connection.execute("UPDATE submit SET answered = 2 WHERE answered = 0")
    connection.execute("COMMIT")
    if missing:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def explain(path: Path, error: Exception) -> StoreUnusable:
    """Returns what to tell about an error of the database: the file, what it says, and the mend."""
    code = getattr(error, "sqlite_errorcode", None)
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
            f"store {path} is in use by another program ({error}): end that one, then start the service again"
        )
    return StoreUnusable(
        f"store {path} can't be read or written ({error}): look at the rights and free space of "
        f"{path.parent}, or set COMPUTE_NB_HOME to a folder that can be written"
    )
