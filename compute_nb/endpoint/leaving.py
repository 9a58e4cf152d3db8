"""This module is the leaving of an agent: what runs gets its time, all is told, and then the link ends.

However the engine and the service behave, that takes a bounded time.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from compute_nb.endpoint.engine import Engine
from compute_nb.endpoint.folder import Farewell
from compute_nb.endpoint.journal import Journal

CLOSE_S = 15.0
SEND_S = 5.0
KILLED = "the endpoint was stopped while this task ran, and its `stop_s` for running tasks was over"

_log = logging.getLogger(__name__)


class Clock(Protocol):
    """The part of a link that this uses."""

    def call_soon(self, call: Callable[[], None]) -> None:
        """Has `call` run on the link's thread; from any thread."""

    def call_later(self, seconds: float, call: Callable[[], None]) -> object:
        """Has `call` run on the link's thread later."""


class Teller(Protocol):
    """The conversation, as a leaving needs it."""

    def last_news(self) -> None:
        """Takes, journals and sends what the engine still has to tell."""

    def tell_broken(self) -> None:
        """Tells the service which runs were killed, if it is there."""

    def is_heard(self) -> bool:
        """True while the service is there."""


class Leaving:
    """How one agent ends; its thread `leaving` stops the engine, all else belongs to the link's thread.

    Args:
        teller: Told when to take and tell.
        journal: Of the agent.
        engine: Started.
        stop_s: How long running tasks may go on.
        begun: Returns the numbers of tasks that had begun and whose ends were not journalled; asked once the
            engine has stopped.

    Attributes:
        has_begun: Whether the agent is to end.
        engine_is_over: Whether the engine has stopped.
        overdue: Whether the engine was left alone, since it did not stop.
        farewell: What became of the tasks.
    """

    def __init__(
        self,
        teller: Teller,
        journal: Journal,
        engine: Engine,
        stop_s: float,
        begun: Callable[[], Iterable[int]],
    ) -> None:
        self._teller, self._journal, self._engine = teller, journal, engine
        self._stop_s, self._begun = stop_s, begun
        self._go: Callable[[], object] | None = None
        self._ended = 0
        self.has_begun = self.engine_is_over = self.overdue = False
        self.farewell = Farewell()

    def begin(self, clock: Clock, go: Callable[[], object]) -> None:
        """Begins nothing more, gives what runs its time, has its results sent, then calls `go`, once.

        Args:
            clock: The link.
            go: Ends the link.
        """
        if self.has_begun:
            return
        self.has_begun, self._clock, self._go = True, clock, go
        _log.info("the endpoint ends; what runs has %g s", self._stop_s)
        clock.call_later(self._stop_s + CLOSE_S, self._give_up)
        threading.Thread(target=self._stop_engine, name="leaving", daemon=True).start()

    def ended(self, count: int) -> None:
        """So many runs have come to an end."""
        if self.has_begun:
            self._ended += count

    def go_if_told(self) -> None:
        """Goes once the service knows all that has ended; while it is away nobody waits for it."""
        told = not self._journal.done() and not self._journal.broken()
        if self.engine_is_over and (told or not self._teller.is_heard()):
            self._leave()

    def _stop_engine(self) -> None:
        self._engine.stop(self._stop_s)
        self._clock.call_soon(self._after_engine)

    def _give_up(self) -> None:
        """Ends without an engine that does not: one that waits for a scheduler that is gone, say."""
        if not self.engine_is_over:
            _log.error("the engine does not end: it is left alone, and its processes are killed")
            self.overdue = True
            self._leave()

    def _after_engine(self) -> None:
        self.engine_is_over = True
        self._teller.last_news()
        if self._note_killed():
            self._teller.tell_broken()
        self._clock.call_later(SEND_S, self._leave)
        self.go_if_told()

    def _note_killed(self) -> int:
        """Counts what had begun and came to no end as broken; returns how many."""
        begun = set(self._begun())
        held = [self._journal.number(run) for run in self._journal.held()]
        killed = [number for number in held if number is not None and number in begun]
        if killed:
            with contextlib.suppress(sqlite3.OperationalError):  # a full disk: the next start finds them
                self._journal.recover(killed, KILLED)
        self.farewell = Farewell(ended=self._ended, killed=len(killed), kept=len(self._journal.held()))
        return len(killed)

    def _leave(self) -> None:
        go, self._go = self._go, None
        if go is not None:
            go()
