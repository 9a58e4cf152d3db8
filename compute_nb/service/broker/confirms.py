"""This module is the publisher confirms of one channel: which messages were taken, told in few words."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Confirm(NamedTuple):
    """One basic.ack or basic.nack to a publisher."""

    number: int
    multiple: bool
    ok: bool


class Confirms:
    """Counts publishes from 1, and gathers what became of them until `drain`.

    Args:
        wake: Called when there is something to `drain` and there was nothing before.
    """

    __slots__ = ("_ahead", "_lowest", "_next", "_taken", "_untaken", "_wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._next = 1
        self._lowest = 1
        self._ahead: set[int] = set()
        self._taken: list[int] = []
        self._untaken: list[int] = []

    def draw(self) -> int:
        """Returns the number of the next publish."""
        number = self._next
        self._next += 1
        return number

    def settle(self, number: int, ok: bool) -> None:
        """Notes that a message was taken, or was not."""
        if not self._taken and not self._untaken:
            self._wake()
        (self._taken if ok else self._untaken).append(number)
        self._ahead.add(number)
        while self._lowest in self._ahead:
            self._ahead.remove(self._lowest)
            self._lowest += 1

    def drain(self) -> list[Confirm]:
        """Returns what is to be told, and forgets it.

        The nacks come first: then one ack with `multiple` can stand for all below the oldest message
        that is still open, and it says nothing about those.
        """
        confirms = [Confirm(number, False, False) for number in sorted(self._untaken)]
        below = [number for number in self._taken if number < self._lowest]
        if below:
            confirms.append(Confirm(max(below), len(below) > 1, True))
        confirms += [Confirm(n, False, True) for n in sorted(self._taken) if n > self._lowest]
        self._taken.clear()
        self._untaken.clear()
        return confirms


class Receipt:
    """Settles one publish once all copies that need it are settled; ok only if all are."""

    __slots__ = ("_confirms", "_number", "_ok", "_open")

    def __init__(self, confirms: Confirms) -> None:
        self._confirms = confirms
        self._number = confirms.draw()
        self._ok = True
        self._open = 1

    def hold(self) -> None:
        """One more has to settle."""
        self._open += 1

    def settle(self, ok: bool) -> None:
        """One of the holders is done; the publisher itself is one, when it has routed the message."""
        self._ok = self._ok and ok
        self._open -= 1
        if not self._open:
            self._confirms.settle(self._number, self._ok)
