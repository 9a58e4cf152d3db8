"""This module is the store's file: its tables, its migrations, its refusal when it can't be used."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from pathlib import Path

from compute_nb.errors import ComputeError
from compute_nb.service.statements import fill

logger = logging.getLogger(__name__)

# Numbers (`no`) join the tables: they keep rows and indexes a third of the size of ones with ids, and an
# insert costs 25 us less. Ids are BLOB(16). Times are seconds since the epoch.
_VERSION_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tally (state INTEGER PRIMARY KEY, n INTEGER NOT NULL);
INSERT INTO tally VALUES (0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0);
CREATE TABLE principal (
    public_id TEXT PRIMARY KEY, name TEXT NOT NULL, owner BLOB NOT NULL, kind TEXT NOT NULL,
    secret_hash BLOB NOT NULL, generation INTEGER NOT NULL, scope TEXT NOT NULL, created REAL NOT NULL,
    revoked REAL
) WITHOUT ROWID;
CREATE TABLE function (
    no INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, owner BLOB NOT NULL, name TEXT NOT NULL,
    meta TEXT NOT NULL, description TEXT, public INTEGER NOT NULL, created REAL NOT NULL, deleted REAL,
    code TEXT NOT NULL
);
CREATE TABLE endpoint (
    no INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, owner BLOB NOT NULL, name TEXT NOT NULL,
    display_name TEXT, kind TEXT NOT NULL, public INTEGER NOT NULL, registered REAL NOT NULL,
    deleted REAL, last_seen REAL, journal_id BLOB, boot_id BLOB, agent TEXT, metadata TEXT NOT NULL
);
CREATE TABLE task_group (
    no INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, owner BLOB NOT NULL, endpoint INTEGER NOT NULL,
    created REAL NOT NULL, next_expiry REAL NOT NULL
);
CREATE INDEX task_group_due ON task_group (next_expiry);
-- Holds that are not released. AUTOINCREMENT: a number must never come back in the same group.
CREATE TABLE hold (
    no INTEGER PRIMARY KEY AUTOINCREMENT, grp INTEGER NOT NULL UNIQUE, since REAL NOT NULL
);
CREATE TABLE hold_endpoint (
    hold INTEGER NOT NULL, endpoint INTEGER NOT NULL, PRIMARY KEY (hold, endpoint)
) WITHOUT ROWID;
CREATE TABLE options (no INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, body TEXT NOT NULL);
-- Requests of clients that make no ids. answered: 0 not yet, 1 the reply was written, 2 it was not.
CREATE TABLE submit (
    sha256 BLOB NOT NULL, owner BLOB NOT NULL, reply TEXT NOT NULL, answered INTEGER NOT NULL,
    at REAL NOT NULL, PRIMARY KEY (sha256, owner)
);
CREATE INDEX submit_at ON submit (at);
-- hold: 0, or the number under which the task came; it is held as long as that hold exists.
CREATE TABLE task (
    no INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, state INTEGER NOT NULL, attempt INTEGER NOT NULL,
    sent_at REAL, started REAL, ended REAL, grp INTEGER NOT NULL, endpoint INTEGER NOT NULL,
    fn INTEGER NOT NULL, options INTEGER NOT NULL, hold INTEGER NOT NULL, retries INTEGER NOT NULL,
    submitted REAL NOT NULL, expires REAL NOT NULL, retry_of BLOB
);
CREATE INDEX task_of_group ON task (grp, id);
CREATE INDEX task_outbox ON task (endpoint, grp, hold) WHERE state = {WAITING} AND sent_at IS NULL;
CREATE INDEX task_out ON task (endpoint) WHERE sent_at IS NOT NULL AND {open};
CREATE TABLE payload (no INTEGER PRIMARY KEY, args TEXT NOT NULL);
CREATE TABLE result (no INTEGER PRIMARY KEY, body TEXT, blob TEXT, error_code TEXT);
"""

# The task that runs in the place of another one; at most one does.
_VERSION_2 = """
CREATE UNIQUE INDEX task_retry ON task (retry_of) WHERE retry_of IS NOT NULL;
"""

# The users of a service that a group runs, and who may use a function. A name is free again after its user.
_VERSION_3 = """
CREATE TABLE account (
    id BLOB PRIMARY KEY, name TEXT NOT NULL, admin INTEGER NOT NULL, created REAL NOT NULL, removed REAL
) WITHOUT ROWID;
CREATE UNIQUE INDEX account_name ON account (name) WHERE removed IS NULL;
CREATE TABLE membership (
    account BLOB NOT NULL, grp BLOB NOT NULL, PRIMARY KEY (account, grp)
) WITHOUT ROWID;
ALTER TABLE function ADD COLUMN grp BLOB;
CREATE INDEX task_group_owner ON task_group (owner);
"""

MIGRATIONS: tuple[str, ...] = (_VERSION_1, _VERSION_2, _VERSION_3)


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
    version = _version(connection)
    if version > len(MIGRATIONS):
        raise StoreUnusable(
            f"store {path} has schema version {version}, this compute_nb knows up to {len(MIGRATIONS)}: "
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
    for number in range(version + 1, len(MIGRATIONS) + 1):
        for statement in _statements(fill(MIGRATIONS[number - 1])):
            connection.execute(statement)
        connection.execute("INSERT INTO migration (version, at) VALUES (?, ?)", (number, time.time()))
        logger.info("store %s is at schema version %d", path, number)
    # A service that ended without answering: its clients will ask again.
    connection.execute("UPDATE submit SET answered = 2 WHERE answered = 0")
    connection.execute("COMMIT")
    if version < len(MIGRATIONS):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _statements(script: str) -> list[str]:
    # executescript would commit in between, and half a migration must not stay.
    without_comments = "\n".join(line for line in script.splitlines() if not line.startswith("--"))
    return [part for part in without_comments.split(";") if part.strip()]


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
