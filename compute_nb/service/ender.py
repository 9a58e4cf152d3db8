"""This module is the store's ender: calls that end tasks from the service's side, in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from uuid import UUID

from compute_nb.service import ending
from compute_nb.service.calls import Calls
from compute_nb.service.ending import FIRST, Part
from compute_nb.service.rows import Ended
from compute_nb.service.transaction import Transaction
from compute_nb.tasks import Run, TaskResult

_IDS_A_STEP = 2_000


class Ender(Calls):
    """The part of `Store` that ends tasks."""

    _clock: Callable[[], float]

    async def cancel(
        self,
        owner: UUID,
        *,
        task_ids: Iterable[UUID] = (),
        task_group_id: UUID | None = None,
    ) -> Ended:
        """Cancels open tasks; ids that are unknown or somebody else's are passed over.

        Raises:
            NotFound, Forbidden: There is no such task group, or it is somebody else's.
        """
        if task_group_id is not None:
            return await self._parts(
                lambda tx, after: ending.cancel_group(tx, self._dispatcher, owner, task_group_id, after)
            )
        return await self._each(
            task_ids, lambda tx, ids: ending.cancel_tasks(tx, self._dispatcher, owner, ids)
        )

    async def lose(self, owner: UUID, task_ids: Iterable[UUID]) -> Ended:
        """Gives up open tasks as LOST, on the word of a person; a late value still counts."""
        return await self._each(task_ids, lambda tx, ids: ending.lose_tasks(tx, self._dispatcher, owner, ids))

    async def expire_after(self, expiry_s: float) -> None:
        """Gives up tasks that come from now on once they have been open for so long; blocks nobody else."""
        self._writer.expiry_s = expiry_s
        await self._run(lambda tx: tx.run("hasten_expiry", tx.expires, tx.expires))

    async def expire(self, now: float | None = None) -> Ended:
        """Ends what has waited too long: tasks after 14 days or as `expire_after` says, holds after an hour.

        Args:
            now: Seconds since the epoch; None asks the clock.
        """
        at = self._clock() if now is None else now
        ended = await self._parts(lambda tx, _: ending.end_stale_hold(tx, self._dispatcher, at))
        parts = [ended]
        due = await self._run(lambda tx: ending.due_group(tx, at))
        while due is not None:
            part, due = await self._expire(due, at)
            parts.append(part)
            due = due or await self._run(lambda tx: ending.due_group(tx, at))
        return _joined(parts)

    async def _expire(self, due: ending.Due, at: float) -> tuple[Ended, ending.Due | None]:
        return await self._run(lambda tx: ending.expire(tx, self._dispatcher, due, at))

    async def _parts(self, step: Callable[[Transaction, bytes], Part]) -> Ended:
        """Runs steps until nothing is left, each in a commit that others share."""
        parts: list[Ended] = []
        after: bytes | None = FIRST
        while after is not None:
            ended, after = await self._step(step, after)
            parts.append(ended)
        return _joined(parts)

    async def _step(self, step: Callable[[Transaction, bytes], Part], after: bytes) -> Part:
        return await self._run(lambda tx: step(tx, after))

    async def _each(self, task_ids: Iterable[UUID], step: Callable[[Transaction, list[UUID]], Part]) -> Ended:
        ids = list(task_ids)
        parts = [
            await self._run(lambda tx, part=ids[i : i + _IDS_A_STEP]: step(tx, part))  # type: ignore[misc]
            for i in range(0, len(ids), _IDS_A_STEP)
        ]
        return _joined([part.ended for part in parts])

    async def delete_endpoint(self, owner: UUID, endpoint_id: UUID) -> Ended:
        """Removes an endpoint; what it had not taken FAILED, what it had is LOST.

        Raises:
            NotFound, Forbidden: As they say.
        """
        return await self._parts(
            lambda tx, _: ending.delete_endpoint(tx, self._dispatcher, owner, endpoint_id)
        )


def _joined(parts: list[Ended]) -> Ended:
    runs: dict[UUID, tuple[Run, ...]] = {}
    results: list[TaskResult] = []
    for part in parts:
        results += part.results
        for endpoint_id, more in part.runs.items():
            runs[endpoint_id] = runs.get(endpoint_id, ()) + more
    return Ended(tuple(results), runs)
