"""This module is the account: what a panel says of a run while its tasks are open, part by part."""

from __future__ import annotations

import heapq
import time

from compute_nb.notebook.runs import failures
from compute_nb.notebook.runs.census import STATES, Census
from compute_nb.notebook.runs.run import Run, Snapshot
from compute_nb.notebook.view import drawing, eta, look, squares
from compute_nb.notebook.view.times import times_of
from compute_nb.tasks import TaskState

_SQUARES_S = 1.0
_LIVE_TASKS = 4
_LIVE_ROWS = 20
_FAILED = STATES.index(TaskState.FAILED)
_LOST = STATES.index(TaskState.LOST)
_OPEN = [code for code, state in enumerate(STATES) if not state.ended]


class Account:
    """Tells of a run as it was counted last; for one thread at a time.

    Args:
        max_lines: How much printed text of a task alone is shown.
    """

    def __init__(self, run: Run, census: Census, max_lines: int) -> None:
        self._run, self._census, self._max_lines = run, census, max_lines
        self._squares_at = 0.0
        self._first = ""

    def begin_again(self) -> None:
        """Forgets what it said of tasks that were sent again."""
        self._first = ""

    def parts(self) -> dict[str, str]:
        """Returns what the parts of the widget show while tasks are open."""
        run, snapshot = self._run, self._census.last
        parts = {
            "head": drawing.bar(run, snapshot),
            "aside": drawing.aside(run, times_of(self._census), self._left(), shows_id=True),
            "notes": drawing.details(self._notes(snapshot)) + drawing.warnings(run.loss_lines()),
            "said": self.saying(snapshot),
            **self._printed(),
        }
        now = time.monotonic()
        pause_s = 0.0 if snapshot.total <= squares.MOST else _SQUARES_S
        if snapshot.total > 1 and now - self._squares_at >= pause_s:
            self._squares_at = now
            parts["squares"] = squares.markup(self._census.codes, run.known_place)
        return parts

    def instead(self) -> str:
        """Returns what to do instead of a click while the main thread waits for these tasks, "" else."""
        if not self._run.blocks:
            return ""
        then = f"`%compute cancel {self._run.handle}` then ends the tasks"
        return drawing.small(f"the cell waits: interrupt (■) stops the waiting; {then}")

    def _left(self) -> str:
        """Returns when the rest may be done, "" while nobody can say."""
        last, census = self._census.last, self._census
        if self._away():
            return ""
        waiting = last.counts.get(TaskState.WAITING, 0) + last.counts.get(TaskState.DELIVERED, 0)
        finished = last.counts.get(TaskState.SUCCEEDED, 0) + last.counts.get(TaskState.FAILED, 0)
        work = eta.Work(list(census.recent), finished, waiting, list(census.running.values()), time.time())
        found = eta.estimate(work)
        return found.told() if found is not None else ""

    def _away(self) -> str:
        """Returns why nothing moves now, "" if something may."""
        first = min((p for p in map(self._census.codes.find, _OPEN) if p >= 0), default=None)
        why = self._run.outage() if first is None else self._run.standstill(self._run.futures[first])
        return why or ""

    def _notes(self, snapshot: Snapshot) -> list[str]:
        lines = [self._away(), self._failure(snapshot), *self._run.notes, *self._run.earlier_lines()]
        return [line for line in lines if line]

    def _failure(self, snapshot: Snapshot) -> str:
        """Returns the first failure while others still run."""
        if not snapshot.failed:
            return ""
        if not self._first:
            codes, run = self._census.codes, self._run
            first = min(place for place in (codes.find(_FAILED), codes.find(_LOST)) if place >= 0)
            self._first = f"{run.place(first)}: {failures.reason(run.futures[first])}"
        return self._first

    def saying(self, snapshot: Snapshot) -> str:
        """Returns what a screen reader says when it changes: first failure, half done, the end."""
        title = self._run.title
        if snapshot.ended:
            said = drawing.line(self._run, snapshot)
        elif snapshot.failed:
            said = f"{title}: {self._failure(snapshot)}"
        else:
            said = f"{title}: half done" if snapshot.total > 3 and 2 * snapshot.done >= snapshot.total else ""
        return look.unseen(said) if said else ""

    def _printed(self) -> dict[str, str]:
        """Returns what running tasks have printed last, folded; a page keeps it open by itself."""
        futures = self._run.futures
        heard = [(futures[place].live_at, place) for place in self._census.running]
        speakers = sorted(place for at, place in heapq.nlargest(_LIVE_TASKS, heard) if at)
        rows = _LIVE_ROWS // len(speakers) if len(futures) > 1 and speakers else self._max_lines
        told = drawing.speech(self._run, speakers, rows)
        fold = look.fold("printed so far", is_open=len(futures) == 1) if told else ""
        return {"fold": fold, "printed": told}
