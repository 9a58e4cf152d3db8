"""This module is the retention: what has ended is forgotten once it was kept long enough, or is deleted.

Each function does a part that takes milliseconds and says whether more is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from compute_nb.service.dispatch import Dispatcher
from compute_nb.service.ledger import Entry, Ledger
from compute_nb.service.registry import owned_group
from compute_nb.service.statements import STATES
from compute_nb.service.transaction import Transaction

DAY_S = 86_400.0
# Tasks that a step looks at: few where a step takes long (a busy machine, a slow disk), since others wait.
FEWEST, FIRST, PART = 50, 100, 200
_SHORT_S, _LONG_S = 0.02, 0.05
# Pages that a step gives back to the disk, 4 KB each.
PAGES = 100


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a value is kept, in seconds.

    Attributes:
        fetched_s: From the last time that somebody was handed it.
        unfetched_s: From its end, if nobody was.
    """

    fetched_s: float = 30 * DAY_S
    unfetched_s: float = 180 * DAY_S

    def over(self, submitted: float, ended: float, fetched: float | None, now: float) -> bool:
        """True if a task that has ended is to be forgotten.

        When it ended says its agent, whose clock may be wrong: what can't be is taken as the submit.
        """
        if not submitted <= ended <= now:
            ended = submitted
        if fetched is None:
            return ended + self.unfetched_s <= now
        return max(ended, fetched) + self.fetched_s <= now

    @property
    def shortest_s(self) -> float:
        """No task younger than this need be looked at."""
        return min(self.fetched_s, self.unfetched_s)


class Stride:
    """How many tasks the next step looks at, by how long the ones before have taken.

    Attributes:
        tasks: So many.
    """

    def __init__(self) -> None:
        self.tasks = FIRST

    def took(self, seconds: float) -> None:
        """A step of this size took so long, without its commit: that is as long for a smaller one."""
        if seconds > _LONG_S:
            self.tasks = max(self.tasks // 2, FEWEST)
        elif seconds < _SHORT_S:
            self.tasks = min(self.tasks * 2, PART)


class Swept(NamedTuple):
    """What a step has done.

    Attributes:
        after: The last task that was looked at; None if no more are old enough.
    """

    deleted: int
    after: int | None


class Deleted(NamedTuple):
    """What a deletion has done.

    Attributes:
        open: Tasks that stay, since they have not ended.
        after: The last task that was looked at; None if that was all.
    """

    deleted: int
    open: int
    after: bytes | None = None


def sweep(tx: Transaction, kept: Retention, after: int, limit: int, now: float) -> Swept:
    """Forgets those among the next `limit` tasks that were kept long enough."""
    rows = tx.all("stored_tasks", after, limit)
    due = [
        (number, group, code)
        for number, group, code, submitted, ended, fetched in rows
        if not STATES[code].open and kept.over(submitted, ended, fetched, now)
    ]
    _forget(tx, due)
    # They stand in the order in which they were submitted: after the first young one there is no old one.
    more = len(rows) == limit and rows[-1][3] + kept.shortest_s <= now
    return Swept(len(due), rows[-1][0] if more else None)


def delete_tasks(tx: Transaction, dispatcher: Dispatcher, owner: UUID, task_ids: Sequence[UUID]) -> Deleted:
    """Forgets those of the tasks that are the owner's and have ended."""
    found = Ledger(tx, dispatcher).find(task_ids).values()
    return _delete(tx, [e for e in found if dispatcher.group(tx, e.group)[1] == owner.bytes], None)


def delete_group(  # noqa: PLR0917
    tx: Transaction, dispatcher: Dispatcher, owner: UUID, group_id: UUID, after: bytes, limit: int
) -> Deleted:
    """Forgets those among the next `limit` tasks of a group that have ended.

    Raises:
        NotFound, Forbidden: There is no such group, or it is somebody else's.
    """
    number = owned_group(tx, owner, group_id)
    rows = tx.all("standing_of_group", number, after, limit)
    entries = Ledger.entries(row[:11] for row in rows)
    return _delete(tx, entries, rows[-1][1] if len(rows) == limit else None)


def _delete(tx: Transaction, entries: Iterable[Entry], after: bytes | None) -> Deleted:
    entries = list(entries)
    due = [(e.number, e.group, e.state.code) for e in entries if not e.open]
    _forget(tx, due)
    return Deleted(len(due), len(entries) - len(due), after)


def _forget(tx: Transaction, due: Sequence[tuple[int, int, int]]) -> None:
    """Drops tasks, given as number, group and state, and the groups that are empty then."""
    if not due:
        return
    numbers = [number for number, _, _ in due]
    for name in ("drop_result", "drop_payload", "drop_task"):
        tx.run_ids(name, numbers)
    for _, _, code in due:
        tx.count(STATES[code], -1)
    tx.many("drop_group", [(group,) for group in {group for _, group, _ in due}])


def note_fetched(tx: Transaction, task_ids: Iterable[bytes]) -> None:
    """Notes that somebody was handed the values of tasks."""
    rows = [(tx.now, task_id, tx.now - DAY_S) for task_id in task_ids]
    if rows:
        tx.many("note_fetched", rows)
