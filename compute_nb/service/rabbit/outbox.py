"""This module is what is on its way to RabbitMQ: in order, kept until RabbitMQ has confirmed it."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

WINDOW_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Letter:
    """One message of the service; its place is given to it by the outbox."""

    exchange: str
    routing_key: str
    body: bytes = field(repr=False)
    headers: Mapping[str, Any] | None
    timestamp_s: int | None
    content_type: str | None = None
    place: int = 0


class Outbox:
    """Letters that wait, and letters that were sent and not confirmed yet; loop thread only.

    Attributes:
        held_bytes: Of all their bodies.
        last_place: Of the letter that came last.
    """

    def __init__(self) -> None:
        self.held_bytes = 0
        self.last_place = 0
        self._waiting: deque[Letter] = deque()
        self._sent: OrderedDict[int, Letter] = OrderedDict()
        self._sent_bytes = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._sent)

    def add(self, letter: Letter) -> None:
        """Puts one to the end."""
        self.last_place += 1
        self._waiting.append(replace(letter, place=self.last_place))
        self.held_bytes += len(letter.body)

    def holds(self, place: int) -> bool:
        """Says if any letter up to that place is still here."""
        first = self._waiting[0].place if self._waiting else place + 1
        return first <= place or any(letter.place <= place for letter in self._sent.values())

    def next(self) -> Letter | None:
        """Takes the letter that may be sent now; None if there is none, or too much is unconfirmed."""
        if not self._waiting or self._sent_bytes >= WINDOW_BYTES:
            return None
        return self._waiting.popleft()

    def sent(self, number: int, letter: Letter) -> None:
        """It was sent, as the publish of that number."""
        self._sent[number] = letter
        self._sent_bytes += len(letter.body)

    def confirmed(self, number: int, multiple: bool, ok: bool) -> None:
        """RabbitMQ has it now; one that it refused goes first at the next `next`."""
        refused = []
        for one in self._until(number) if multiple else (number,):
            letter = self._sent.pop(one, None)
            if letter is None:
                continue
            self._sent_bytes -= len(letter.body)
            if ok:
                self.held_bytes -= len(letter.body)
            else:
                refused.append(letter)
        self._waiting.extendleft(reversed(refused))

    def lost(self) -> None:
        """The connection is gone: what it had not confirmed is sent again, before all else."""
        self._waiting.extendleft(reversed(self._sent.values()))
        self._sent.clear()
        self._sent_bytes = 0

    def _until(self, number: int) -> list[int]:
        """Returns the numbers up to that one; all for 0."""
        found = []
        for one in self._sent:
            if number and one > number:
                break
            found.append(one)
        return found
