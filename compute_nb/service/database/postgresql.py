"""This module is PostgreSQL under the store: one locked connection, found again when it is lost."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Generator, Iterable, Sequence
from typing import Any

try:
    import psycopg
    from psycopg import errors as pg
except ImportError as missing:
    from compute_nb.errors import ComputeError

    raise ComputeError(
        "a store in PostgreSQL needs psycopg: `pip install 'compute-nb[postgres]'` in the environment of "
        "the service"
    ) from missing
from psycopg.adapt import Buffer, Dumper, Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format, TransactionStatus
from psycopg.types.numeric import Int8BinaryDumper

from compute_nb.service.database.contract import StoreAway, StoreFull, StoreUnusable
from compute_nb.service.migrations import migrate, migrations
from compute_nb.service.statements import Statements

# Of the advisory lock that makes a service the only one of its database.
_LOCK = 0x636F_6D70_7574_655F
_LOCK_WAIT_S = 5.0
_POLL_S = 0.05
_PREPARED = 600
_STREAMED = 16
_NAME_LENGTH = 63
_TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND backend_start = %s"
_STATUS = "SELECT pg_xact_status(%s::text::xid8)"

# libpq's own: an unanswered packet and a silent peer are noticed within seconds, on both sides.
_DEFAULTS: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "options": "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 "
    "-c idle_in_transaction_session_timeout=0 -c statement_timeout=0 -c lock_timeout=30000",
}


class _IdDumper(Dumper):
    """Sends bytes as they are; the server takes them for what the column is: an uuid or a bytea."""

    format = Format.BINARY
    oid = 0

    def dump(self, obj: bytes) -> Buffer:
        return obj


class _IdLoader(Loader):
    """Gives an uuid as its 16 bytes."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


