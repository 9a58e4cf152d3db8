"""This module is the store thread: it commits at once all operations that have gathered."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from uuid import UUID

from compute_nb.service.database import Database, StoreAway, StoreClosed, StoreUnusable
from compute_nb.service.dispatch import Dispatcher
from compute_nb.service.rows import Refused
from compute_nb.service.transaction import Transaction
from compute_nb.tasks import Dispatch

logger = logging.getLogger(__name__)

T = TypeVar("T")
Operation = Callable[[Transaction], T]
Leaving = list[tuple[UUID, Dispatch]]

# Operations in one commit: enough to gather under load, few enough that the first does not wait long.
_GATHER = 256
# Between two looks for a database that is away, in seconds: twice as long each time.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.05, 2.0
EXPIRY_S = 14 * 24 * 3600.0


class _Job:
    __slots__ = ("error", "future", "operation", "value")

    def __init__(self, operation: Operation[Any], future: asyncio.Future[Any]) -> None:
        self.operation = operation
        self.future = future
        self.value: Any = None
        self.error: BaseException | None = None


class Writer:
    """Owner of the thread `store`, the only one that touches the database. `run` is for the loop.

    While the database is away the thread looks for it, and whatever is asked fails at once.

    Args:
        database: Owned from now on, but for its closing.
        dispatcher: What leaves at the end of each commit.
        clock: Seconds since the epoch.
        stuck_s: How long one commit may take before what is asked meanwhile fails at once.

    Attributes:
        expiry_s: How long a task may stay open, for those that come from now on.
    """

    def __init__(
        self, database: Database, dispatcher: Dispatcher, clock: Callable[[], float], stuck_s: float
    ) -> None:
        self._database = database
        self._dispatcher = dispatcher
        self._clock = clock
        self._jobs: deque[_Job] = deque()
        self._news = threading.Condition()
        self._stopping = False
        self._away: str | None = None
        self._stuck_s = stuck_s
        self.expiry_s = EXPIRY_S
        self._busy_since: float | None = None
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
            StoreAway: The database is away.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        with self._news:
            if self._stopping:
                raise StoreClosed(f"store {self._database.name} is closed")
            if self._away is not None:
                raise StoreAway(self._away)
            if self._busy_since is not None and time.monotonic() - self._busy_since > self._stuck_s:
                raise StoreAway(
                    f"store {self._database.name} has not answered for more than {self._stuck_s:.0f} s: its "
                    "disk or server is stuck or overloaded; ask again later"
                )
            self._jobs.append(_Job(operation, future))
            self._news.notify()
        return future

    # -- store thread from here on ------------------------------------------------------------

    def _run(self) -> None:
        while jobs := self._next():
            self._busy_since = time.monotonic()
            leaving = self._commit_together(jobs)
            if leaving is None:
                leaving = self._commit_each(jobs)
            self._busy_since = None
            self._loop.call_soon_threadsafe(self._deliver, jobs, leaving)

    def _next(self) -> list[_Job]:
        with self._news:
            self._news.wait_for(lambda: self._jobs or self._stopping)
            return [self._jobs.popleft() for _ in range(min(len(self._jobs), _GATHER))]

    def _commit_together(self, jobs: list[_Job]) -> Leaving | None:
        """Runs all in one transaction; None if it was rolled back and each is to be tried alone."""
        before = self._database.changes
        tx = self._begin()
        try:
            self._database.begin()
            for job in jobs:
                self._attempt(tx, job)
            self._dispatcher.step(tx)
            tx.write_counts()
            self._database.commit()
        except Exception as error:  # noqa: BLE001 - top of the thread: each is tried alone next
            logger.debug("%d operations are tried one by one: %r", len(jobs), error)
            self._roll_back(tx)
            if self._database.lost:
                return self._outlive(tx, jobs, error)
            self._read_again(tx)
            return None
        self._database.wrote(self._database.changes - before)
        return self._dispatcher.leaving()

    def _begin(self) -> Transaction:
        now = self._clock()
        return Transaction(self._database, now, now + self.expiry_s)

    def _attempt(self, tx: Transaction, job: _Job) -> None:
        """Runs an operation; one that refuses before it has written anything needs no rollback."""
        before = self._database.changes
        try:
            job.value = job.operation(tx)
            job.error = None
        except Refused as error:
            if self._database.changes != before or not self._database.intact:
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
        before = self._database.changes
        tx = self._begin()
        job.error = None
        try:
            self._database.begin()
            job.value = job.operation(tx)
            tx.write_counts()
            self._database.commit()
        except Exception as error:  # noqa: BLE001 - top of the thread: the one who asked hears it
            self._roll_back(tx)
            if self._database.lost:
                return self._outlive(tx, [job], error)
            job.error = self._explain(error)
            self._read_again(tx)
            return []
        self._database.wrote(self._database.changes - before)
        return self._dispatcher.leaving()

    def _explain(self, error: Exception) -> Exception:
        reason = self._database.explain(error)
        if reason is None:
            return error
        logger.warning("%s", reason)
        reason.__cause__ = error
        return reason

    def _roll_back(self, tx: Transaction) -> None:
        try:
            self._database.rollback()
        except Exception as error:  # noqa: BLE001 - of whichever database
            logger.error("%s", self._database.explain(error) or error)

    def _read_again(self, tx: Transaction) -> None:
        """Undoes in memory what was rolled back."""
        tx.rolled_back()
        try:
            self._dispatcher.read_again(self._begin())
        except Exception as error:  # noqa: BLE001 - of whichever database
            logger.error("%s", self._database.explain(error) or error)

    # -- while the database is away -----------------------------------------------------------

    def _outlive(self, tx: Transaction, jobs: list[_Job], error: Exception) -> Leaving:
        """Waits until the database is back.

        Operations whose commit it did not answer wait too, since they may be stored: then it says whether
        they are. All others fail at once, now and meanwhile.
        """
        reason = self._explain(error)
        logger.warning("store %s is away; the service looks for it", self._database.name)
        self._refuse(str(reason), () if self._database.unsure else jobs)
        came_through = self._come_back()
        if came_through is None:
            closed = StoreClosed(
                f"store {self._database.name} was closed while its database was away: {reason}"
            )
            self._fail(jobs, closed)
            return []
        with self._news:
            self._away, self._busy_since = None, time.monotonic()
        logger.warning(
            "store %s is back; the commit under way has %scome through",
            *(self._database.name, "" if came_through else "not "),
        )
        if came_through:
            return self._dispatcher.leaving()
        self._fail(jobs, StoreAway(str(reason)))
        self._read_again(tx)
        return []

    def _refuse(self, reason: str, jobs: Iterable[_Job]) -> None:
        """Has these, and whatever waits or comes, fail with this reason."""
        with self._news:
            self._away = reason
            waiting, self._jobs = [*jobs, *self._jobs], deque()
        self._fail(waiting, StoreAway(reason))
        self._loop.call_soon_threadsafe(self._deliver, waiting, [])

    def _come_back(self) -> bool | None:
        """Looks for the database until it is there; None if the store is closed meanwhile."""
        pause_s = _FIRST_PAUSE_S
        while True:
            with self._news:
                if self._news.wait_for(lambda: self._stopping, pause_s):
                    return None
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)
            try:
                return self._database.reconnect()
            except StoreUnusable as error:
                logger.info("%s", error)
                with self._news:
                    self._away = str(error)

    @staticmethod
    def _fail(jobs: list[_Job], error: StoreUnusable) -> None:
        for job in jobs:
            job.error = error

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
