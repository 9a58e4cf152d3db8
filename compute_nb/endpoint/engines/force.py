"""This module is force: how the process engine takes back what has not begun, and ends what has.

A worker reads its limit before and after it marks a task as begun. So the engine writes the limit, waits
until any mark made before must be visible, and what `begun` says then is final.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

from compute_nb.endpoint.engines.end import End
from compute_nb.endpoint.engines.worker import Chunk, Worker
from compute_nb.endpoint.timers import Timers

RECALL_S = 0.02


class Force:
    """Recalls chunks and ends running tasks by SIGINT, then SIGKILL; belongs to the engine's thread.

    Args:
        timers: Of the engine's loop.
        kill_s: How long a task may take to end after SIGINT.
        give_back: Called with a chunk and how many of its tasks had begun, once that is certain.
    """

    def __init__(self, timers: Timers, kill_s: float, give_back: Callable[[Chunk, int], None]) -> None:
        self._timers, self._kill_s, self._give_back = timers, kill_s, give_back
        self._dooms: dict[int, End] = {}

    def doom(self, number: int) -> End | None:
        """How a task is to end that is being ended; None for any other."""
        return self._dooms.get(number)

    def forget(self, number: int) -> None:
        """The task has ended."""
        self._dooms.pop(number, None)

    def end(self, worker: Worker, chunk: Chunk, number: int, end: End) -> None:
        """Ends a task of a chunk, begun or not; nothing else of the worker's chunks begins there."""
        self._dooms.setdefault(number, end)
        self.recall(worker)
        self._interrupt(worker, chunk)

    def recall(self, worker: Worker) -> None:
        """Takes back all that the worker has not begun."""
        for chunk in worker.chunks:
            if not chunk.recalled:
                chunk.recalled = True
                worker.slot.limit(chunk.record, worker.slot.begun(chunk.record))
                self._recalled_later(worker, chunk)

    def _recalled_later(self, worker: Worker, chunk: Chunk) -> None:
        self._timers.later(RECALL_S, lambda: self._recalled(worker, chunk))

    def _recalled(self, worker: Worker, chunk: Chunk) -> None:
        if not chunk.over:
            self._give_back(chunk, worker.slot.begun(chunk.record))
            self._interrupt(worker, chunk)

    def _interrupt(self, worker: Worker, chunk: Chunk) -> None:
        """Interrupts the running task of a chunk if it is doomed."""
        index = worker.slot.begun(chunk.record) - 1
        if not chunk.ended <= index < len(chunk.tasks):
            return
        number = chunk.tasks[index].number
        if number in self._dooms:
            worker.interrupt(chunk, index)
            self._timers.later(self._kill_s, lambda: self._kill(worker, chunk, number))

    def _kill(self, worker: Worker, chunk: Chunk, number: int) -> None:
        if not chunk.over and number in self._dooms:
            worker.signal(signal.SIGKILL)
