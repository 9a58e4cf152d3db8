"""This module is the retry: tasks that gave no value run again in their places, as tasks of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from compute_nb.service.dispatch import Dispatcher
from compute_nb.service.rows import Conflict, NotFound, RetryDone, uuid_of
from compute_nb.service.statements import STATES, SUCCEEDED, WAITING
from compute_nb.service.transaction import Transaction


class _Task(NamedTuple):
    number: int
    task_id: bytes
    state: int
    endpoint: int
    group: int


def retry(
    tx: Transaction,
    dispatcher: Dispatcher,
    owner: UUID,
    pairs: Sequence[tuple[UUID, UUID]],
    next_number: Callable[[Transaction], int],
) -> RetryDone:
    """Has tasks run again, all or none; a repeat stores nothing.

    Args:
        pairs: A task that is to run again, and the id that it runs under then.
        next_number: Draws the number of a new task.

    Raises:
        NotFound: An endpoint was deleted.
        Conflict: A new id is in use already.
    """
    newest: list[tuple[UUID, UUID]] = []
    started: set[tuple[UUID, UUID]] = set()
    for old, new in pairs:
        row = tx.one("place_of_task", owner.bytes, old.bytes)
        if row is None:
            continue
        last, met = _end_of_chain(tx, _Task(*row[:5]), new)
        state = STATES[last.state]
        if met or state.open or state is SUCCEEDED:
            newest.append((old, uuid_of(last.task_id)))
            continue
        if not row[6]:
            raise NotFound(
                f"task {old} can't run again: its endpoint {uuid_of(row[5])} was deleted; submit to "
                "another one"
            )
        _add(tx, last, new, next_number(tx))
        dispatcher.wait(tx, last.endpoint, last.group, 0)
        newest.append((old, new))
        started.add((uuid_of(row[5]), dispatcher.group(tx, last.group)[0]))
    return RetryDone(tuple(newest), frozenset(started))


def _end_of_chain(tx: Transaction, task: _Task, new: UUID) -> tuple[_Task, bool]:
    """Returns the newest task in the place of one, and whether `new` has stood there."""
    met = False
    row: Any = task
    while row is not None:
        task = _Task(*row)
        met = met or task.task_id == new.bytes
        row = tx.one("retry_of", task.task_id)
    return task, met


def _add(tx: Transaction, old: _Task, new: UUID, number: int) -> None:
    try:
        tx.run("add_retry", number, new.bytes, tx.now, tx.expires, old.number)
    except tx.duplicate as error:
        raise Conflict(
            f"task id {new} is in use already: nothing was stored, ask again with new ids"
        ) from error
    if tx.run("copy_payload", number, old.number) != 1:
        raise NotFound(
            f"task {uuid_of(old.task_id)} can't run again: its inputs were deleted; submit it again"
        )
    tx.count(WAITING, 1)
