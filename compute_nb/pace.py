"""This module is the pace at which small requests may follow each other where a service limits them."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable

BURST_LIMIT = 4
BURST_WINDOW_S = 16.0


class Pace:
    """Gives turns to requests: after `limit` small ones within `window_s`, the next waits a share of it.

    A request with at least `limit` tasks counts as large and is never held back by others of its kind. For
    any thread: two that ask at once get turns one after the other.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._small: deque[float] = deque()
        self._last_at: float | None = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, key: Hashable) -> Pace:
        """Returns the pace that all of this process keep who speak to a service as the same user.

        Args:
            key: Equal for those, as `Reach.key`.
        """
        return _paces.setdefault(key, cls())

    def take_turn(self, tasks: int, limit: int = BURST_LIMIT, window_s: float = BURST_WINDOW_S) -> float:
        """Takes the next turn for a request with so many tasks; returns the seconds until then."""
        with self._lock:
            now = self._clock()
            while self._small and self._small[0] <= now - window_s:
                self._small.popleft()
            turn = now
            if len(self._small) >= limit and self._last_at is not None:
                turn = max(now, self._last_at + window_s / limit)
            self._last_at = turn
            if tasks < limit:
                self._small.append(turn)
            return turn - now


_paces: dict[Hashable, Pace] = {}
os.register_at_fork(after_in_child=_paces.clear)  # a lock of the parent may have been held
