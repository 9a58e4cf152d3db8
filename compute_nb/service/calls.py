"""This module is the ground of the store's calls: what each of them has at hand."""

from __future__ import annotations

import time
from typing import TypeVar

from compute_nb.service.database import Database
from compute_nb.service.dispatch import Dispatcher
from compute_nb.service.meter import Histogram
from compute_nb.service.writer import Operation, Writer

T = TypeVar("T")


class Calls:
    """Base of the parts of `Store`; their coroutines belong to the loop.

    Attributes:
        commits: How long each call took, from the question to the commit.
    """

    commits: Histogram

    _database: Database
    _dispatcher: Dispatcher
    _writer: Writer

    async def _run(self, operation: Operation[T]) -> T:
        begun_at = time.perf_counter()
        try:
            return await self._writer.run(operation)
        finally:
            self.commits.observe(time.perf_counter() - begun_at)
