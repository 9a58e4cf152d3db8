"""This module is the store's keeper: calls that forget what was kept long enough, or is to be deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from uuid import UUID

from compute_nb.service import retention
from compute_nb.service.calls import Calls
from compute_nb.service.ending import FIRST
from compute_nb.service.retention import PAGES, PART, Deleted, Retention, Swept
from compute_nb.service.transaction import Transaction


class Keeper(Calls):
    """The part of `Store` that forgets tasks."""

    _clock: Callable[[], float]

    async def fetched(self, task_ids: Iterable[UUID]) -> None:
        """Notes that somebody was handed the values of these tasks: they are kept from now on."""
        ids = [task_id.bytes for task_id in task_ids]
        for start in range(0, len(ids), PART):
            await self._note(ids[start : start + PART])

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
        swept = await self._sweep(kept, 0, at)
        deleted = swept.deleted
        while swept.after is not None:
            swept = await self._sweep(kept, swept.after, at)
            deleted += swept.deleted
        await self._give_back(deleted)
        return deleted

    async def _sweep(self, kept: Retention, after: int, at: float) -> Swept:
        return await self._run(lambda tx: retention.sweep(tx, kept, after, at))

    async def delete(
        self, owner: UUID, *, task_ids: Iterable[UUID] = (), task_group_id: UUID | None = None
    ) -> Deleted:
        """Deletes tasks that have ended, with their arguments and values; open ones stay.

        Ids that are unknown or somebody else's are passed over.

        Raises:
            NotFound, Forbidden: There is no such task group, or it is somebody else's.
        """
        parts = []
        if task_group_id is not None:
            after: bytes | None = FIRST
            while after is not None:
                parts.append(await self._delete_group(owner, task_group_id, after))
                after = parts[-1].after
        ids = list(task_ids)
        parts += [await self._delete_tasks(owner, ids[i : i + PART]) for i in range(0, len(ids), PART)]
        deleted = sum(part.deleted for part in parts)
        await self._give_back(deleted)
        return Deleted(deleted, sum(part.open for part in parts))

    async def _delete_group(self, owner: UUID, group_id: UUID, after: bytes) -> Deleted:
        return await self._run(
            lambda tx: retention.delete_group(tx, self._dispatcher, owner, group_id, after)
        )

    async def _delete_tasks(self, owner: UUID, ids: list[UUID]) -> Deleted:
        return await self._run(lambda tx: retention.delete_tasks(tx, self._dispatcher, owner, ids))

    async def _give_back(self, deleted: int) -> None:
        """Gives the disk back what is free, in steps between which others are served."""

        def step(tx: Transaction) -> bool:
            return tx.give_back(PAGES)

        while deleted and await self._run(step):
            pass
