"""This module is the claim of a user on an endpoint: how much he has of it, which group of his is next."""

from __future__ import annotations

import hmac
from collections import deque
from dataclasses import dataclass, field
from uuid import UUID

_PSEUDONYM_CHARS = 16


@dataclass(slots=True)
class Claim:
    """What one user has at one connected endpoint.

    Attributes:
        owner: The user.
        out: How many tasks of his are sent and open.
        waiting: Task group -> holds under which it has tasks to send (0: without).
        turns: The task groups of `waiting` that were served before, the next one first.
        fresh: Those that were not. They take every other turn, so that a lone task passes a large group and
            many of them don't stop it.
    """

    owner: bytes
    out: int = 0
    waiting: dict[int, list[int]] = field(default_factory=dict)
    turns: deque[int] = field(default_factory=deque)
    fresh: deque[int] = field(default_factory=deque)
    fresh_next: bool = True

    def wait(self, group: int, hold: int) -> None:
        """A task group has something to send."""
        holds = self.waiting.get(group)
        if holds is None:
            self.waiting[group] = [hold]
            self.fresh.append(group)
        elif hold not in holds:
            holds.append(hold)

    def next_group(self) -> int:
        """Takes the task group whose turn it is; there must be one."""
        if self.fresh and (self.fresh_next or not self.turns):
            self.fresh_next = not self.turns
            return self.fresh.popleft()
        self.fresh_next = True
        return self.turns.popleft()


def pseudonym(key: bytes, endpoint_id: UUID, owner: bytes) -> str:
    """Returns what an agent may know of a user: it stays the same there, and says nothing elsewhere.

    Args:
        key: The service's; without it nobody can tell whether a user whom he knows is meant.
        endpoint_id: Of the agent.
        owner: The user's id.
    """
    return hmac.digest(key, b"owner " + endpoint_id.bytes + owner, "sha256").hex()[:_PSEUDONYM_CHARS]
