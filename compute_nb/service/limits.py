"""This module is the limits of users: how much one may ask at a time, so that others have room."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from compute_nb.service.config import Limits
from compute_nb.service.refusal import too_large, too_many

RECOUNT_S = 1.0
TASKS_AGAIN_S = 10.0
READING_AGAIN_S = 2.0


@dataclass(slots=True)
class _Use:
    """What one user takes up.

    Attributes:
        allowance: Requests that he may make at once, as of `at`.
        open_at_most: His open tasks, counted at `counted_at` and all submitted since.
        reading: Bytes of bodies that are being read.
    """

    allowance: float
    at: float
    open_at_most: int = 0
    counted_at: float | None = None
    reading: int = 0


class UserLimits:
    """Refuses what is too much of a user; loop thread only.

    Args:
        limits: The same for all users.
        count_open: Counts the open tasks of a user; asked when he comes near the limit, and at most once a
            second.
        own_user: Who runs the service; not limited.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        limits: Limits,
        count_open: Callable[[UUID], Awaitable[int]],
        own_user: UUID,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits, self._count_open, self._own_user, self._clock = limits, count_open, own_user, clock
        self._uses: dict[UUID, _Use] = {}

    @property
    def request_bytes(self) -> int:
        """How many bytes a request's body may have."""
        return int(self._limits.request_mb * 1e6)

    def request(self, user: UUID) -> None:
        """Counts a request.

        Raises:
            Refusal: 429, too many in a short time.
        """
        rate = self._limits.requests_per_s
        if user == self._own_user or not rate:
            return
        use, now = self._use(user), self._clock()
        most = max(1.0, float(self._limits.burst))
        use.allowance = min(most, use.allowance + (now - use.at) * rate)
        use.at = now
        if use.allowance < 1:
            raise too_many(
                f"more than {rate:g} requests a second: wait, or put more tasks in one request",
                (1 - use.allowance) / rate,
            )
        use.allowance -= 1

    @contextmanager
    def reading(self, user: UUID, declared: int | None) -> Iterator[None]:
        """Holds the place of a body while it is read; of one without a length, the most it may have.

        Raises:
            Refusal: 429, too much is being read already.
        """
        most = int(self._limits.reading_mb * 1e6)
        size = self.request_bytes if declared is None else min(declared, self.request_bytes)
        if user == self._own_user or not most or not size:
            yield
            return
        use = self._use(user)
        if use.reading and use.reading + size > most:
            raise too_many(
                f"{use.reading / 1e6:.0f} MB of other requests of yours are being read: send one by one",
                READING_AGAIN_S,
            )
        use.reading += size
        try:
            yield
        finally:
            use.reading -= size

    async def tasks(self, user: UUID, count: int) -> None:
        """Counts tasks that are about to be stored.

        Raises:
            Refusal: 429, too many of his have not ended; 413, more at once than there may ever be.
        """
        most = self._limits.open_tasks
        if user == self._own_user or not most or not count:
            return
        if count > most:
            raise too_large(f"{count:,} tasks at once, and {most:,} may be open: submit in parts")
        use = self._use(user)
        if self._must_count(use, count):
            use.counted_at = self._clock()
            use.open_at_most = await self._count_open(user)
        if use.open_at_most + count > most:
            raise too_many(
                f"about {use.open_at_most:,} of your tasks have not ended, and {most:,} may be open: "
                "wait until some have, or cancel what is not needed",
                TASKS_AGAIN_S,
            )
        use.open_at_most += count

    def _must_count(self, use: _Use, count: int) -> bool:
        if use.counted_at is None:
            return True
        full = use.open_at_most + count > self._limits.open_tasks
        return full and self._clock() - use.counted_at >= RECOUNT_S

    def _use(self, user: UUID) -> _Use:
        found = self._uses.get(user)
        if found is None:
            found = self._uses[user] = _Use(float(self._limits.burst), self._clock())
        return found
