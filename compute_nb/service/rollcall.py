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
from compute_nb.service.transaction import Transaction
from compute_nb.tasks import MOVES, Hello, Report, Run, TaskState
from compute_nb.wire import Welcome

logger = logging.getLogger(__name__)


def report(tx: Transaction, dispatcher: Dispatcher, endpoint_id: UUID, message: Report) -> ReportDone:
    """Takes marks, results and runs that were handed back.

    Results count whatever their session is. Marks and hand-backs count only in the current session: an
    older one's inventory has been taken since.
    """
    number, _ = _endpoint(tx, endpoint_id)
    ledger = Ledger(tx, dispatcher)
    current = message.session == dispatcher.session(number)
    entries = ledger.find(_task_ids(message))
    if current:
        for run in message.held:
            if (entry := _sent(entries, run, number)) is not None:
                ledger.mark(entry, TaskState.DELIVERED)
        for run, started_at in message.running:
            if (entry := _sent(entries, run, number)) is not None:
                ledger.mark(entry, TaskState.RUNNING, started_at)
        for run in message.returned:
            if (entry := _sent(entries, run, number)) is not None:
                ledger.requeue(entry, entry.attempt)
    for result in message.results:
        entry = entries.get(result.run.task_id)
        if entry is None or entry.endpoint != number or not ledger.take(entry, result):
            logger.warning(
                "set aside: %s of task %s, attempt %d, from endpoint %s, where it is %s",
                result.outcome.value,
                result.run.task_id,
                result.run.attempt,
                endpoint_id,
                _standing(entry, number),
            )
    ledger.write()
    dispatcher.finished(number, len(message.results), tx.now)
    stored = tuple(result.run for result in message.results)
    return ReportDone(stored, tuple(ledger.moves), tuple(ledger.results))


def hello(tx: Transaction, dispatcher: Dispatcher, endpoint_id: UUID, message: Hello) -> HelloDone:
    """Begins a session: compares the agent's inventory with what was sent to it.

    Raises:
        NotFound: The endpoint is not registered here, or was deleted.
    """
    number, journal_id = _endpoint(tx, endpoint_id)
    ledger = Ledger(tx, dispatcher)
    sent = ledger.entries(tx.all("tasks_out", number))
    if journal_id not in (None, message.journal_id.bytes):
        for entry in sent.values():
            ledger.break_off(entry, "the agent came back without the journal that held this task")
        ledger.write()
        sent = {}
    named, drop = _take_inventory(tx, ledger, number, message, sent)
    for entry in sent.values():
        if entry.open and entry.sent_at is not None and entry.task_id not in named:
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
    return HelloDone(Welcome(message.session, tuple(drop)), tuple(ledger.moves), tuple(ledger.results))


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


def _sent(entries: Mapping[UUID, Entry], run: Run, number: int) -> Entry | None:
    """The task of a run, if this very run was sent to that endpoint and is open."""
    entry = entries.get(run.task_id)
    if entry is None or entry.endpoint != number or not entry.open or entry.sent_at is None:
        return None
    return entry if entry.attempt == run.attempt else None


def _standing(entry: Entry | None, number: int) -> str:
    if entry is None or entry.endpoint != number:
        return "unknown"
    return f"{entry.state.value} in attempt {entry.attempt}"


def _take_inventory(
    tx: Transaction, ledger: Ledger, number: int, message: Hello, sent: Mapping[UUID, Entry]
) -> tuple[set[UUID], list[Run]]:
    """Returns the tasks that the agent rightly has, and the runs it is to forget."""
    runs = [*message.held, *message.running, *message.done, *(b.run for b in message.broken)]
    others = [run.task_id for run in runs if run.task_id not in sent]
    entries = {**ledger.find(others), **sent}
    named: set[UUID] = set()
    drop: list[Run] = []

    def wanted(run: Run) -> Entry | None:
        entry = entries.get(run.task_id)
        if entry is None or entry.endpoint != number or entry.attempt != run.attempt:
            return None
        return entry if entry.open else None

    for runs_of, state in ((message.held, TaskState.DELIVERED), (message.running, TaskState.RUNNING)):
        for run in runs_of:
            entry = wanted(run)
            if entry is not None:
                named.add(run.task_id)
                ledger.adopt(entry)
                ledger.mark(entry, state, tx.now if state is TaskState.RUNNING else None)
            elif not (state is TaskState.RUNNING and _late(entries.get(run.task_id), run, number)):
                drop.append(run)
    for run in message.done:
        entry = entries.get(run.task_id)
        if entry is None or entry.endpoint != number or TaskState.SUCCEEDED not in MOVES[entry.state]:
            drop.append(run)
        elif (entry := wanted(run)) is not None:
            named.add(run.task_id)
            ledger.adopt(entry)
    for run, reason in message.broken:
        if (entry := wanted(run)) is not None:
            ledger.break_off(entry, reason)
            named.add(run.task_id)
        drop.append(run)
    return named, drop


def _late(entry: Entry | None, run: Run, number: int) -> bool:
    """True for a run whose task was given up as LOST: its value still counts."""
    return (
        entry is not None
        and entry.endpoint == number
        and entry.state is TaskState.LOST
        and entry.attempt == run.attempt
    )


def _workers(agent: Mapping[str, Any]) -> int:
    workers = agent.get("workers")
    return workers if isinstance(workers, int) and workers > 0 else 1
