"""This module is the ledger: the only place where a task that is stored changes its state.

A `Ledger` belongs to one operation. It looks tasks up once, moves them in memory by the table of
`compute_nb.tasks`, and writes all that changed in few statements, which ask the table again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from uuid import UUID

from compute_nb.service.dispatch import Dispatcher
from compute_nb.service.rows import Ended, uuid_of
from compute_nb.service.statements import CODES, MAY_BECOME, MAY_REQUEUE, STATES
from compute_nb.service.transaction import Transaction
from compute_nb.tasks import (
    MOVES,
    OPEN,
    ErrorCode,
    IllegalMove,
    Move,
    Outcome,
    Run,
    RunResult,
    TaskResult,
    TaskState,
    move,
)

logger = logging.getLogger(__name__)

CANCELLED_TEXT = "cancelled"
_OUTCOMES = {
    Outcome.SUCCESS: TaskState.SUCCEEDED,
    Outcome.ERROR: TaskState.FAILED,
    Outcome.DIED: TaskState.FAILED,
    Outcome.CANCELLED: TaskState.CANCELLED,
}


class Entry:
    """A task as this operation sees it."""

    __slots__ = (
        "attempt",
        "endpoint",
        "group",
        "hold",
        "number",
        "retries",
        "sent_at",
        "started_at",
        "state",
        "submitted_at",
        "task_id",
    )

    def __init__(
        self, row: tuple[int, bytes, int, int, int, int, int, float, float | None, float | None, int]
    ) -> None:
        self.number, task_id, self.group, self.endpoint, code = row[:5]
        self.attempt, self.retries, self.submitted_at, self.started_at, self.sent_at, self.hold = row[5:]
        self.task_id = uuid_of(task_id)
        self.state = STATES[code]

    @property
    def open(self) -> bool:
        """True if the task has not ended."""
        return self.state in OPEN


class Ledger:
    """The moves of one operation; call `write` at its end.

    Args:
        tx: The transaction.
        dispatcher: Hears what is freed and what is to be sent again.
    """

    def __init__(self, tx: Transaction, dispatcher: Dispatcher) -> None:
        self.moves: list[Move] = []
        self.results: list[TaskResult] = []
        self._tx = tx
        self._dispatcher = dispatcher
        self._marks: list[tuple[object, ...]] = []
        self._requeues: list[tuple[object, ...]] = []
        self._ends: list[tuple[object, ...]] = []
        self._bodies: list[tuple[int, str, str | None]] = []
        self._runs: dict[int, list[Run]] = {}

    def find(self, task_ids: Iterable[UUID]) -> dict[UUID, Entry]:
        """Returns the tasks of these ids that are known."""
        blobs = list({task_id.bytes: None for task_id in task_ids})
        return self.entries(self._tx.by_ids("tasks", blobs))

    @staticmethod
    def entries(rows: Iterable[tuple[int, ...]]) -> dict[UUID, Entry]:
        """Returns rows of the task statements by id, in their order."""
        found = [Entry(row) for row in rows]  # type: ignore[arg-type]
        return {entry.task_id: entry for entry in found}

    def mark(self, entry: Entry, state: TaskState, started_at: float | None = None) -> bool:
        """The agent has the task (DELIVERED) or runs it (RUNNING); False if that is no news."""
        if state not in MOVES[entry.state]:
            return False
        self._go(entry, state)
        entry.started_at = started_at
        self._note_mark(entry)
        self.moves.append(self._move(entry))
        return True

    def adopt(self, entry: Entry) -> None:
        """The agent has a task that the store, younger by a power cut, does not know as sent."""
        if entry.sent_at is None:
            entry.sent_at = self._tx.now
            self._note_mark(entry)

    def requeue(self, entry: Entry, attempt: int) -> None:
        """The task is to be sent again, under this attempt."""
        if entry.state is not TaskState.WAITING:
            self._go(entry, TaskState.WAITING)
        entry.attempt, entry.started_at, entry.sent_at = attempt, None, None
        self._requeues.append((attempt, entry.number, MAY_REQUEUE))
        self._dispatcher.freed(entry.endpoint, entry.number)
        self._dispatcher.wait(entry.endpoint, entry.group, entry.hold)
        self.moves.append(self._move(entry))

    def break_off(self, entry: Entry, reason: str) -> None:
        """The run was lost with its worker or agent: next attempt, or LOST if none is left."""
        if entry.attempt < entry.retries:
            self.requeue(entry, entry.attempt + 1)
            return
        text = (
            f"{reason}; it had begun, or may have ({_attempts(entry)}), so nobody can know what it did: "
            "look there, then submit it again, or give retries=N to tasks that may begin twice"
        )
        self.end(entry, TaskState.LOST, text, ErrorCode.LOST)

    def take(self, entry: Entry, result: RunResult) -> bool:
        """Takes the end of a run as an agent reports it; False if it does not count."""
        state = _OUTCOMES[result.outcome]
        final = result.outcome in (Outcome.SUCCESS, Outcome.ERROR)
        if state not in MOVES[entry.state] or not (final or result.run.attempt == entry.attempt):
            return False
        if result.outcome is Outcome.DIED and entry.open and entry.attempt < entry.retries:
            self.requeue(entry, entry.attempt + 1)
            return True
        text, code = result.data, result.error_code
        if result.outcome is Outcome.DIED:
            text = (
                f"{text}\n{_attempts(entry)}; submit it again, or give retries=N to tasks "
                "that may begin again"
            )
            code = code or ErrorCode.WORKER_DIED
        elif result.outcome is Outcome.CANCELLED:
            text, code = CANCELLED_TEXT, ErrorCode.CANCELLED
        entry.attempt = result.run.attempt
        entry.started_at = result.started_at
        self.end(entry, state, text, code, result.ended_at)
        return True

    def end(
        self,
        entry: Entry,
        state: TaskState,
        text: str,
        error_code: str | None,
        ended_at: float | None = None,
    ) -> None:
        """The end of a task, with its packed value or the text of its error."""
        self._go(entry, state)
        ended_at = self._tx.now if ended_at is None else ended_at
        self._ends.append(
            (
                CODES[state],
                entry.attempt,
                entry.started_at,
                ended_at,
                entry.number,
                entry.endpoint,
                MAY_BECOME[state],
            )
        )
        if state is not TaskState.CANCELLED:
            self._bodies.append((entry.number, text, error_code))
        self._dispatcher.freed(entry.endpoint, entry.number)
        self.results.append(
            TaskResult(
                entry.task_id,
                self._dispatcher.group(self._tx, entry.group)[0],
                state,
                text,
                error_code,
                entry.attempt,
                entry.submitted_at,
                entry.started_at,
                ended_at,
            )
        )

    def call_off(self, entry: Entry, state: TaskState, text: str, error_code: str) -> None:
        """Ends a task from the service's side; if it was sent, its agent is to be told."""
        if entry.sent_at is not None:
            self._runs.setdefault(entry.endpoint, []).append(Run(entry.task_id, entry.attempt))
        self.end(entry, state, text, error_code)

    def write(self) -> None:
        """Writes all moves so far; rows read from now on show them.

        Raises:
            IllegalMove: The database did not agree that a task may move so.
        """
        # In the order in which one task may pass through them within one operation.
        for name, rows in (
            ("mark_task", self._marks),
            ("requeue_task", self._requeues),
            ("end_task", self._ends),
        ):
            if rows and (changed := self._tx.many(name, rows)) != len(rows):
                raise IllegalMove(f"{name} changed {changed} tasks of {len(rows)}: {rows[:3]}")
            rows.clear()
        if self._bodies:
            self._tx.many("set_result", self._bodies)
            self._bodies.clear()

    def ended(self) -> Ended:
        """Writes all moves and returns the ends."""
        self.write()
        runs = {
            uuid_of(self._tx.one("endpoint_id", number)[0]): tuple(runs)
            for number, runs in self._runs.items()
        }
        return Ended(tuple(self.results), runs)

    def _go(self, entry: Entry, state: TaskState) -> None:
        self._tx.count(entry.state, -1)
        entry.state = move(entry.task_id, entry.state, state)
        self._tx.count(state, 1)

    def _move(self, entry: Entry) -> Move:
        at = entry.started_at if entry.state is TaskState.RUNNING else None
        group_id, _ = self._dispatcher.group(self._tx, entry.group)
        return Move(entry.task_id, group_id, entry.state, entry.attempt, at or self._tx.now)

    def _note_mark(self, entry: Entry) -> None:
        code = CODES[entry.state]
        self._marks.append(
            (
                code,
                entry.started_at,
                entry.sent_at,
                entry.number,
                entry.attempt,
                MAY_BECOME[entry.state] | 1 << code,
            )
        )


def _attempts(entry: Entry) -> str:
    return f"attempt {entry.attempt + 1} of {entry.retries + 1}"
