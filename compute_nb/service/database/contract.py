"""This module is what the store asks of a database, and what it tells when one can't be used."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Sequence
from typing import Any, Protocol

from compute_nb.errors import ComputeError
from compute_nb.service.statements import Statements


class StoreUnusable(ComputeError):
    """The store can't be read or written; the text names it and the mend."""


class StoreFull(StoreUnusable):
    """The disk is full: the request that needed it failed and left nothing behind."""


class StoreClosed(StoreUnusable):
    """The store was closed before this could be done."""


class StoreAway(StoreUnusable):
    """The database does not answer now; the store looks for it by itself, and what was asked left nothing."""


class Database(Protocol):
    """One connection to a database; made, locked and migrated by `open_database`.

    The thread `store` calls all but `start`, `stop` and `synced`, which belong to the loop. Transactions are
    the store's own: whoever executes anything has called `begin` before. Ids go in and out as 16 bytes.

    Attributes:
        name: For messages; holds no secret.
        url: Its address; holds no secret.
        statements: In its dialect.
    """

    name: str
    url: str
    statements: Statements

    @property
    def duplicate(self) -> type[Exception]:
        """What it raises for a key that is there already."""

    @property
    def changes(self) -> int:
        """How many rows were changed since it was opened; only ever compared."""

    @property
    def intact(self) -> bool:
        """True within a transaction that can still be committed."""

    @property
    def lost(self) -> bool:
        """True if the connection is gone: whatever was not committed is rolled back."""

    @property
    def unsure(self) -> bool:
        """True if it was `lost` while a commit was under way: only `reconnect` can say what became of it."""

    def begin(self) -> None:
        """Begins a transaction; nobody else writes then."""

    def commit(self) -> None:
        """Commits: safe from the end of this process from now on."""

    def rollback(self) -> None:
        """Undoes the transaction if there is one."""

    def execute(self, sql: str, values: Any = ()) -> Any:
        """Returns a cursor with `fetchone`, `fetchall`, `rowcount` and iteration."""

    def executemany(self, sql: str, rows: Iterable[Any]) -> int:
        """Executes once for each row of values; returns how many table rows were changed."""

    def insert(self, sql: str, values: Sequence[Any]) -> int:
        """Inserts a row and returns the number that it was given."""

    def stream(self, sql: str, values: Sequence[Any]) -> Generator[Any, None, None]:
        """Yields rows without holding them all; the caller may stop early, and closes it."""

    def explain(self, error: Exception) -> StoreUnusable | None:
        """Returns what to tell about an error of the database; None if it is not one."""

    def reconnect(self) -> bool:
        """Finds the database again after it was `lost`; blocks for seconds at most.

        Returns:
            True if a commit that was under way when it was lost has come through.

        Raises:
            StoreUnusable: It is not there yet, or not ours any more.
        """

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts the threads that it needs beside `store`."""

    def stop(self) -> None:
        """Ends them and closes the connection; `store` has ended."""

    async def synced(self) -> None:
        """Returns when all that was committed before the call survives a power cut, if that is wanted."""

    def wrote(self, changes: int) -> None:
        """Hears how many rows a commit has changed."""

    def give_back(self, pages: int) -> bool:
        """Gives a little of the disk space of deleted rows back, within a transaction.

        Returns:
            True if there is more.
        """
