"""This module is the store thread: it commits at once all operations that have gathered."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from compute_nb.service.dispatch import Dispatcher
from compute_nb.service.rows import Refused
from compute_nb.service.schema import StoreClosed, explain
from compute_nb.service.statements import Statements
from compute_nb.service.transaction import Transaction
from compute_nb.tasks import Dispatch

logger = logging.getLogger(__name__)

T = TypeVar("T")
Operation = Callable[[Transaction], T]
Leaving = list[tuple[UUID, Dispatch]]

# Operations in one commit: enough to gather under load, few enough that the first does not wait long.
_GATHER = 256


class _Job:
    __slots__ = ("error", "future", "operation", "value")

    def __init__(self, operation: Operation[Any], future: asyncio.Future[Any]) -> None:
        self.operation = operation
        self.future = future
        self.value: Any = None
        self.error: BaseException | None = None


class Writer:
    """Owner of the thread `store`, the only one that touches the connection. `run` is for the loop.

    Args:
        path: For messages.
        connection: Owned from now on.
        dispatcher: What leaves at the end of each commit.
        clock: Seconds since the epoch.
        on_changes: Called on the store thread after a commit, with the number of changed rows.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        dispatcher: Dispatcher,
        clock: Callable[[], float],
        on_changes: Callable[[int], None],
    ) -> None:
        self._path = path
        self._connection = connection
        self._statements = Statements()
        self._dispatcher = dispatcher
        self._clock = clock
        self._on_changes = on_changes
        self._jobs: deque[_Job] = deque()
        self._news = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    def start(self, loop: asyncio.AbstractEventLoop, on_dispatch: Callable[[Leaving], None]) -> None:
        """Starts the thread; futures are resolved and `on_dispatch` is called on `loop`."""
        self._loop = loop
        self._on_dispatch = on_dispatch
        self._thread.start()

    def stop(self) -> None:
        """Does what is queued and joins the thread."""
        with self._news:
            self._stopping = True
            self._news.notify()
        if self._thread.is_alive():
            self._thread.join()

    def run(self, operation: Operation[T]) -> asyncio.Future[T]:
        """Queues an operation; its future is done when it is committed, or has failed and left nothing.

        Raises:
            StoreClosed: The store is closed.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        with self._news:
            if self._stopping:
                raise StoreClosed(f"store {self._path} is closed")
            self._jobs.append(_Job(operation, future))
            self._news.notify()
        return future

    # -- store thread from here on ------------------------------------------------------------

    def _run(self) -> None:
        while jobs := self._next():
            leaving = self._commit_together(jobs)
            if leaving is None:
                leaving = self._commit_each(jobs)
            self._loop.call_soon_threadsafe(self._deliver, jobs, leaving)

    def _next(self) -> list[_Job]:
        with self._news:
            self._news.wait_for(lambda: self._jobs or self._stopping)
            return [self._jobs.popleft() for _ in range(min(len(self._jobs), _GATHER))]

    def _commit_together(self, jobs: list[_Job]) -> Leaving | None:
        """Runs all in one transaction; None if it was rolled back."""
        before = self._connection.total_changes
        tx = self._begin()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                self._attempt(tx, job)
            self._dispatcher.step(tx)
            tx.write_counts()
            self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - top of the thread: each is tried alone next
            logger.debug("%d operations are tried one by one: %r", len(jobs), error)
            self._roll_back(tx)
            return None
        self._on_changes(self._connection.total_changes - before)
        return self._dispatcher.leaving()

    def _begin(self) -> Transaction:
        return Transaction(self._connection, self._statements, self._clock())

    def _attempt(self, tx: Transaction, job: _Job) -> None:
        """Runs an operation; one that refuses before it has written anything needs no rollback."""
        before = self._connection.total_changes
        try:
            job.value = job.operation(tx)
            job.error = None
        except Refused as error:
            if self._connection.total_changes != before or not self._connection.in_transaction:
                raise
            job.error = error

    def _commit_each(self, jobs: list[_Job]) -> Leaving:
        """Runs each in a transaction of its own, so that it fails alone."""
        leaving: Leaving = []
        for job in jobs:
            leaving += self._commit_alone(job)
        leaving += self._commit_together([]) or []
        return leaving

    def _commit_alone(self, job: _Job) -> Leaving:
        before = self._connection.total_changes
        tx = self._begin()
        job.error = None
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            job.value = job.operation(tx)
            tx.write_counts()
            self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - top of the thread: the one who asked hears it
            job.error = self._explain(error)
            self._roll_back(tx)
            return []
        self._on_changes(self._connection.total_changes - before)
        return self._dispatcher.leaving()

    def _explain(self, error: Exception) -> Exception:
        if not isinstance(error, sqlite3.Error):
            return error
        reason = explain(self._path, error)
        logger.warning("%s", reason)
        reason.__cause__ = error
        return reason

    def _roll_back(self, tx: Transaction) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            tx.rolled_back()
            self._dispatcher.read_again(self._begin())
        except sqlite3.Error as error:
            logger.error("store %s can't be read: %s", self._path, error)

    # -- loop ---------------------------------------------------------------------------------

    def _deliver(self, jobs: list[_Job], leaving: Leaving) -> None:
        try:
            if leaving:
                self._on_dispatch(leaving)
        finally:
            for job in jobs:
                if job.future.done():
                    continue
                if job.error is None:
                    job.future.set_result(job.value)
                else:
                    job.future.set_exception(job.error)
