"""This module is the store: all that the service knows, on disk, behind awaitable calls.

The calls belong to the asyncio loop. The work is done on the thread `store` (`compute_nb.service.writer`),
all calls that have gathered in one commit, in the database (`compute_nb.service.database`), which may have a
thread of its own. This is the only owner of both, and the only writer of task states. Calls about who and
what there is stand in `catalogue`, those that tell of tasks in `reader`, those that end some in `ender`,
those that forget some in `keeper`.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal
from uuid import UUID

from compute_nb.service import intake, retry, rollcall
from compute_nb.service.accounts import Accounts
from compute_nb.service.catalogue import Catalogue
from compute_nb.service.database import (
    Database,
    StoreAway,
    StoreClosed,
    StoreFull,
    StoreUnusable,
    open_database,
)
from compute_nb.service.dispatch import Dispatcher
from compute_nb.service.ender import Ender
from compute_nb.service.intake import Intake
from compute_nb.service.keeper import Keeper
from compute_nb.service.lane import WINDOW_CHARACTERS
from compute_nb.service.meter import Histogram
from compute_nb.service.reader import Reader
from compute_nb.service.rows import (
    Conflict,
    Ended,
    EndpointRow,
    Forbidden,
    FunctionRow,
    GroupPage,
    GroupRow,
    HelloDone,
    Inputs,
    NotFound,
    Principal,
    Refused,
    ReportDone,
    RetryDone,
    SubmitReply,
    TaskRow,
)
from compute_nb.service.transaction import Transaction
from compute_nb.service.user_endpoints import UserEndpoints
from compute_nb.service.writer import Leaving, Writer
from compute_nb.tasks import Hello, Report, Submission

__all__ = [
    "Conflict",
    "Durability",
    "Ended",
    "EndpointRow",
    "Forbidden",
    "FunctionRow",
    "GroupPage",
    "GroupRow",
    "HelloDone",
    "Inputs",
    "NotFound",
    "Principal",
    "Refused",
    "ReportDone",
    "RetryDone",
    "Store",
    "StoreAway",
    "StoreClosed",
    "StoreFull",
    "StoreUnusable",
    "SubmitReply",
    "TaskRow",
]

Durability = Literal["power", "process"]
STUCK_S = 15.0


class Store(Catalogue, Reader, Ender, Keeper):
    """Functions, endpoints, tasks, results and principals; made by `open`.

    Attributes:
        user_endpoints: The part of it for published agents.

    Every coroutine raises StoreFull if the disk is full and StoreAway while the database does not answer
    (then nothing of that call was kept), StoreUnusable if it can't be used, StoreClosed after `close`, and
    what it names itself.
    """

    def __init__(
        self,
        database: Database,
        dispatcher: Dispatcher,
        clock: Callable[[], float],
        stuck_s: float = STUCK_S,
    ) -> None:
        self._database = database
        self._clock = clock
        self._dispatcher = dispatcher
        self._writer = Writer(database, dispatcher, clock, stuck_s)
        self._intake = Intake(dispatcher)
        self.user_endpoints = UserEndpoints(self._run, dispatcher)
        self.accounts = Accounts(self._run)
        self.commits = Histogram()

    def __repr__(self) -> str:
        return f"<Store {self.url}>"

    @property
    def url(self) -> str:
        """Its address; holds no secret."""
        return self._database.url

    # -- life -------------------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        place: Path | str,
        *,
        key: bytes | None = None,
        durability: Durability = "power",
        clock: Callable[[], float] = time.time,
        busy_timeout_s: float = 5.0,
        window_characters: int = WINDOW_CHARACTERS,
        stuck_s: float = STUCK_S,
    ) -> Store:
        """Opens the store's database, made or migrated if need be; blocks, starts no thread.

        Args:
            place: A file for SQLite, in a folder that exists, or a `postgresql://` URL.
            key: The service's secret, from which the pseudonyms follow that agents hear of users; None: one
                that is drawn now.
            durability: What `synced` waits for: "power" for the disk, "process" for nothing more than
                the commit, which outlives the process but not the power. PostgreSQL's commits outlive both.
            clock: Seconds since the epoch.
            busy_timeout_s: How long to wait for another program that has it.
            stuck_s: How long one commit may take before what is asked meanwhile raises StoreAway.
            window_characters: How many characters of arguments may be on their way to one endpoint.

        Raises:
            StoreUnusable: It can't be reached or written, or is damaged, from a newer version or another
                service's.
        """
        database = open_database(place, durable=durability == "power", busy_timeout_s=busy_timeout_s)
        return cls(database, Dispatcher(key or secrets.token_bytes(32), window_characters), clock, stuck_s)

    def start(self, on_dispatch: Callable[[Leaving], None]) -> None:
        """Starts the threads; to be called on the running loop.

        Args:
            on_dispatch: Called on the loop after each commit that sends tasks, before the calls of that
                commit return: (endpoint id, message) pairs, in the order in which they are to be sent.
        """
        loop = asyncio.get_running_loop()
        self._database.start(loop)
        self._writer.start(loop, on_dispatch)

    def close(self) -> None:
        """Does what is queued, then ends the threads and closes the database; blocks for milliseconds."""
        self._writer.stop()
        self._database.stop()

    async def synced(self) -> None:
        """Returns when all that was committed before the call is on the disk (durability "power").

        Raises:
            StoreUnusable: The disk has refused it, now or before.
        """
        await self._database.synced()

    # -- submit -----------------------------------------------------------------------------------

    async def submit(
        self, owner: UUID, submission: Submission, *, digest: bytes | None = None
    ) -> SubmitReply:
        """Stores the tasks of a submission, all or none; a repeat stores nothing.

        Args:
            owner: Whose tasks they are.
            submission: What is asked for.
            digest: SHA-256 of a request without ids: an equal one within 60 s whose reply could not be
                written is answered again.

        Raises:
            NotFound: Endpoint or function are unknown.
            Forbidden: Endpoint, function or task group are somebody else's.
            Conflict: An id is known with other content.
        """
        return await self._run(lambda tx: self._intake.submit(tx, owner, submission, digest))

    async def answered(self, owner: UUID, digest: bytes, written: bool) -> None:
        """Notes whether the reply to a submit without ids could be written."""
        await self._run(lambda tx: intake.answered(tx, owner, digest, written))

    async def retry(self, owner: UUID, pairs: Iterable[tuple[UUID, UUID]]) -> RetryDone:
        """Has tasks that gave no value run again, all or none; ids that are not the owner's are passed over.

        Args:
            pairs: A task, and the id that it runs under then. The same pairs again store nothing.

        Raises:
            NotFound: The endpoint or the inputs of one were deleted.
            Conflict: A new id is in use already.
        """
        wanted, draw = list(pairs), self._intake.draw_number
        return await self._run(lambda tx: retry.retry(tx, self._dispatcher, owner, wanted, draw))

    # -- agents -----------------------------------------------------------------------------------

    async def hello(self, endpoint_id: UUID, message: Hello) -> HelloDone:
        """Begins a session of an agent; from then on it gets tasks.

        Raises:
            NotFound: The endpoint is not registered here.
        """
        return await self._run(lambda tx: rollcall.hello(tx, self._dispatcher, endpoint_id, message))

    async def report(self, endpoint_id: UUID, message: Report) -> ReportDone:
        """Takes what an agent reports; confirm `stored` to it once `synced` has returned.

        Raises:
            NotFound: The endpoint is not registered here.
        """
        return await self._run(lambda tx: rollcall.report(tx, self._dispatcher, endpoint_id, message))

    async def endpoint_gone(self, endpoint_id: UUID, session: UUID | None = None) -> None:
        """Ends a session: nothing is sent until the next hello.

        Args:
            endpoint_id: Whose agent is gone.
            session: The one that ended, if known: a later one goes on.
        """

        def gone(tx: Transaction) -> None:
            row = tx.one("endpoint_access", endpoint_id.bytes)
            if row is not None:
                self._dispatcher.disconnect(tx, row[0], session)

        await self._run(gone)
