"""This module is the round of a keeper: tasks that came together, run one after the other.

A round is meant for short tasks. Once one of them proves to be long, the ends of those before it are told at
once, and those behind it are given back: another worker may be free.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from .answer import CANCELLED, NOT_BEGUN, never

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .answer import Call
    from .keeper import Keeper

LONG_S = 0.1
TELL_S = 0.2  # so long an end waits for that of the round


class Round:
    """Runs on its keeper's thread; `stop` may be called from any.

    Args:
        keeper: Idle.
        calls: By name.
        tell: Sends ends ahead of those that `run` returns, if that can be done here.
    """

    def __init__(
        self,
        keeper: Keeper,
        calls: Iterable[tuple[str, Call]],
        tell: Callable[[list[Any]], None] | None = None,
    ) -> None:
        self.keeper, self.tell = keeper, tell
        self.waiting = deque(calls)
        self.ends: list[Any] = []
        self.told = 0
        self.turn = threading.Lock()

    def run(self) -> list[Any]:
        """Returns how each task ended, as `[name, *Answer]`; also of those that were told before."""
        tells_at = time.monotonic() + TELL_S
        for name, call in self.calls():
            now = time.monotonic()
            if now > tells_at:
                self.tell_ends()
                tells_at = now + TELL_S
            if self.waiting or self.ends:
                self.keeper.later(now + LONG_S, self.give_back)
            self.ends.append([name, *self.keeper.call(call)])
        self.keeper.due = None
        return self.ends

    def calls(self) -> Iterator[tuple[str, Call]]:
        """Takes one out after the other."""
        while True:
            with self.turn:
                if not self.waiting:
                    return
                name, call = self.waiting.popleft()
                self.keeper.expect(name)
            yield name, call

    def give_back(self) -> None:
        """A task is long: what waits behind it begins elsewhere, what has ended is told."""
        with self.turn:
            calls, self.waiting = self.waiting, deque()
        self.ends.extend([name, *never(NOT_BEGUN)] for name, _ in calls)
        self.tell_ends()

    def tell_ends(self) -> None:
        """Tells the ends that were not told before."""
        if self.tell is not None:
            self.tell(self.ends[self.told :])
            self.told = len(self.ends)

    def stop(self, name: str) -> bool:
        """Ends a task if it is here, begun or not."""
        with self.turn:
            for entry in self.waiting:
                if entry[0] == name:
                    self.waiting.remove(entry)
                    self.ends.append([name, *never(CANCELLED)])
                    return True
        return self.keeper.stop(name)
