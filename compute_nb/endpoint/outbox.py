"""This module is the outbox of an agent: results and marks on their way to the service.

A result goes at once while fewer than two reports are unconfirmed, else it gathers. Marks are for people:
they go 0.1 s later, and only of runs that have not ended by then. What tasks print goes when the last of it
was confirmed, beside the results and never in their place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol
from uuid import UUID

from compute_nb import wire
from compute_nb.endpoint.registration import Address
from compute_nb.errors import ServiceUnreachable
from compute_nb.tasks import Printed, Report, Run, RunResult, Started

MAX_UNCONFIRMED = 2
MAX_RESULTS = 256
MAX_CHARS = 1_000_000
MARK_S = 0.1
AGAIN_S = 1.0
MAX_PRINTED = 65_536


class Line(Protocol):
    """The part of a link that an outbox uses."""

    def publish(self, exchange: str, routing_key: str, body: bytes) -> int:
        """Sends a message and returns its number."""

    def call_later(self, seconds: float, call: Callable[[], None]) -> object:
        """Has `call` run later on the same thread."""


class Outbox:
    """Sends reports over one connection after another; belongs to the link's thread.

    Args:
        unstored: Reads all results that the service may lack, from the journal.
    """

    def __init__(self, unstored: Callable[[], Iterator[RunResult]]) -> None:
        self._unstored = unstored
        self._line: Line | None = None
        self._again: Iterator[RunResult] = iter(())
        self._results: deque[RunResult] = deque()
        self._unconfirmed: set[int] = set()
        self._held: dict[tuple[int, int], Run] = {}
        self._begun: dict[tuple[int, int], Started] = {}
        self._timer_is_set = False
        self._printed: deque[Printed] = deque()
        self._printed_out: int | None = None

    def open(self, line: Line, session: UUID, address: Address) -> None:
        """A connection is there: all that is not stored goes again."""
        self._line, self._session, self._address = line, session, address
        self._unconfirmed.clear()
        self._held.clear()
        self._begun.clear()
        self._timer_is_set = False
        self._printed.clear()
        self._printed_out = None
        self._send_again()

    def close(self) -> None:
        """The connection is gone; what comes now waits in the journal."""
        self._line = None

    def results(self, results: Iterable[RunResult]) -> None:
        """Sends results, which are in the journal."""
        for result in results:
            key = result.run.task_id.int, result.run.attempt
            self._held.pop(key, None)
            self._begun.pop(key, None)
            if self._line is not None:
                self._results.append(result)
        self._flush()

    def held(self, runs: Iterable[Run]) -> None:
        """Marks runs as delivered, if they are still open a moment later."""
        self._held.update([((run.task_id.int, run.attempt), run) for run in runs])
        self._set_timer()

    def begun(self, started: Started) -> None:
        """Marks a run as running, if it is so a moment later."""
        key = started.run.task_id.int, started.run.attempt
        self._held.pop(key, None)
        self._begun[key] = started
        self._set_timer()

    def printed(self, printed: Iterable[Printed]) -> None:
        """Sends what tasks print, the oldest of it giving way where it is too much."""
        if self._line is None:
            return
        self._printed.extend(printed)
        size = sum([len(one.text) for one in self._printed])
        while size > MAX_PRINTED:
            size -= len(self._printed.popleft().text)
        self._send_printed()

    def _send_printed(self) -> None:
        if self._line is not None and self._printed and self._printed_out is None:
            report = Report(self._session, printed=tuple(self._printed))
            self._printed.clear()
            self._printed_out = self._sent(report)

    def confirmed(self, number: int, ok: bool) -> None:
        """The broker has taken a message, or refused it: then all is sent again after a moment."""
        if number == self._printed_out:
            self._printed_out = None
            self._send_printed()
        if number not in self._unconfirmed:
            return
        self._unconfirmed.remove(number)
        if not ok and self._line is not None:
            line = self._line
            line.call_later(AGAIN_S, lambda: self._send_again() if self._line is line else None)
        self._flush()

    def _send_again(self) -> None:
        self._results.clear()
        self._again = self._unstored()
        self._flush()

    def _flush(self) -> None:
        while self._line is not None and len(self._unconfirmed) < MAX_UNCONFIRMED:
            batch = self._next_results()
            if not batch:
                return
            self._publish(Report(self._session, results=tuple(batch)))

    def _next_results(self) -> list[RunResult]:
        batch, chars = list[RunResult](), 0
        while len(batch) < MAX_RESULTS and chars < MAX_CHARS:
            result = next(self._again, None) or (self._results.popleft() if self._results else None)
            if result is None:
                break
            batch.append(result)
            chars += len(result.data)
        return batch

    def _publish(self, report: Report) -> None:
        number = self._sent(report)
        if number is not None:
            self._unconfirmed.add(number)

    def _sent(self, report: Report) -> int | None:
        """Returns the number of the message, None if the connection is gone."""
        assert self._line is not None
        address = self._address
        try:
            return self._line.publish(address.exchange, address.routing_key, wire.encode(report))
        except ServiceUnreachable:
            self._line = None
            return None

    def _set_timer(self) -> None:
        if self._line is not None and not self._timer_is_set and (self._held or self._begun):
            self._timer_is_set = True
            line = self._line
            line.call_later(MARK_S, lambda: self._send_marks(line))

    def _send_marks(self, line: Line) -> None:
        if self._line is not line or not self._timer_is_set:
            return
        self._timer_is_set = False
        if len(self._unconfirmed) >= MAX_UNCONFIRMED:
            self._set_timer()
        elif self._held or self._begun:
            report = Report(self._session, tuple(self._held.values()), tuple(self._begun.values()))
            self._held.clear()
            self._begun.clear()
            self._publish(report)
