"""This module is the news box of an engine: what its thread gathers until the agent takes it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from compute_nb.endpoint.engine import Begun, Ended, News
from compute_nb.tasks import Printed


class NewsBox:
    """Gathers news; `take` may be called from any thread, the rest from the engine's."""

    def __init__(self, on_news: Callable[[], None]) -> None:
        self._on_news = on_news
        self._lock = threading.Lock()
        self._begun: list[Begun] = []
        self._ended: list[Ended] = []
        self._printed: list[Printed] = []
        self._rung = False
        self.serial = 1

    def begun(self, begun: Begun) -> None:
        """Notes that a task has been running for a while."""
        with self._lock:
            self._begun.append(begun)

    def ended(self, ended: Ended) -> int:
        """Notes the end of a task and returns the serial of the news that will tell it."""
        with self._lock:
            self._ended.append(ended)
            return self.serial

    @property
    def has_room(self) -> bool:
        """Whether what tasks have printed was taken, so that more may come."""
        return not self._printed

    def printed(self, printed: Printed) -> None:
        """Notes what a running task has printed."""
        with self._lock:
            self._printed.append(printed)

    def ring(self) -> None:
        """Tells the agent once that there is something to take."""
        if (self._ended or self._begun or self._printed) and not self._rung:
            self._rung = True
            self._on_news()

    def take(self) -> News:
        """Returns and forgets what has gathered."""
        with self._lock:
            news = News(self.serial, tuple(self._begun), tuple(self._ended), tuple(self._printed))
            self._begun, self._ended, self._printed = [], [], []
            self._rung = False
            self.serial += 1
            return news
