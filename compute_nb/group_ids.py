"""This module is the group ids of this process, some of them drawn ahead.

Whoever listens for a group listens for those that are drawn ahead as well: what an Executor sends first then
waits for no request that says so.
"""

from __future__ import annotations

import os
import threading
from uuid import UUID

from compute_nb.tasks import new_ids

AHEAD = 16


class GroupIds:
    """Gives each id once, in growing order. Any thread may use it.

    Args:
        ahead: How many are drawn with one that is asked for.
    """

    def __init__(self, ahead: int = AHEAD) -> None:
        self._ahead = ahead
        self._lock = threading.Lock()
        self._drawn: list[UUID] = []

    def take(self) -> UUID:
        """Returns an id that nobody has got."""
        with self._lock:
            if not self._drawn:
                self._drawn = new_ids(1 + self._ahead)
            return self._drawn.pop(0)

    @property
    def drawn(self) -> list[UUID]:
        """The ids that are given next."""
        with self._lock:
            return list(self._drawn)

    def after_fork(self) -> None:
        """Forgets what the parent process gives."""
        self._lock, self._drawn = threading.Lock(), []


group_ids = GroupIds()
os.register_at_fork(after_in_child=group_ids.after_fork)
