"""This module is the lane of one connected endpoint: its window, and which user is served next."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from compute_nb.service.claim import Claim

WINDOW_TASKS = 256
WINDOW_PER_WORKER = 4
WINDOW_PUBLISHED = 10_000
RESERVE_TASKS = 8
WINDOW_CHARACTERS = 64 * 1024 * 1024
_RATE_WINDOW_S = 1.0


@dataclass(slots=True)
class Rate:
    """How many tasks ended within about the last second: a count that decays."""

    value: float = 0.0
    _at: float = 0.0

    def add(self, count: int, now: float) -> None:
        """Counts `count` ends at `now` (seconds)."""
        self.value = self.at(now) + count
        self._at = now

    def at(self, now: float) -> float:
        """The count as it has decayed until `now`."""
        return self.value * math.exp(-max(now - self._at, 0.0) / _RATE_WINDOW_S)


@dataclass(slots=True)
class Lane:
    """One connected endpoint.

    Attributes:
        number: Of the endpoint.
        out: Task number -> characters of its arguments and whose it is, for all that is sent and open.
        claims: Of the users who have tasks out or waiting.
        published: True if a published agent reads it, which takes one task a message.
        limit: Characters of arguments that may be out.
        functions: Numbers of functions whose code this session has.
    """

    number: int
    endpoint_id: UUID
    session: UUID
    workers: int
    published: bool = False
    limit: int = WINDOW_CHARACTERS
    out: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    characters: int = 0
    claims: dict[bytes, Claim] = field(default_factory=dict)
    functions: set[int] = field(default_factory=set)
    rate: Rate = field(default_factory=Rate)

    def room(self, now: float) -> int:
        """How many more tasks may be out."""
        if self.characters >= self.limit:
            return 0
        if self.published:
            return max(WINDOW_PUBLISHED - len(self.out), 0)
        window = max(WINDOW_TASKS, WINDOW_PER_WORKER * self.workers, int(self.rate.at(now)))
        return max(window - len(self.out), 0)

    def room_for(self, claim: Claim, now: float) -> int:
        """How many more tasks of one user may be out: a few also while those of others fill the window."""
        reserve = RESERVE_TASKS if self.characters < self.limit else 1
        return max(self.room(now), reserve - claim.out)

    @property
    def waiting(self) -> list[Claim]:
        """The claims of users who have something to send."""
        return [claim for claim in self.claims.values() if claim.waiting]

    def next_claim(self, now: float) -> Claim | None:
        """Returns the claim that is served next, that with the least out; None if there is no room for it."""
        claim = min(self.waiting, key=lambda claim: claim.out, default=None)
        return None if claim is None or self.room_for(claim, now) <= 0 else claim

    def claim(self, owner: bytes) -> Claim:
        """Returns the claim of a user."""
        claim = self.claims.get(owner)
        if claim is None:
            claim = self.claims[owner] = Claim(owner)
        return claim

    def sent(self, owner: bytes, tasks: Iterable[tuple[int, int]]) -> None:
        """Tasks of a user, each a number with the characters of its arguments, are out."""
        sizes = {number: (characters, owner) for number, characters in tasks}
        self.out |= sizes
        self.characters += sum([characters for characters, _ in sizes.values()])
        self.claim(owner).out += len(sizes)

    def freed(self, numbers: Iterable[int]) -> None:
        """Tasks are not out any more, if they were."""
        for number in numbers:
            gone = self.out.pop(number, None)
            if gone is not None:
                characters, owner = gone
                self.characters -= characters
                claim = self.claims[owner]
                claim.out -= 1
                if not claim.out and not claim.waiting:
                    del self.claims[owner]

    def forget(self) -> None:
        """Empties all but the session: it is read again from the store."""
        self.out.clear()
        self.claims.clear()
        self.functions.clear()
        self.characters = 0
