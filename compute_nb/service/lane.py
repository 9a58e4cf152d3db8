"""This module is the lane of one connected endpoint: its window, and whose turn it is."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from uuid import UUID

from compute_nb.tasks import TaskCall

WINDOW_TASKS = 256
WINDOW_PER_WORKER = 4
WINDOW_PUBLISHED = 10_000
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
        out: Task number -> characters of its arguments, for all that is sent and open.
        waiting: Task group -> holds under which it has tasks to send (0: without).
        turns: The task groups of `waiting` that were served before, the next one first.
        fresh: Those that were not. They take every other turn, so that a lone task passes a large group and
            many of them don't stop it.
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
    out: dict[int, int] = field(default_factory=dict)
    characters: int = 0
    waiting: dict[int, list[int]] = field(default_factory=dict)
    turns: deque[int] = field(default_factory=deque)
    fresh: deque[int] = field(default_factory=deque)
    fresh_next: bool = True
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

    def sent(self, tasks: list[tuple[int, TaskCall]]) -> None:
        """Tasks, with their numbers, are out."""
        sizes = {number: len(call.args) for number, call in tasks}
        self.out |= sizes
        self.characters += sum(sizes.values())

    def freed(self, numbers: list[int]) -> None:
        """Tasks are not out any more, if they were."""
        self.characters -= sum([self.out.pop(number, 0) for number in numbers])