class PostgresqlDatabase:
    """A store's database; connected by the constructor, its tables made or migrated if need be.

    A commit is answered when it is on the server's disk, as the server's `fsync` has it.

    Args:
        url: `postgresql://…`; what it leaves out, libpq takes from its environment and files.
        lock_wait_s: How long to wait for the service before, whose end the server may not have noticed yet.

    Raises:
        StoreUnusable: It can't be reached or written, another service has it, or a newer one has made it.
    """

    duplicate = pg.UniqueViolation

    def __init__(self, url: str, *, lock_wait_s: float = _LOCK_WAIT_S) -> None:
        self.name = self.url = shown(url)
        self.statements = Statements("postgresql")
        self.changes = 0
        self._url, self._lock_wait_s = url, lock_wait_s
        self._identity: tuple[Any, ...] | None = None
        self._backend: tuple[int, Any] | None = None
        self._unsure: str | None = None
        try:
            self._connection = self._connect()
        except psycopg.Error as error:
            raise self._told(error) from error
        try:
            self._prepare()
        except psycopg.Error as error:
            self._connection.close()
            raise self._told(error) from error
        except StoreUnusable:
            self._connection.close()
            raise

    def __repr__(self) -> str:
        return f"<PostgresqlDatabase {self.name}>"

    # -- connecting ---------------------------------------------------------------------------

    def _connect(self) -> psycopg.Connection[Any]:
        given = conninfo_to_dict(self._url)
        name = f"compute_nb {os.getpid()}@{socket.gethostname()}"[:_NAME_LENGTH]
        own = {key: value for key, value in _DEFAULTS.items() if key not in given}
        connection = psycopg.connect(self._url, autocommit=True, application_name=name, **own)
        connection.prepare_threshold = 0
        connection.prepared_max = _PREPARED
        # One type for all numbers: else each statement is prepared once for each mixture of sizes.
        connection.adapters.register_dumper(int, Int8BinaryDumper)
        connection.adapters.register_dumper(bytes, _IdDumper)
        connection.adapters.register_loader("uuid", _IdLoader)
        return connection

    def _prepare(self) -> None:
        self._take_lock()
        (writable,) = self._one("SHOW transaction_read_only")
        if writable != "off":
            raise StoreUnusable(
                f"store {self.name} is read-only, a standby perhaps: give the primary's address"
            )
        if self._one("SHOW synchronous_commit") == ("off",):
            self._connection.execute("SET synchronous_commit = on")
        version = self._version()
        known = len(migrations("postgresql"))
        if version > known:
            raise StoreUnusable(
                f"store {self.name} has schema version {version}, this compute_nb knows up to {known}: "
                "upgrade compute_nb, or give another database; nothing was touched"
            )
        self.begin()
        migrate(self, "postgresql", version)
        self.commit()
        backend = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        self._backend = self._one(backend)

    def _take_lock(self) -> None:
        deadline = time.monotonic() + self._lock_wait_s
        while self._one("SELECT pg_try_advisory_lock(%s)", _LOCK) != (True,):
            if time.monotonic() >= deadline:
                raise StoreUnusable(
                    f"store {self.name} is the store of another service, {self._holder()}: end that one "
                    "first, or give this one a database of its own"
                )
            time.sleep(_POLL_S)

    def _holder(self) -> str:
        row = self._one(
            "SELECT a.application_name, a.client_addr::text "
            "FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted "
            "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
            "AND l.classid::bigint = %s AND l.objid::bigint = %s",
            _LOCK >> 32,
            _LOCK & 0xFFFF_FFFF,
        )
        name, address = row or ("", None)
        pid, _, host = str(name).removeprefix("compute_nb ").partition("@")
        if not host:
            return f"which calls itself {name!r}" if name else "which is ending just now"
        return f"process {pid} on host {host}" + (f" ({address})" if address else "")

    def _version(self) -> int:
        if self._one("SELECT to_regclass('migration')") == (None,):
            return 0
        return int(self._one(self.statements["version"])[0])

    def _one(self, sql: str, *values: Any) -> Any:
        return self._connection.execute(sql, values).fetchone()

    # -- store thread -------------------------------------------------------------------------

    @property
    def intact(self) -> bool:
        """True within a transaction in which nothing has failed."""
        return self._connection.info.transaction_status is TransactionStatus.INTRANS

    @property
    def lost(self) -> bool:
        """True if the connection is gone."""
        return self._connection.closed

    @property
    def unsure(self) -> bool:
        """True from COMMIT to its answer."""
        return self._unsure is not None

    def begin(self) -> None:
        """Begins a transaction."""
        self._unsure = None
        self._connection.execute("BEGIN")

    def commit(self) -> None:
        """Commits: on the server's disk from now on."""
        if not self.intact:
            raise pg.InFailedSqlTransaction("a statement of this transaction has failed")
        # Known to the server only if it has written anything; by it a commit without an answer is looked up.
        (self._unsure,) = self._one("SELECT pg_current_xact_id_if_assigned()::text")
        self._connection.execute("COMMIT")
        self._unsure = None

    def rollback(self) -> None:
        """Undoes the transaction if there is one."""
        if self._connection.info.transaction_status is not TransactionStatus.IDLE:
            self._connection.execute("ROLLBACK")

    def execute(self, sql: str, values: Any = ()) -> psycopg.Cursor[Any]:
        """Returns a cursor over the result, which is here as a whole."""
        cursor = self._connection.cursor(binary=True)
        cursor.execute(sql, values)
        if cursor.description is None:
            self.changes += cursor.rowcount
        return cursor

    def executemany(self, sql: str, rows: Iterable[Any]) -> int:
        """Executes once for each row of values, all of them sent at once."""
        cursor = self._connection.cursor(binary=True)
        cursor.executemany(sql, rows)
        count = max(cursor.rowcount, 0)
        self.changes += count
        return count

    def insert(self, sql: str, values: Sequence[Any]) -> int:
        """Inserts a row and returns the number that it was given."""
        self.changes += 1
        return int(self._one(sql, *values)[0])

    def stream(self, sql: str, values: Sequence[Any]) -> Generator[Any, None, None]:
        """Yields rows that are fetched a few at a time: arguments may be large."""
        with self._connection.cursor("stream", binary=True) as cursor:
            cursor.itersize = _STREAMED
            cursor.execute(sql, values)
            yield from cursor

    def explain(self, error: Exception) -> StoreUnusable | None:
        """Returns what to tell about an error: the database, what it says, and the mend."""
        return self._told(error) if isinstance(error, psycopg.Error) else None

    def reconnect(self) -> bool:
        """Finds the database again, and what has become of a commit without an answer."""
        self._connection.close()
        unsure = self._unsure
        try:
            self._connection = self._connect()
            self._end_old_backend()
            self._prepare()
            return unsure is not None and self._has_committed(unsure)
        except (psycopg.Error, StoreUnusable) as error:
            self._connection.close()
            self._unsure = unsure
            raise self._told(error) from error

    def _has_committed(self, transaction: str) -> bool:
        try:
            return bool(self._one(_STATUS, transaction) == ("committed",))
        except psycopg.errors.InvalidParameterValue:
            return False  # "in the future": a crash took it back, the server will give its number anew

    def _end_old_backend(self) -> None:
        """The server may still wait for us behind the lost connection, in a transaction, with our lock."""
        if self._backend is not None:
            self._one(_TERMINATE, *self._backend)

    def give_back(self, pages: int) -> bool:
        """Autovacuum makes room for new rows."""
        return False

    # -- loop ---------------------------------------------------------------------------------

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """It needs no thread of its own."""

    def stop(self) -> None:
        """Closes the connection."""
        self._connection.close()

    async def synced(self) -> None:
        """Returns at once: what is committed is on the disk."""

    def wrote(self, changes: int) -> None:
        """The server knows."""

    def _told(self, error: Exception) -> StoreUnusable:
        if isinstance(error, StoreUnusable):
            return error
        said = " ".join(str(error).split())
        if isinstance(error, pg.DiskFull):
            return StoreFull(
                f"the disk of store {self.name} is full, nothing of this request was kept: free some space "
                f"({said})"
            )
        if isinstance(error, pg.DataCorrupted | pg.IndexCorrupted):
            return StoreUnusable(
                f"store {self.name} is damaged ({said}): restore it from a backup, or see what PostgreSQL's "
                "documentation says of recovery"
            )
        if isinstance(error, pg.InsufficientPrivilege | pg.InvalidAuthorizationSpecification):
            return StoreUnusable(
                f"store {self.name} can't be used ({said}): its user must own the database, and its password "
                "stand in ~/.pgpass or PGPASSWORD"
            )
        if isinstance(error, psycopg.OperationalError):
            return StoreAway(
                f"the database of store {self.name} does not answer ({said}): it is looked for again and "
                "again, ask again soon"
            )
        return StoreUnusable(f"store {self.name} can't be read or written: {said}")


def shown(url: str) -> str:
    """Returns the address of a database without its secrets."""
    parts = conninfo_to_dict(url)
    user, host, port = (parts.get(key) for key in ("user", "host", "port"))
    where = (f"{user}@" if user else "") + str(host or "") + (f":{port}" if port else "")
    return f"postgresql://{where}/{parts.get('dbname') or ''}"
