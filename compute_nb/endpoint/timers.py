"""This module is the timers of an event loop: calls that are due at a moment of a monotonic clock."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable

LONGEST_S = 86_400.0  # epoll takes no more than 2**31 ms


class Timers:
    """Calls for later, run by the loop that owns them; each call looks itself whether it still matters."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Has `call` run in `seconds`."""
        heapq.heappush(self._heap, (time.monotonic() + seconds, next(self._count), call))

    def timeout_s(self) -> float | None:
        """Returns how long the loop may wait; None if nothing is due ever."""
        if not self._heap:
            return None
        return min(max(0.0, self._heap[0][0] - time.monotonic()), LONGEST_S)

    def run_due(self) -> None:
        """Runs what is due."""
        now = time.monotonic()
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()
