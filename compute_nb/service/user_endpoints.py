"""This module is the user endpoints of published agents, as the store knows them.

A published agent runs nothing itself. It starts a process for each user, configuration and runtime, a user
endpoint, which has a task queue of its own. So tasks stand under the user endpoint, and people see the
agent's endpoint that they named. A process of it that ends takes with it what it has taken; the next one
is told apart by when it began.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Protocol, TypeVar
from uuid import UUID, uuid5

from compute_nb.published_messages import PublishedResult
from compute_nb.service.dispatch import Dispatcher
from compute_nb.service.ledger import Entry, Ledger
from compute_nb.service.rollcall import set_aside
from compute_nb.service.rows import Changes, NotFound, UserEndpointRow, uuid_of
from compute_nb.service.statements import DELIVERED, FAILED, WAITING
from compute_nb.service.transaction import Transaction
from compute_nb.service.writer import Operation
from compute_nb.tasks import ErrorCode, Outcome, Run, RunResult, Submission

T = TypeVar("T")

PART = 2_000


class Runs(Protocol):
    """Runs an operation on the store thread."""

    def __call__(self, operation: Operation[T]) -> Awaitable[T]:
        """Returns what the operation gives, once it is committed."""
        ...


def resolve(tx: Transaction, core: int, owner: UUID, submission: Submission) -> int:
    """Returns the number of the user endpoint that a submission is for; the same one for the same values.

    Args:
        core: The number of the agent's endpoint.
        owner: Whose tasks they are.
    """
    config = _spelled(submission.options.get("user_endpoint_config") or {})
    runtime = _spelled(submission.user_runtime)
    endpoint_id = uuid5(submission.endpoint_id, _spelled([str(owner), config, runtime]))
    row = tx.one("endpoint_owner", endpoint_id.bytes)
    if row is not None:
        return int(row[0])
    name = f"uep.{submission.endpoint_id}.{endpoint_id}"
    tx.run("add_endpoint", endpoint_id.bytes, owner.bytes, name, None, "user", False, "{}", tx.now)
    (number, _) = tx.one("endpoint_owner", endpoint_id.bytes)
    tx.run("add_user_endpoint", number, core, config, runtime)
    return int(number)


def _spelled(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


class UserEndpoints:
    """What the store does for the user endpoints of published agents; the loop's, as the store is.

    Args:
        run: Has an operation done.
        dispatcher: What it may use there.
    """

    def __init__(self, run: Runs, dispatcher: Dispatcher) -> None:
        self._run = run
        self._dispatcher = dispatcher

    async def all(self) -> list[tuple[UUID, UUID]]:
        """Returns the ids of all user endpoints, each with that of its agent's endpoint."""
        rows: list[Any] = await self._run(lambda tx: tx.all("user_endpoints"))
        return [(uuid_of(endpoint_id), uuid_of(core_id)) for endpoint_id, core_id in rows]

    async def due(self, core_id: UUID) -> list[UserEndpointRow]:
        """Returns those of an agent that have open tasks."""
        rows: list[Any] = await self._run(lambda tx: tx.all("user_endpoints_due", core_id.bytes))
        return [
            UserEndpointRow(uuid_of(endpoint_id), uuid_of(owner), json.loads(config), json.loads(runtime))
            for endpoint_id, owner, config, runtime in rows
        ]

    async def checked_in(self, endpoint_id: UUID, process: UUID, *, requeue: bool) -> tuple[Changes, float]:
        """A process reads tasks from now on: it gets them with this commit.

        Args:
            process: Which one it is.
            requeue: True if what was sent and not taken is nowhere any more: it is sent again.

        Returns:
            What has changed, and for how many seconds this process has been known while an older one may
            still have results; below 0 if there is nothing to wait for.
        """

        def check_in(tx: Transaction) -> tuple[Changes, float]:
            number, settled, current, since = _row(tx, endpoint_id)
            ledger = Ledger(tx, self._dispatcher)
            if requeue:
                _send_again(tx, ledger, number)
            if current != process.bytes:
                since = tx.now
                tx.run("user_endpoint_checked_in", process.bytes, since, number)
            self._dispatcher.connect(tx, number, endpoint_id, process, 1, published=True)
            ledger.write()
            known_s = -1.0
            if settled != process.bytes:
                if tx.all("taken_before", number, since):
                    known_s = max(tx.now - since, 0.0)
                else:
                    tx.run("user_endpoint_settled", process.bytes, number)
            return Changes(tuple(ledger.moves)), known_s

        return await self._run(check_in)

    async def gone(self, endpoint_id: UUID, *, requeue: bool) -> Changes:
        """No process reads tasks any more; what it had not taken is sent to the next one.

        Args:
            requeue: False if what was not taken waits in a queue that outlives the process: then nobody
                can tell it from what was taken, and it counts as that.
        """

        def go(tx: Transaction) -> Changes:
            number = _row(tx, endpoint_id)[0]
            ledger = Ledger(tx, self._dispatcher)
            self._dispatcher.disconnect(tx, number, None)
            if requeue:
                _send_again(tx, ledger, number)
            else:
                for entry in ledger.entries(tx.all("untaken", number)):
                    ledger.mark(entry, DELIVERED)
            ledger.write()
            return Changes(tuple(ledger.moves))

        return await self._run(go)

    async def settle(self, endpoint_id: UUID, process: UUID) -> Changes:
        """Gives up what an older process has taken; nothing if yet another one has checked in since."""

        def settle(tx: Transaction) -> Changes:
            number, _, current, since = _row(tx, endpoint_id)
            if current != process.bytes:
                return Changes()
            ledger = Ledger(tx, self._dispatcher)
            for entry in ledger.entries(tx.all("taken_before", number, since)):
                ledger.break_off(entry, f"user endpoint {endpoint_id} ended while it had this task")
            ledger.write()
            tx.run("user_endpoint_settled", process.bytes, number)
            return Changes(tuple(ledger.moves), tuple(ledger.results))

        return await self._run(settle)

    async def start_failed(self, endpoint_id: UUID, text: str) -> Changes:
        """Its agent could not start it: what waits for it fails with the agent's words."""
        changes, more = Changes(), True
        while more:
            part, more = await self._run(lambda tx: self._fail(tx, endpoint_id, text))
            changes = Changes(changes.moves + part.moves, changes.results + part.results)
        return changes

    def _fail(self, tx: Transaction, endpoint_id: UUID, text: str) -> tuple[Changes, bool]:
        number = _row(tx, endpoint_id)[0]
        ledger = Ledger(tx, self._dispatcher)
        rows = tx.all("waiting_of_endpoint", number, PART)
        for entry in ledger.entries(rows + tx.all("untaken", number)):
            ledger.end(entry, FAILED, text, ErrorCode.START_FAILED)
        for entry in ledger.entries(tx.all("taken_before", number, tx.now)):
            ledger.break_off(entry, f"user endpoint {endpoint_id} ended and did not start again ({text})")
        ledger.write()
        return Changes(tuple(ledger.moves), tuple(ledger.results)), len(rows) == PART

    async def taken(self, endpoint_id: UUID, task_ids: Iterable[UUID]) -> Changes:
        """Tasks have been accepted by the engine there."""
        ids = list(task_ids)

        def take(tx: Transaction) -> Changes:
            number = _row(tx, endpoint_id)[0]
            ledger = Ledger(tx, self._dispatcher)
            for entry in ledger.find(ids).values():
                if entry.endpoint == number and entry.sent_at is not None and entry.state is WAITING:
                    ledger.mark(entry, DELIVERED)
            ledger.write()
            return Changes(tuple(ledger.moves))

        return await self._run(take)

    async def taken_before(self, endpoint_id: UUID, before: float) -> Changes:
        """It lives, and a broker that tells nothing has had what was sent before: that counts as taken."""

        def take(tx: Transaction) -> Changes:
            number = _row(tx, endpoint_id)[0]
            ledger = Ledger(tx, self._dispatcher)
            for entry in ledger.entries(tx.all("untaken", number)):
                if entry.sent_at < before:
                    ledger.mark(entry, DELIVERED)
            ledger.write()
            return Changes(tuple(ledger.moves))

        return await self._run(take)

    async def results(self, endpoint_id: UUID, messages: Sequence[PublishedResult]) -> Changes:
        """Takes results; those of tasks that are not its own or have ended are set aside.

        Raises:
            NotFound: The endpoint was deleted.
        """

        def take(tx: Transaction) -> Changes:
            number = _row(tx, endpoint_id)[0]
            ledger = Ledger(tx, self._dispatcher)
            entries = ledger.find([message.task_id for message in messages])
            for message in messages:
                entry = entries.get(message.task_id.int)
                result = _run_result(message, entry)
                if entry is None or entry.endpoint != number or not ledger.take(entry, result):
                    set_aside(endpoint_id, number, result, entry)
            ledger.write()
            self._dispatcher.finished(number, len(messages), tx.now)
            return Changes(tuple(ledger.moves), tuple(ledger.results))

        return await self._run(take)


def _row(tx: Transaction, endpoint_id: UUID) -> tuple[int, bytes | None, bytes | None, float]:
    row = tx.one("user_endpoint", endpoint_id.bytes)
    if row is None:
        raise NotFound(f"user endpoint {endpoint_id} is not known here")
    return row  # type: ignore[no-any-return]


def _send_again(tx: Transaction, ledger: Ledger, number: int) -> None:
    for entry in ledger.entries(tx.all("untaken", number)):
        ledger.requeue(entry, entry.attempt)


def _run_result(message: PublishedResult, entry: Entry | None) -> RunResult:
    """Returns a published result as one of ours; it does not tell of which attempt it is."""
    run = Run(message.task_id, 0 if entry is None else entry.attempt)
    times = (message.started_at, message.ended_at)
    if message.error is None:
        return RunResult(run, Outcome.SUCCESS, message.data, None, *times)
    return RunResult(run, Outcome.ERROR, message.data, message.error[0], *times)
