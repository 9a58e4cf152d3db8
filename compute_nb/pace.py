"""This module is the pace at which small requests may follow each other where a service limits them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable


class Pace:
    """Counts small requests: when there were `limit` within `window_s`, the next one waits a share of it.

    A request with at least `limit` tasks counts as large and is never held back by others of its kind.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._small: deque[float] = deque()
        self._last_at: float | None = None

    def pause_s(self, limit: int, window_s: float) -> float:
        """Returns how long the next request has to wait from now."""
        now = self._clock()
        while self._small and self._small[0] <= now - window_s:
            self._small.popleft()
        if len(self._small) < limit or self._last_at is None:
            return 0.0
        return max(0.0, window_s / limit - (now - self._last_at))

    def sent(self, tasks: int, limit: int) -> None:
        """Notes a request with so many tasks."""
        self._last_at = self._clock()
        if tasks < limit:
            self._small.append(self._last_at)
