"""This module is the census: the tasks of one run by state, counted in one pass, and how long they took.

100,000 futures are counted in 10 ms, with one byte kept for each: nothing is missed however it came about
(a cancel here, a retry that puts new futures in old places), and no news has to be counted.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Iterator
from operator import attrgetter

from compute_nb.future import ComputeFuture
from compute_nb.notebook.runs.run import Run, Snapshot
from compute_nb.tasks import TaskState

STATES = tuple(TaskState)
_STATE = attrgetter("state")
# By identity: the hash of an Enum's member is made in Python, once for each task.
_CODE = {id(state): code for code, state in enumerate(STATES)}.__getitem__
_RUN = frozenset({TaskState.SUCCEEDED, TaskState.FAILED})
_SLICE = 1_000
_RECENT = 256
_SAMPLE = 1_024


class Sample:
    """Up to 1,024 of many numbers, evenly taken, for their median."""

    def __init__(self) -> None:
        self.count = 0
        self._values: list[float] = []
        self._step = 1

    def add(self, value: float) -> None:
        """Takes one more."""
        if self.count % self._step == 0:
            self._values.append(value)
        self.count += 1
        if len(self._values) > _SAMPLE:
            self._values, self._step = self._values[::2], 2 * self._step

    @property
    def median(self) -> float | None:
        """Of those that were added; None if there are none."""
        return statistics.median(self._values) if self._values else None


class Census:
    """Counts the tasks of a run; for one thread at a time.

    Attributes:
        codes: The state of each task as a place in `STATES`, in map order, at the last count.
        waits, runs: Seconds that tasks waited to begin, and that they ran.
        recent: (began or None, ended) of the tasks that ended last, in that order.
        running: When those that run now began, by place.
        last: How the run stood at the last count.
        submitted_at: When the first of those that have begun was; the time of the run is that of the last.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.codes = b""
        self.waits, self.runs = Sample(), Sample()
        self.recent: deque[tuple[float | None, float]] = deque(maxlen=_RECENT)
        self.running: dict[int, float] = {}
        self._began: float | None = None
        self._ended: float | None = None
        self._late: list[int] = []
        self._sends: dict[int, tuple[float, float]] = {}
        self.last = Snapshot({}, 0, run.submitted_at, None, None)
        self.submitted_at = run.submitted_at

    def take(self) -> Snapshot:
        """Counts, and returns how the run stands."""
        futures = self._run.futures
        codes = bytes(map(_CODE, map(id, map(_STATE, futures))))
        late, self._late = self._late, []
        for place in late:
            self._note(place, futures[place], again=False)
        for place in self._changed(codes):
            self._note(place, futures[place], again=True)
        self.recent = deque(sorted(self.recent, key=lambda one: one[1]), _RECENT)
        self.codes = codes
        counts = {state: codes.count(code) for code, state in enumerate(STATES)}
        still_open = any(count for state, count in counts.items() if not state.ended)
        ended = None if still_open else self._ended
        run = self._run
        told = run.exits(), len(run.losses())
        self.last = Snapshot(counts, len(codes), run.submitted_at, self._began, ended, *told)
        return self.last

    @property
    def unsure(self) -> bool:
        """Whether another count would say more: none yet, or times had not come with their states."""
        return len(self.codes) != len(self._run.futures) or bool(self._late)

    @property
    def idle_s(self) -> float:
        """Seconds in which no task was open, before some were sent again."""
        idle_s, until = 0.0, None
        for submitted, ended in sorted(self._sends.values()):
            if until is not None:
                idle_s += max(0.0, submitted - until)
            until = ended if until is None else max(until, ended)
        return idle_s

    def _sent(self, submitted: float, ended: float = 0.0) -> None:
        """Notes until when the tasks of one submit were open; those of the same second are one."""
        first, until = self._sends.get(int(submitted), (submitted, submitted))
        self._sends[int(submitted)] = min(first, submitted), max(until, ended)

    def _changed(self, codes: bytes) -> Iterator[int]:
        before = self.codes or bytes(len(codes))
        for start in range(0, len(codes), _SLICE):
            old, new = before[start : start + _SLICE], codes[start : start + _SLICE]
            if old != new:
                for place, (was, now) in enumerate(zip(old, new, strict=True), start):
                    if was != now:
                        yield place

    def _note(self, place: int, future: ComputeFuture, *, again: bool) -> None:
        """Notes when a task began and ended; again later if its state came before its times."""
        state, began, ended = future.state, future.started_at, future.ended_at
        if again and (
            (state.ended and ended is None)
            or (state in _RUN and began is None)
            or (state is TaskState.RUNNING and began is None)
        ):
            self._late.append(place)
            return
        was_running = self.running.pop(place, None)
        if state is TaskState.RUNNING:
            self.running[place] = time.time() if began is None else began
        if began is not None and (state is TaskState.RUNNING or (state.ended and was_running is None)):
            self._began = began if self._began is None else min(self._began, began)
            if future.submitted_at is not None:
                self.submitted_at = min(self.submitted_at, future.submitted_at)
                self._sent(future.submitted_at)
                self.waits.add(max(0.0, began - future.submitted_at))
        if state.ended and ended is not None:
            if future.submitted_at is not None:
                self._sent(future.submitted_at, ended)
            self._ended = ended if self._ended is None else max(self._ended, ended)
            if state in _RUN:
                self.recent.append((began, ended))
                if began is not None:
                    self.runs.add(max(0.0, ended - began))
