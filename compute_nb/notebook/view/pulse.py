"""This module is the pulse: when panels are drawn, so that all together stay cheap for a page."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Protocol

log = logging.getLogger(__name__)

MESSAGES = 10  # in any second, all panels together
_SECOND_S = 1.1
_PAUSE_S = 0.25
_SOON_S = 0.05
_SHARE = 50  # of the processor, what counting and drawing one panel may take


class Drawn(Protocol):
    """What is drawn again and again."""

    def draw(self) -> int:
        """Draws what has changed; returns how many messages that took."""

    def weight(self) -> int:
        """Returns how many messages the next drawing may take."""

    def next_draw_s(self) -> float | None:
        """Returns in how many seconds it wants to be drawn though there is no news; None: never."""


class Pulse:
    """Owns the thread `compute_nb panels`, which runs while something moves. `ask` is for any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[Drawn, float] = {}
        self._not_before: dict[Drawn, float] = {}
        self._thread: threading.Thread | None = None
        self._sent: deque[float] = deque()

    def ask(self, drawn: Drawn, at: float = 0.0) -> None:
        """Has it drawn as soon as its turn comes, not before `at` on the monotonic clock; does not block."""
        with self._changed:
            at = max(time.monotonic(), self._not_before.get(drawn, 0.0), at)
            self._due[drawn] = min(at, self._due.get(drawn, at))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="compute_nb panels", daemon=True)
                self._thread.start()
            else:
                self._changed.notify()

    def ask_soon(self, drawn: Drawn, at: float = 0.0) -> None:
        """Has it drawn as `ask`, but not at once: the cell that has just made it is to end first."""
        with self._changed:
            if drawn not in self._due:
                self._not_before[drawn] = time.monotonic() + _SOON_S
        self.ask(drawn, at)

    def _run(self) -> None:
        while (drawn := self._next()) is not None:
            self._wait_for_room(min(drawn.weight(), MESSAGES))
            began_s = time.thread_time()
            try:
                sent = drawn.draw()
                self._sent.extend([time.monotonic()] * sent)
            except Exception:  # the other panels go on; shown, it would stand under another cell
                log.info("a panel could not be drawn", exc_info=True)
            self._wait_for_more(drawn, time.thread_time() - began_s)

    def _wait_for_room(self, weight: int) -> None:
        """Waits until so many messages more are not too many for a second."""
        while self._sent:
            left = self._sent[0] + _SECOND_S - time.monotonic()
            if left <= 0:
                self._sent.popleft()
            elif len(self._sent) + weight > MESSAGES:
                time.sleep(left)
            else:
                return

    def _next(self) -> Drawn | None:
        """Waits for the one that is due first; None ends the thread: nothing moves any more."""
        with self._changed:
            while self._due:
                drawn = min(self._due, key=self._due.__getitem__)
                left = self._due[drawn] - time.monotonic()
                if left <= 0:
                    del self._due[drawn]
                    return drawn
                self._changed.wait(left)
            self._thread = None
            self._not_before.clear()
            return None

    def _wait_for_more(self, drawn: Drawn, took_s: float) -> None:
        again_s = drawn.next_draw_s()
        with self._changed:
            if again_s is None:
                self._not_before.pop(drawn, None)
                return
            pause_s = max(_PAUSE_S, _SHARE * took_s)
            self._not_before[drawn] = time.monotonic() + pause_s
            at = time.monotonic() + max(again_s, pause_s)
            self._due[drawn] = max(min(at, self._due.get(drawn, at)), self._not_before[drawn])


pulse = Pulse()
