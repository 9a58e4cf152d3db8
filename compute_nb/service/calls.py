"""This module is the ground of the store's calls: what each of them has at hand."""

from __future__ import annotations

from typing import TypeVar

from compute_nb.service.database import Database
from compute_nb.service.dispatch import Dispatcher
from compute_nb.service.writer import Operation, Writer

T = TypeVar("T")


class Calls:
    """Base of the parts of `Store`; their coroutines belong to the loop."""

    _database: Database
    _dispatcher: Dispatcher
    _writer: Writer

    async def _run(self, operation: Operation[T]) -> T:
        return await self._writer.run(operation)
