"""This module is the store's keeper: calls that forget what was kept long enough, or is to be deleted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar
from uuid import UUID

from compute_nb.service import retention
from compute_nb.service.calls import Calls
from compute_nb.service.ending import FIRST
from compute_nb.service.retention import PAGES, Deleted, Retention, Stride, Swept
from compute_nb.service.transaction import Transaction

T = TypeVar("T")

# Tasks whose values were fetched, in one note of it.
NOTED = 200


class Keeper(Calls):
    """The part of `Store` that forgets tasks."""

    _clock: Callable[[], float]

    async def fetched(self, task_ids: Iterable[UUID]) -> None:
        """Notes that somebody was handed the values of these tasks: they are kept from now on."""
        ids = [task_id.bytes for task_id in task_ids]
        for start in range(0, len(ids), NOTED):
            await self._note(ids[start : start + NOTED])

    async def _note(self, ids: list[bytes]) -> None:
        await self._run(lambda tx: retention.note_fetched(tx, ids))

    async def sweep(self, kept: Retention, now: float | None = None) -> int:
        """Forgets what was kept long enough, in steps between which others are served.

        Args:
            kept: How long.
            now: Seconds since the epoch; None asks the clock.

        Returns:
            How many tasks were forgotten.
        """
        at = self._clock() if now is None else now
        stride, deleted, after = Stride(), 0, 0
        while True:
            swept = await self._sweep(stride, kept, after, at)
            deleted += swept.deleted
            if swept.after is None:
                break
            after = swept.after
        await self._give_back(deleted)
        return deleted

    async def _sweep(self, stride: Stride, kept: Retention, after: int, at: float) -> Swept:
        return await self._timed(stride, lambda tx: retention.sweep(tx, kept, after, stride.tasks, at))

    async def _timed(self, stride: Stride, operation: Callable[[Transaction], T]) -> T:
        def timed(tx: Transaction) -> tuple[T, float]:
            began = time.perf_counter()
            return operation(tx), time.perf_counter() - began

        done, seconds = await self._run(timed)
        stride.took(seconds)
        return done

    async def delete(
        self, owner: UUID, *, task_ids: Iterable[UUID] = (), task_group_id: UUID | None = None
    ) -> Deleted:
        """Deletes tasks that have ended, with their arguments and values; open ones stay.

        Ids that are unknown or somebody else's are passed over.

        Raises:
            NotFound, Forbidden: There is no such task group, or it is somebody else's.
        """
        parts, stride = [], Stride()
        if task_group_id is not None:
            after: bytes | None = FIRST
            while after is not None:
                parts.append(await self._delete_group(stride, owner, task_group_id, after))
                after = parts[-1].after
        left = list(task_ids)
        while left:
            ids, left = left[: stride.tasks], left[stride.tasks :]
            parts.append(await self._delete_tasks(stride, owner, ids))
        deleted = sum(part.deleted for part in parts)
        await self._give_back(deleted)
        return Deleted(deleted, sum(part.open for part in parts))

    async def _delete_group(self, stride: Stride, owner: UUID, group_id: UUID, after: bytes) -> Deleted:
        def operation(tx: Transaction) -> Deleted:
            return retention.delete_group(tx, self._dispatcher, owner, group_id, after, stride.tasks)

        return await self._timed(stride, operation)

    async def _delete_tasks(self, stride: Stride, owner: UUID, ids: list[UUID]) -> Deleted:
        return await self._timed(stride, lambda tx: retention.delete_tasks(tx, self._dispatcher, owner, ids))

    async def _give_back(self, deleted: int) -> None:
        """Gives the disk back what is free, in steps between which others are served."""

        def step(tx: Transaction) -> bool:
            return tx.give_back(PAGES)

        while deleted and await self._run(step):
            pass
