"""This module is the ending of tasks from the service's side: cancel, expiry, loss, an endpoint's removal.

Each function does a bounded part and says whether more is left, so that a group of 100,000 tasks never
keeps other requests waiting.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from compute_nb.service.dispatch import Dispatcher
from compute_nb.service.ledger import CANCELLED_TEXT, Entry, Ledger
from compute_nb.service.registry import managed_endpoint, owned_group
from compute_nb.service.rows import Ended
from compute_nb.service.statements import CANCELLED, FAILED, LOST, WAITING
from compute_nb.service.transaction import Transaction
from compute_nb.tasks import ErrorCode

PART = 2_000
HOLD_S = 3600.0
# Before any id: the nil UUID is refused as one.
FIRST = bytes(16)


class Part(NamedTuple):
    """What one step has ended, and where the next one begins; None if nothing is left."""

    ended: Ended
    after: bytes | None = None


class Due(NamedTuple):
    """A task group in which something may have expired, and what its first steps have found.

    Attributes:
        after: The last task that was looked at.
        next_s: When the first of the tasks seen so far expires that are still open.
    """

    group: int
    after: bytes = FIRST
    next_s: float | None = None


def cancel_tasks(tx: Transaction, dispatcher: Dispatcher, owner: UUID, task_ids: Sequence[UUID]) -> Part:
    """Cancels those of the tasks that are the owner's and open."""
    ledger = Ledger(tx, dispatcher)
    for entry in _own_open(tx, dispatcher, ledger, owner, task_ids):
        _cancel(ledger, entry, CANCELLED_TEXT)
    return Part(ledger.ended())


def cancel_group(tx: Transaction, dispatcher: Dispatcher, owner: UUID, group_id: UUID, after: bytes) -> Part:
    """Cancels the open ones among the next tasks of a group."""
    ledger = Ledger(tx, dispatcher)
    number = owned_group(tx, owner, group_id)
    rows = tx.all("standing_of_group", number, after, PART)
    for entry in ledger.entries(row[:11] for row in rows):
        if entry.open:
            _cancel(ledger, entry, CANCELLED_TEXT)
    return Part(ledger.ended(), rows[-1][1] if len(rows) == PART else None)


def lose_tasks(tx: Transaction, dispatcher: Dispatcher, owner: UUID, task_ids: Sequence[UUID]) -> Part:
    """Gives up those of the tasks that are the owner's and open; a late value still counts."""
    ledger = Ledger(tx, dispatcher)
    for entry in _own_open(tx, dispatcher, ledger, owner, task_ids):
        text = "given up by its owner: submit it again; should a value still come, a reload shows it"
        ledger.end(entry, LOST, text, ErrorCode.LOST)
    return Part(ledger.ended())


def due_group(tx: Transaction, now: float) -> Due | None:
    """Returns a group in which something may have expired."""
    row = tx.one("group_due", now)
    return None if row is None else Due(row[0])


def expire(tx: Transaction, dispatcher: Dispatcher, due: Due, now: float) -> tuple[Ended, Due | None]:
    """Ends those among the next tasks of a group whose time is over; None if the group is done."""
    ledger = Ledger(tx, dispatcher)
    rows = tx.all("standing_of_group", due.group, due.after, PART)
    entries = ledger.entries(row[:11] for row in rows)
    later = [] if due.next_s is None else [due.next_s]
    for entry, row in zip(entries, rows, strict=True):
        if entry.open and row[11] <= now:
            _expire(ledger, entry)
        elif entry.open:
            later.append(row[11])
    ended, next_s = ledger.ended(), min(later, default=None)
    if len(rows) == PART:
        return ended, Due(due.group, rows[-1][1], next_s)
    # Never "not again": a task may have come while the pages were looked at.
    tx.run("set_next_expiry", tx.expires if next_s is None else next_s, due.group)
    return ended, None


def _expire(ledger: Ledger, entry: Entry) -> None:
    if entry.state is WAITING:
        text = "its endpoint did not take it in time, so it never began: start the endpoint and submit again"
        ledger.call_off(entry, FAILED, text, ErrorCode.EXPIRED)
    else:
        text = "its endpoint took it and gave no result in time: look there, then submit it again"
        ledger.call_off(entry, LOST, text, ErrorCode.LOST)


def end_stale_hold(tx: Transaction, dispatcher: Dispatcher, now: float) -> Part:
    """Cancels tasks of one hold that nobody has released within an hour."""
    ledger = Ledger(tx, dispatcher)
    row = tx.one("stale_hold", now - HOLD_S)
    if row is None:
        return Part(ledger.ended())
    hold, group = row
    text = "the submit that it is a part of was never completed, so no task of it began: submit again"
    room = PART
    for (endpoint,) in tx.all("endpoints_of_hold", hold):
        held = tx.all("held_tasks", endpoint, group, hold, room)
        for entry in ledger.entries(held):
            _cancel(ledger, entry, text)
        room -= len(held)
    if room:
        tx.run("drop_hold", hold)
        tx.run("drop_hold_endpoints", hold)
    return Part(ledger.ended(), b"")


def delete_endpoint(tx: Transaction, dispatcher: Dispatcher, owner: UUID, endpoint_id: UUID) -> Part:
    """Removes an endpoint; what it had not taken FAILED, what it had is LOST."""
    ledger = Ledger(tx, dispatcher)
    core = managed_endpoint(tx, owner, endpoint_id)
    for number in (core, *(row[0] for row in tx.all("user_endpoints_of", core))):
        waiting = tx.all("waiting_of_endpoint", number, PART)
        for entry in ledger.entries(waiting):
            text = f"endpoint {endpoint_id} was deleted before it took this task: submit it to another one"
            ledger.end(entry, FAILED, text, ErrorCode.EXPIRED)
        if len(waiting) == PART:
            return Part(ledger.ended(), b"")
        for entry in ledger.entries(tx.all("tasks_out", number)):
            text = f"endpoint {endpoint_id} was deleted while it had this task: submit it to another one"
            ledger.call_off(entry, LOST, text, ErrorCode.LOST)
        dispatcher.disconnect(tx, number, None)
    tx.run("delete_endpoint", tx.now, endpoint_id.bytes)
    return Part(ledger.ended())


def _cancel(ledger: Ledger, entry: Entry, text: str) -> None:
    ledger.call_off(entry, CANCELLED, text, ErrorCode.CANCELLED)


def _own_open(
    tx: Transaction, dispatcher: Dispatcher, ledger: Ledger, owner: UUID, task_ids: Iterable[UUID]
) -> list[Entry]:
    return [
        entry
        for entry in ledger.find(task_ids).values()
        if entry.open and dispatcher.group(tx, entry.group)[1] == owner.bytes
    ]
