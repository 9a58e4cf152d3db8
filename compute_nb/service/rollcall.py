"""This module is the roll call: what agents say of their tasks, held against what the store knows of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from compute_nb.service.dispatch import Dispatcher
from compute_nb.service.ledger import Entry, Ledger
from compute_nb.service.rows import HelloDone, NotFound, ReportDone
from compute_nb.service.statements import DELIVERED, LOST, RUNNING, SUCCEEDED, StoredState
from compute_nb.service.transaction import Transaction
from compute_nb.tasks import Hello, Report, Run, RunResult
from compute_nb.wire import Welcome

logger = logging.getLogger(__name__)


def report(tx: Transaction, dispatcher: Dispatcher, endpoint_id: UUID, message: Report) -> ReportDone:
    """Takes marks, results and runs that were handed back.

    Results count whatever their session is. Marks and hand-backs count only in the current session: an
    older one's inventory has been taken since.
    """
    number, _ = _endpoint(tx, endpoint_id)
    ledger = Ledger(tx, dispatcher)
    entries = ledger.find(_task_ids(message))
    if message.session == dispatcher.session(number):
        _take_marks(ledger, number, message, entries)
    for result in message.results:
        entry = entries.get(result.run.task_id.int)
        if entry is None or entry.endpoint != number or not ledger.take(entry, result):
            set_aside(endpoint_id, number, result, entry)
    ledger.write()
    dispatcher.finished(number, len(message.results), tx.now)
    stored = tuple(result.run for result in message.results)
    return ReportDone(stored, tuple(ledger.moves), tuple(ledger.results))


def _take_marks(ledger: Ledger, number: int, message: Report, entries: Mapping[int, Entry]) -> None:
    def sent(run: Run) -> Entry | None:
        entry = entries.get(run.task_id.int)
        if entry is None or entry.sent_at is None or not entry.runs_as(run, number):
            return None
        return entry

    for run in message.held:
        if (entry := sent(run)) is not None:
            ledger.mark(entry, DELIVERED)
    for run, started_at in message.running:
        if (entry := sent(run)) is not None:
            ledger.mark(entry, RUNNING, started_at)
    for run in message.returned:
        if (entry := sent(run)) is not None:
            ledger.requeue(entry, entry.attempt)


def set_aside(endpoint_id: UUID, number: int, result: RunResult, entry: Entry | None) -> None:
    """Says why a result does not count."""
    what = f"{result.outcome.value} of task {result.run.task_id}, attempt {result.run.attempt}"
    if entry is None or entry.endpoint != number:
        logger.warning("%s set aside: endpoint %s was never sent it", what, endpoint_id)
    elif not entry.open and entry.attempt == result.run.attempt:
        logger.info("%s told again by endpoint %s: it is %s", what, endpoint_id, entry.state.state.value)
    else:
        state = f"{entry.state.state.value}, attempt {entry.attempt}"
        logger.warning("%s from endpoint %s set aside: the task is %s", what, endpoint_id, state)


def hello(tx: Transaction, dispatcher: Dispatcher, endpoint_id: UUID, message: Hello) -> HelloDone:
    """Begins a session: compares the agent's inventory with what was sent to it.

    Raises:
        NotFound: The endpoint is not registered here, or was deleted.
    """
    number, journal_id = _endpoint(tx, endpoint_id)
    ledger = Ledger(tx, dispatcher)
    sent = {entry.task_id.int: entry for entry in ledger.entries(tx.all("tasks_out", number))}
    if journal_id not in (None, message.journal_id.bytes):
        for entry in sent.values():
            ledger.break_off(entry, "the agent came back without the journal that held this task")
        ledger.write()
        sent = {}
    inventory = _Inventory(tx, ledger, number, message, sent)
    inventory.take(message)
    for key, entry in sent.items():
        if key not in inventory.named:
            ledger.requeue(entry, entry.attempt)
    ledger.write()
    tx.run(
        "endpoint_said_hello",
        message.journal_id.bytes,
        message.boot_id.bytes,
        json.dumps(dict(message.agent)),
        tx.now,
        number,
    )
    dispatcher.connect(tx, number, endpoint_id, message.session, _workers(message.agent))
    return HelloDone(
        Welcome(message.session, tuple(inventory.drop)), tuple(ledger.moves), tuple(ledger.results)
    )


def _endpoint(tx: Transaction, endpoint_id: UUID) -> tuple[int, bytes | None]:
    row = tx.one("endpoint_access", endpoint_id.bytes)
    if row is None:
        raise NotFound(f"endpoint {endpoint_id} is not registered here: its agent must register again")
    return row[0], row[3]


def _task_ids(message: Report) -> list[UUID]:
    runs = [*message.held, *message.returned]
    runs += [started.run for started in message.running]
    runs += [result.run for result in message.results]
    return [run.task_id for run in runs]


class _Inventory:
    """What an agent holds: the tasks that it names by right, and the runs it is to forget."""

    def __init__(
        self,
        tx: Transaction,
        ledger: Ledger,
        number: int,
        message: Hello,
        sent: Mapping[int, Entry],
    ) -> None:
        runs = [*message.held, *message.running, *message.done, *(b.run for b in message.broken)]
        unsent = [run.task_id for run in runs if run.task_id.int not in sent]
        self.named: set[int] = set()
        self.drop: list[Run] = []
        self._entries = {**ledger.find(unsent), **sent}
        self._now = tx.now
        self._ledger = ledger
        self._number = number

    def take(self, message: Hello) -> None:
        """Moves each task to where the agent has it."""
        for run in message.held:
            self._has(run, DELIVERED)
        for run in message.running:
            self._has(run, RUNNING)
        for run in message.done:
            self._has_ended(run)
        for run, reason in message.broken:
            entry = self._entries.get(run.task_id.int)
            if entry is not None and entry.runs_as(run, self._number):
                self._ledger.break_off(entry, reason)
                self.named.add(run.task_id.int)
            self.drop.append(run)

    def _has(self, run: Run, state: StoredState) -> None:
        entry = self._entries.get(run.task_id.int)
        if entry is not None and entry.runs_as(run, self._number):
            self.named.add(run.task_id.int)
            self._ledger.adopt(entry)
            self._ledger.mark(entry, state, self._now if state is RUNNING else None)
        elif state is not RUNNING or not self._is_late(run, entry):
            self.drop.append(run)

    def _is_late(self, run: Run, entry: Entry | None) -> bool:
        """True for a run whose task was given up as LOST: its value still counts."""
        return (
            entry is not None
            and entry.endpoint == self._number
            and entry.state is LOST
            and entry.attempt == run.attempt
        )

    def _has_ended(self, run: Run) -> None:
        """A run whose result follows; of an older attempt too, if the task can still take it."""
        entry = self._entries.get(run.task_id.int)
        if entry is None or entry.endpoint != self._number or not SUCCEEDED.reachable(entry.state):
            self.drop.append(run)
        elif entry.runs_as(run, self._number):
            self.named.add(run.task_id.int)
            self._ledger.adopt(entry)


def _workers(agent: Mapping[str, Any]) -> int:
    workers = agent.get("workers")
    return workers if isinstance(workers, int) and workers > 0 else 1
