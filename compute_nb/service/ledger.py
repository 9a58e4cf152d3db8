"""This module is the ledger: the only place where a task that is stored changes its state.

A `Ledger` belongs to one operation. It looks tasks up once, moves them in memory by the table of
`compute_nb.tasks`, and writes all that changed in few statements, which ask the table again.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

from compute_nb.service.dispatch import Dispatcher
from compute_nb.service.rows import Ended, uuid_of
from compute_nb.service.statements import (
    CANCELLED,
    FAILED,
    LOST,
    RUNNING,
    STATES,
    SUCCEEDED,
    WAITING,
    StoredState,
)
from compute_nb.service.transaction import Transaction
from compute_nb.tasks import ErrorCode, IllegalMove, Move, Outcome, Run, RunResult, TaskResult

CANCELLED_TEXT = "cancelled"
# What was sent can be sent again; for a task that is WAITING already this is no move.
_MAY_REQUEUE = WAITING.sources | 1 << WAITING.code


class Entry:
    """A task as this operation sees it.

    Args:
        row: As the statements that say where tasks stand give it.
        task_id: The second value in it.
    """

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

    def __init__(self, row: Any, task_id: UUID) -> None:
        (
            self.number,
            _,
            self.group,
            self.endpoint,
            code,
            self.attempt,
            self.retries,
            self.submitted_at,
            self.started_at,
            self.sent_at,
            self.hold,
        ) = row
        self.state: StoredState = STATES[code]
        self.task_id = task_id

    @property
    def open(self) -> bool:
        """True if the task has not ended."""
        return self.state.open

    def runs_as(self, run: Run, endpoint: int) -> bool:
        """True if that endpoint has this very run by right: it is open and of this attempt."""
        return self.open and (self.endpoint, self.attempt) == (endpoint, run.attempt)


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
        self._marks: list[tuple[Any, ...]] = []
        self._requeues: list[tuple[Any, ...]] = []
        self._ends: list[tuple[Any, ...]] = []
        self._bodies: list[tuple[int, str, str | None]] = []
        self._runs: dict[int, list[Run]] = {}
        self._group_ids: dict[int, UUID] = {}

    # -- looking up ---------------------------------------------------------------------------

    def find(self, task_ids: Iterable[UUID]) -> dict[int, Entry]:
        """Returns the tasks of these ids that are known, by the integer in the id."""
        # UUIDs hash in Python, integers don't: this is on the way of every task.
        ids = {task_id.int: task_id for task_id in task_ids}
        rows = self._tx.by_ids("tasks", [task_id.bytes for task_id in ids.values()])
        keyed = [(int.from_bytes(row[1], "big"), row) for row in rows]
        return {key: Entry(row, ids[key]) for key, row in keyed}

    @staticmethod
    def entries(rows: Iterable[Any]) -> list[Entry]:
        """Returns rows of the task statements, in their order."""
        return [Entry(row, uuid_of(row[1])) for row in rows]

    # -- moves --------------------------------------------------------------------------------

    def mark(self, entry: Entry, state: StoredState, started_at: float | None = None) -> None:
        """The agent has the task (DELIVERED) or runs it (RUNNING); nothing if that is no news."""
        if state.reachable(entry.state):
            self._go(entry, state)
            entry.started_at = started_at
            self._note_mark(entry)
            self.moves.append(self._move(entry))

    def adopt(self, entry: Entry) -> None:
        """The agent has a task that the store, set back by a power cut, does not know as sent."""
        if entry.sent_at is None:
            entry.sent_at = self._tx.now
            self._note_mark(entry)

    def requeue(self, entry: Entry, attempt: int) -> None:
        """The task is to be sent again, under this attempt."""
        if entry.state is not WAITING:
            self._go(entry, WAITING)
        entry.attempt, entry.started_at, entry.sent_at = attempt, None, None
        self._requeues.append((attempt, entry.number, _MAY_REQUEUE))
        self._dispatcher.freed(entry.endpoint, [entry.number])
        self._dispatcher.wait(self._tx, entry.endpoint, entry.group, entry.hold)
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
        self.end(entry, LOST, text, ErrorCode.LOST)

    def take(self, entry: Entry, result: RunResult) -> bool:
        """Takes the end of a run as its agent reports it; False if it does not count."""
        run, outcome, text, error_code, started_at, ended_at = result
        if outcome is Outcome.SUCCESS or outcome is Outcome.ERROR:
            state = SUCCEEDED if outcome is Outcome.SUCCESS else FAILED
        elif run.attempt != entry.attempt:
            return False
        elif outcome is Outcome.CANCELLED:
            state, text, error_code = CANCELLED, CANCELLED_TEXT, ErrorCode.CANCELLED
        elif entry.open and entry.attempt < entry.retries:
            self.requeue(entry, entry.attempt + 1)
            return True
        else:
            state, error_code = FAILED, error_code or ErrorCode.WORKER_DIED
            if entry.retries:
                text = f"{text}\n{_attempts(entry)}"
        if not state.reachable(entry.state):
            return False
        entry.attempt, entry.started_at = run.attempt, started_at
        self.end(entry, state, text, error_code, ended_at)
        return True

    def end(
        self,
        entry: Entry,
        state: StoredState,
        text: str,
        error_code: str | None,
        ended_at: float | None = None,
    ) -> None:
        """The end of a task, with its packed value or the text of its error."""
        if not text.isascii():  # a lone surrogate can be stored nowhere, and would stop all that came with it
            text = text.encode("utf-8", "backslashreplace").decode()
        if "\0" in text:  # nor can this one, in PostgreSQL
            text = text.replace("\0", "\\x00")
        self._go(entry, state)
        number, endpoint, attempt, started_at = (
            entry.number,
            entry.endpoint,
            entry.attempt,
            entry.started_at,
        )
        ended_at = self._tx.now if ended_at is None else ended_at
        self._ends.append((state.code, attempt, started_at, ended_at, number, endpoint, state.sources))
        if state is not CANCELLED:
            self._bodies.append((number, text, error_code))
        self.results.append(
            TaskResult(
                entry.task_id,
                self._group_id(entry.group),
                state.state,
                text,
                error_code,
                attempt,
                entry.submitted_at,
                started_at,
                ended_at,
            )
        )

    def call_off(self, entry: Entry, state: StoredState, text: str, error_code: str) -> None:
        """Ends a task from the service's side; if it was sent, its agent is to be told."""
        if entry.sent_at is not None:
            self._runs.setdefault(entry.endpoint, []).append(Run(entry.task_id, entry.attempt))
        self.end(entry, state, text, error_code)

    # -- writing ------------------------------------------------------------------------------

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
        for endpoint, ends in groupby(self._ends, key=itemgetter(5)):
            self._dispatcher.freed(endpoint, [end[4] for end in ends])
        for written in (self._marks, self._requeues, self._ends):
            written.clear()
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

    def _go(self, entry: Entry, state: StoredState) -> None:
        old = entry.state
        if not state.reachable(old):
            raise IllegalMove(f"task {entry.task_id} cannot go from {old.state.value} to {state.state.value}")
        self._tx.count(old, -1)
        self._tx.count(state, 1)
        entry.state = state

    def _move(self, entry: Entry) -> Move:
        at = entry.started_at if entry.state is RUNNING else None
        group_id = self._group_id(entry.group)
        return Move(entry.task_id, group_id, entry.state.state, entry.attempt, at or self._tx.now)

    def _group_id(self, number: int) -> UUID:
        group_id = self._group_ids.get(number)
        if group_id is None:
            group_id = self._group_ids[number] = self._dispatcher.group(self._tx, number)[0]
        return group_id

    def _note_mark(self, entry: Entry) -> None:
        state = entry.state
        may = state.sources | 1 << state.code
        self._marks.append((state.code, entry.started_at, entry.sent_at, entry.number, entry.attempt, may))


def _attempts(entry: Entry) -> str:
    return f"attempt {entry.attempt + 1} of {entry.retries + 1}"
