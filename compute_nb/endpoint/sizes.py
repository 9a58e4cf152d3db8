"""This module is the sizes of chunks: how many tasks of a function a worker gets at once."""

from __future__ import annotations

import math
from collections import OrderedDict
from uuid import UUID

from compute_nb.endpoint.engine import EngineBatch
from compute_nb.endpoint.slots import MAX_CHUNK

GOAL_S = 0.05
AROUND_S = 0.0005  # that a task takes besides its own time
AHEAD_S = 0.25
SHORT_S = 0.002
LONG_S = 0.02
_REMEMBERED = 1024


class ChunkSizes:
    """One size for each function: 1 at first, doubled while a chunk takes under 2 ms."""

    def __init__(self) -> None:
        self._sizes: OrderedDict[int, int] = OrderedDict()

    def size(self, batch: EngineBatch) -> int:
        """Returns how many tasks of a batch may travel together; one if each has a limit of its own."""
        if batch.options.get("walltime_s") is not None:
            return 1
        return self._sizes.get(batch.function_id.int, 1)

    def learn(self, function_id: UUID, count: int, elapsed_s: float) -> None:
        """Notes that a chunk of `count` tasks took `elapsed_s` on a worker."""
        key = function_id.int  # hashing a UUID is slow
        size = self._sizes.get(key, 1)
        if elapsed_s < SHORT_S:
            size = max(size, min(MAX_CHUNK, 2 * count))
        elif elapsed_s > LONG_S:
            size = 1
        elif elapsed_s > 2 * SHORT_S:
            size = max(1, min(size, count // 2))
        self._sizes[key] = size
        self._sizes.move_to_end(key)
        while len(self._sizes) > _REMEMBERED:
            self._sizes.popitem(last=False)


class Paces:
    """How many tasks of a function together take about 50 ms; 1 while it is not known how long one takes.

    Args:
        most: The largest number.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._means: OrderedDict[int, float] = OrderedDict()

    def size(self, batch: EngineBatch) -> int:
        """Returns how many tasks of a batch may travel together."""
        mean_s = self._means.get(batch.function_id.int)
        if mean_s is None:
            return 1
        return max(1, min(self._most, int(GOAL_S / (mean_s + AROUND_S))))

    def ahead(self, batch: EngineBatch) -> float:
        """Returns how many chunks of a batch may wait for each worker, so that nobody waits long for them."""
        mean_s = self._means.get(batch.function_id.int)
        if mean_s is None:
            return 0
        return math.inf if mean_s <= GOAL_S else AHEAD_S // mean_s

    def learn(self, function_id: UUID, elapsed_s: float) -> None:
        """Notes how long a task took; the last few count most."""
        key = function_id.int
        mean_s = self._means.get(key)
        self._means[key] = elapsed_s if mean_s is None else mean_s + (elapsed_s - mean_s) / 8
        self._means.move_to_end(key)
        while len(self._means) > _REMEMBERED:
            self._means.popitem(last=False)
