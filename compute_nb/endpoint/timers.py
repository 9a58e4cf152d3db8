"""This module is the timers of an event loop: calls that are due at a moment of a monotonic clock."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable

LONGEST_S = 86_400.0  # epoll takes no more than 2**31 ms
MANY = 64


class Timer:
    """A call that is still to come."""

    __slots__ = ("_timers", "call")

    def __init__(self, timers: Timers, call: Callable[[], None]) -> None:
        self._timers = timers
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Forgets the call and all that it holds; harmless after it was made."""
        if self.call is not None:
            self.call = None
            self._timers.forget_cancelled()


class Timers:
    """Calls for later, run by the loop that owns them; each call looks itself whether it still matters."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap)

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Has `call` run in `seconds`."""
        timer = Timer(self, call)
        heapq.heappush(self._heap, (time.monotonic() + seconds, next(self._count), timer))
        return timer

    def forget_cancelled(self) -> None:
        """Counts one more cancelled timer; once they are the most, they leave the heap together."""
        self._cancelled += 1
        if self._cancelled > MANY and 2 * self._cancelled > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].call is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def timeout_s(self) -> float | None:
        """Returns how long the loop may wait; None if nothing is due ever."""
        if not self._heap:
            return None
        return min(max(0.0, self._heap[0][0] - time.monotonic()), LONGEST_S)

    def run_due(self) -> None:
        """Runs what is due."""
        now = time.monotonic()
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            call, timer.call = timer.call, None
            if call is None:
                self._cancelled = max(0, self._cancelled - 1)
            else:
                call()
