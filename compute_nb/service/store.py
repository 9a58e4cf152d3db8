"""This module is the store: all that the service knows, on disk, behind awaitable calls.

The calls belong to the asyncio loop. The work is done on the thread `store` (`compute_nb.service.writer`),
all calls that have gathered in one commit; the thread `sync` (`compute_nb.service.sync`) brings commits to
the disk itself. This is the only owner of both threads, and the only writer of task states.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar
from uuid import UUID

from compute_nb.service import ending, intake, registry, retry, rollcall
from compute_nb.service.accounts import Accounts
from compute_nb.service.dispatch import Dispatcher
from compute_nb.service.ending import Part
from compute_nb.service.intake import Intake
from compute_nb.service.lane import WINDOW_CHARACTERS
from compute_nb.service.ledger import CANCELLED_TEXT
from compute_nb.service.meter import Histogram
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
    uuid_of,
)
from compute_nb.service.schema import StoreClosed, StoreFull, StoreUnusable, connect
from compute_nb.service.statements import STATES
from compute_nb.service.sync import Syncer
from compute_nb.service.transaction import Transaction
from compute_nb.service.writer import Leaving, Operation, Writer
from compute_nb.tasks import OPEN, ErrorCode, Hello, Report, Run, Submission, TaskResult, TaskState

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
    "StoreClosed",
    "StoreFull",
    "StoreUnusable",
    "SubmitReply",
    "TaskRow",
]

Durability = Literal["power", "process"]
T = TypeVar("T")

_FIRST = b""
_IDS_A_STEP = 2_000


class Store:
    """Functions, endpoints, tasks, results and principals; made by `open`.

    Every coroutine raises StoreFull if the disk is full (then nothing of that call was kept), StoreUnusable
    if the file can't be used, StoreClosed after `close`, and what it names itself.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        dispatcher: Dispatcher,
        durability: Durability,
        clock: Callable[[], float],
    ) -> None:
        self._path = path
        self._connection = connection
        self._clock = clock
        self._dispatcher = dispatcher
        self._syncer = Syncer(path, durable=durability == "power")
        self._writer = Writer(path, connection, self._dispatcher, clock, self._syncer.wrote)
        self._intake = Intake(self._dispatcher)
        self.accounts = Accounts(self._run)
        self.commits = Histogram()

    def __repr__(self) -> str:
        return f"<Store {self._path}>"

    # -- life -------------------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        durability: Durability = "power",
        clock: Callable[[], float] = time.time,
        busy_timeout_s: float = 5.0,
        window_characters: int = WINDOW_CHARACTERS,
    ) -> Store:
        """Opens the store's file, made or migrated if need be; blocks, starts no thread.

        Args:
            path: In a folder that exists.
            durability: What `synced` waits for: "power" for the disk, "process" for nothing more than
                the commit, which outlives the process but not the power.
            clock: Seconds since the epoch.
            busy_timeout_s: How long to wait for another program that writes the file.
            window_characters: How many characters of arguments may be on their way to one endpoint.

        Raises:
            StoreUnusable: The folder can't be written, or the file is damaged, or from a newer version.
        """
        dispatcher = Dispatcher(window_characters)
        return cls(path, connect(path, busy_timeout_s), dispatcher, durability, clock)

    def start(self, on_dispatch: Callable[[Leaving], None]) -> None:
        """Starts the threads; to be called on the running loop.

        Args:
            on_dispatch: Called on the loop after each commit that sends tasks, before the calls of that
                commit return: (endpoint id, message) pairs, in the order in which they are to be sent.
        """
        loop = asyncio.get_running_loop()
        self._syncer.start(loop)
        self._writer.start(loop, on_dispatch)

    def close(self) -> None:
        """Does what is queued, then ends the threads and closes the file; blocks for milliseconds."""
        self._writer.stop()
        self._syncer.stop()
        self._connection.close()

    async def synced(self) -> None:
        """Returns when all that was committed before the call is on the disk (durability "power").

        Raises:
            StoreUnusable: The disk has refused it, now or before.
        """
        await self._syncer.wait()

    async def _run(self, operation: Operation[T]) -> T:
        begun_at = time.perf_counter()
        try:
            return await self._writer.run(operation)
        finally:
            self.commits.observe(time.perf_counter() - begun_at)

    # -- functions and endpoints ------------------------------------------------------------------

    async def register_function(
        self,
        owner: UUID,
        name: str,
        code: str,
        *,
        meta: Mapping[str, Any] | None = None,
        description: str | None = None,
        public: bool = False,
        group: UUID | None = None,
    ) -> UUID:
        """Stores a function and returns its id; `code` is a packed buffer."""
        return await self._run(
            lambda tx: registry.add_function(
                tx, owner, name, code, meta or {}, description=description, public=public, group=group
            )
        )

    async def function(self, owner: UUID, function_id: UUID) -> FunctionRow:
        """Returns a function that is the owner's, or public.

        Raises:
            NotFound, Forbidden: As they say.
        """
        return await self._run(lambda tx: registry.function(tx, owner, function_id))

    async def delete_function(self, owner: UUID, function_id: UUID) -> None:
        """Removes a function from sight; accepted tasks still run.

        Raises:
            NotFound, Forbidden: As they say.
        """
        await self._run(lambda tx: registry.delete_function(tx, owner, function_id))

    async def register_endpoint(
        self,
        owner: UUID,
        name: str,
        metadata: Mapping[str, Any],
        endpoint_id: UUID | None = None,
        *,
        display_name: str | None = None,
        public: bool = False,
    ) -> UUID:
        """Stores an endpoint, or what is new of a known one, and returns its id.

        Raises:
            Forbidden: The id is somebody else's.
        """
        return await self._run(
            lambda tx: registry.register_endpoint(
                tx, owner, name, metadata, endpoint_id, display_name=display_name, public=public
            )
        )

    async def endpoint(self, owner: UUID | None, endpoint_id: UUID) -> EndpointRow:
        """Returns an endpoint that is the owner's, or public; None asks for the service itself.

        Raises:
            NotFound, Forbidden: As they say.
        """
        connected = self._dispatcher.connected
        return await self._run(lambda tx: registry.endpoint(tx, owner, endpoint_id, connected()))

    async def endpoints(self, owner: UUID, *, public: bool = False) -> list[EndpointRow]:
        """Returns the owner's endpoints and, if asked for, the public ones of others."""
        connected = self._dispatcher.connected
        return await self._run(lambda tx: registry.endpoints(tx, owner, public, connected()))

    async def delete_endpoint(self, owner: UUID, endpoint_id: UUID) -> Ended:
        """Removes an endpoint; what it had not taken FAILED, what it had is LOST.

        Raises:
            NotFound, Forbidden: As they say.
        """
        return await self._parts(
            lambda tx, _: ending.delete_endpoint(tx, self._dispatcher, owner, endpoint_id)
        )

    async def environments(self, endpoint_ids: Iterable[UUID]) -> dict[UUID, Mapping[str, Any]]:
        """Returns what the agents of these endpoints told of themselves, where they did."""
        ids = list(endpoint_ids)
        return await self._run(lambda tx: registry.environments(tx, ids))

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

    async def inputs(self, owner: UUID, task_id: UUID) -> Inputs:
        """Returns what a task of the owner's was submitted with.

        Raises:
            NotFound: There is no such task of his.
        """

        def read(tx: Transaction) -> Inputs:
            row = tx.one("inputs", owner.bytes, task_id.bytes)
            if row is None:
                raise NotFound(f"task {task_id} is not known here, or its inputs were deleted")
            function_id, code, args = row
            return Inputs(uuid_of(function_id), code, args)

        return await self._run(read)

    async def group(self, owner: UUID, task_group_id: UUID) -> GroupRow:
        """Returns a task group that is the owner's.

        Raises:
            NotFound, Forbidden: As they say.
        """
        return await self._run(lambda tx: registry.group(tx, owner, task_group_id))

    async def groups_of(self, owner: UUID, task_group_ids: Iterable[UUID]) -> list[GroupRow]:
        """Returns those of the task groups that are known and the owner's."""
        ids = list(task_group_ids)
        return await self._run(lambda tx: registry.groups(tx, owner, ids))

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

    # -- ending -----------------------------------------------------------------------------------

    async def cancel(
        self,
        owner: UUID,
        *,
        task_ids: Iterable[UUID] = (),
        task_group_id: UUID | None = None,
    ) -> Ended:
        """Cancels open tasks; ids that are unknown or somebody else's are passed over.

        Raises:
            NotFound, Forbidden: There is no such task group, or it is somebody else's.
        """
        if task_group_id is not None:
            return await self._parts(
                lambda tx, after: ending.cancel_group(tx, self._dispatcher, owner, task_group_id, after)
            )
        return await self._each(
            task_ids, lambda tx, ids: ending.cancel_tasks(tx, self._dispatcher, owner, ids)
        )

    async def lose(self, owner: UUID, task_ids: Iterable[UUID]) -> Ended:
        """Gives up open tasks as LOST, on the word of a person; a late value still counts."""
        return await self._each(task_ids, lambda tx, ids: ending.lose_tasks(tx, self._dispatcher, owner, ids))

    async def expire(self, now: float | None = None) -> Ended:
        """Ends what has waited too long: tasks after 14 days, holds after an hour.

        Args:
            now: Seconds since the epoch; None asks the clock.
        """
        at = self._clock() if now is None else now
        ended = await self._parts(lambda tx, _: ending.end_stale_hold(tx, self._dispatcher, at))
        parts = [ended]
        due = await self._run(lambda tx: ending.due_group(tx, at))
        while due is not None:
            part, due = await self._expire(due, at)
            parts.append(part)
            due = due or await self._run(lambda tx: ending.due_group(tx, at))
        return _joined(parts)

    async def _expire(self, due: ending.Due, at: float) -> tuple[Ended, ending.Due | None]:
        return await self._run(lambda tx: ending.expire(tx, self._dispatcher, due, at))

    async def _parts(self, step: Callable[[Transaction, bytes], Part]) -> Ended:
        """Runs steps until nothing is left, each in a commit that others share."""
        parts: list[Ended] = []
        after: bytes | None = _FIRST
        while after is not None:
            ended, after = await self._step(step, after)
            parts.append(ended)
        return _joined(parts)

    async def _step(self, step: Callable[[Transaction, bytes], Part], after: bytes) -> Part:
        return await self._run(lambda tx: step(tx, after))

    async def _each(self, task_ids: Iterable[UUID], step: Callable[[Transaction, list[UUID]], Part]) -> Ended:
        ids = list(task_ids)
        parts = [
            await self._run(lambda tx, part=ids[i : i + _IDS_A_STEP]: step(tx, part))  # type: ignore[misc]
            for i in range(0, len(ids), _IDS_A_STEP)
        ]
        return _joined([part.ended for part in parts])

    # -- reading ----------------------------------------------------------------------------------

    async def task_rows(self, owner: UUID, task_ids: Iterable[UUID]) -> list[TaskRow]:
        """Returns all about those of the tasks that are known and the owner's, in the order asked for."""
        ids = list(task_ids)
        rows = await self._run(
            lambda tx: tx.by_ids("task_rows", [task_id.bytes for task_id in ids], owner.bytes)
        )
        found = {row[0]: row for row in rows}
        return [_task_row(found[i.bytes]) for i in ids if i.bytes in found]

    async def tasks_of_group(
        self, owner: UUID, task_group_id: UUID, after: UUID | None = None, limit: int = 1000
    ) -> GroupPage:
        """Returns a page of a task group, in the order of task ids.

        Args:
            owner: Whose group it is.
            task_group_id: The group.
            after: The last task of the page before.
            limit: Tasks in a page.

        Raises:
            NotFound, Forbidden: As they say.
        """

        def read(tx: Transaction) -> tuple[GroupRow, list[Any]]:
            number = registry.owned_group(tx, owner, task_group_id)
            last = _FIRST if after is None else after.bytes
            rows = tx.all("page_of_group", number, last, limit + 1)
            return registry.group(tx, owner, task_group_id), rows

        group, rows = await self._run(read)
        tasks = tuple(
            (uuid_of(i), STATES[code].state, *rest, None if retry_of is None else uuid_of(retry_of))
            for i, code, *rest, retry_of in rows[:limit]
        )
        return GroupPage(group, tasks, len(rows) > limit)

    async def places_of_group(
        self, owner: UUID, task_group_id: UUID, after: UUID | None, limit: int
    ) -> list[tuple[UUID, float]]:
        """Returns a page of a task group's tasks in whose place no other one runs: ids, and when submitted.

        Raises:
            NotFound, Forbidden: As they say.
        """

        def read(tx: Transaction) -> list[Any]:
            number = registry.owned_group(tx, owner, task_group_id)
            return tx.all("places_of_group", number, _FIRST if after is None else after.bytes, limit)

        return [(uuid_of(task_id), at) for task_id, at in await self._run(read)]

    async def counts(self) -> dict[TaskState, int]:
        """Returns how many tasks are in each state."""
        rows = await self._run(lambda tx: tx.all("tally"))
        return {STATES[code].state: n for code, n in rows}

    async def open_count(self) -> int:
        """Returns how many tasks have not ended."""
        counts = await self.counts()
        return sum(counts[state] for state in OPEN)

    async def open_of(self, owner: UUID) -> int:
        """Returns how many tasks of a user have not ended."""
        ((count,),) = await self._run(lambda tx: tx.named("open_of_owner", owner=owner.bytes))
        return int(count)

    async def outstanding(self, endpoint_id: UUID) -> tuple[int, int]:
        """Returns how many tasks of an endpoint wait to be sent, and how many are sent and open."""

        def read(tx: Transaction) -> tuple[int, int]:
            row = tx.one("endpoint_access", endpoint_id.bytes)
            if row is None:
                return 0, 0
            return tx.one("count_waiting", row[0])[0], tx.one("count_out", row[0])[0]

        return await self._run(read)

    # -- principals and settings ------------------------------------------------------------------

    async def add_principal(self, principal: Principal) -> None:
        """Stores somebody who may speak to the service."""
        await self._run(lambda tx: registry.add_principal(tx, principal))

    async def principal(self, public_id: str) -> Principal | None:
        """Returns a principal that is not revoked."""
        return await self._run(lambda tx: registry.principal(tx, public_id))

    async def principals(self, user: UUID) -> list[Principal]:
        """Returns all principals of a user, revoked ones too."""
        return await self._run(lambda tx: registry.principals(tx, user))

    async def revoke(self, public_id: str) -> bool:
        """Makes a principal void for good; False if there is none that is not."""
        return await self._run(lambda tx: tx.run("revoke_principal", tx.now, public_id).rowcount == 1)

    async def get_meta(self, key: str) -> str | None:
        """Returns a setting, None if there is none."""
        row = await self._run(lambda tx: tx.one("meta", key))
        return None if row is None else str(row[0])

    async def set_meta(self, key: str, value: str) -> None:
        """Stores a setting."""
        await self._run(lambda tx: tx.run("set_meta", key, value))

    async def ensure_meta(self, key: str, value: str) -> str:
        """Stores a setting if there is none, and returns what there is."""

        def ensure(tx: Transaction) -> str:
            row = tx.one("meta", key)
            if row is not None:
                return str(row[0])
            tx.run("set_meta", key, value)
            return value

        return await self._run(ensure)


def _joined(parts: list[Ended]) -> Ended:
    runs: dict[UUID, tuple[Run, ...]] = {}
    results: list[TaskResult] = []
    for part in parts:
        results += part.results
        for endpoint_id, more in part.runs.items():
            runs[endpoint_id] = runs.get(endpoint_id, ()) + more
    return Ended(tuple(results), runs)


def _task_row(row: Any) -> TaskRow:
    task_id, group_id, endpoint_id, function_id, code, attempt, retries, *times, data, error = row
    state = STATES[code].state
    if state is TaskState.CANCELLED:
        data, error = CANCELLED_TEXT, ErrorCode.CANCELLED
    submitted_at, started_at, ended_at = times
    return TaskRow(
        uuid_of(task_id),
        uuid_of(group_id),
        uuid_of(endpoint_id),
        uuid_of(function_id),
        state,
        attempt,
        retries,
        submitted_at,
        started_at,
        ended_at,
        data,
        error,
    )
