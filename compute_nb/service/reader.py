"""This module is the store's reader: calls that tell where tasks stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from compute_nb.service import registry
from compute_nb.service.calls import Calls
from compute_nb.service.ending import FIRST
from compute_nb.service.ledger import CANCELLED_TEXT
from compute_nb.service.retention import DAY_S, note_fetched
from compute_nb.service.rows import GroupCounts, GroupPage, GroupRow, Inputs, NotFound, TaskRow, uuid_of
from compute_nb.service.statements import STATES
from compute_nb.service.transaction import Transaction
from compute_nb.tasks import OPEN, ErrorCode, TaskState

# Tasks that are counted in one step: a few milliseconds.
COUNTED = 5_000


class Reader(Calls):
    """The part of `Store` that tells of tasks."""

    async def task_rows(self, owner: UUID, task_ids: Iterable[UUID]) -> list[TaskRow]:
        """Returns all about those of the tasks that are known and the owner's, in the order asked for.

        Values that are told count as fetched.
        """
        ids = list(task_ids)

        def read(tx: Transaction) -> list[Any]:
            rows = tx.by_ids("task_rows", [task_id.bytes for task_id in ids], owner.bytes)
            stale_at = tx.now - DAY_S
            note_fetched(tx, [r[0] for r in rows if not STATES[r[4]].open and (r[12] or 0.0) < stale_at])
            return rows

        rows = await self._run(read)
        found = {row[0]: row for row in rows}
        return [_task_row(found[i.bytes]) for i in ids if i.bytes in found]

    async def open_of(self, owner: UUID) -> int:
        """Returns how many tasks of a user have not ended."""
        ((count,),) = await self._run(lambda tx: tx.named("open_of_owner", owner=owner.bytes))
        return int(count)

    async def places_of_group(
        self, owner: UUID, task_group_id: UUID, after: UUID | None, limit: int
    ) -> list[tuple[UUID, float]]:
        """Returns a page of a task group's tasks in whose place no other one runs: ids, and when submitted.

        Raises:
            NotFound, Forbidden: As they say.
        """

        def read(tx: Transaction) -> list[Any]:
            number = registry.owned_group(tx, owner, task_group_id)
            return tx.all("places_of_group", number, FIRST if after is None else after.bytes, limit)

        return [(uuid_of(task_id), at) for task_id, at in await self._run(read)]

    async def tasks_of_group(
        self, owner: UUID, task_group_id: UUID, after: UUID | None = None, limit: int = 1000
    ) -> GroupPage:
        """Returns a page of a task group, in the order of task ids.

        Args:
            owner: Whose group it is.
            task_group_id: The group.
            after: The last task of the page before.
            limit: Tasks in a page.

        Raises:
            NotFound, Forbidden: As they say.
        """

        def read(tx: Transaction) -> tuple[GroupRow, list[Any]]:
            number = registry.owned_group(tx, owner, task_group_id)
            last = FIRST if after is None else after.bytes
            rows = tx.all("page_of_group", number, last, limit + 1)
            return registry.group(tx, owner, task_group_id), rows

        group, rows = await self._run(read)
        tasks = tuple(
            (uuid_of(i), STATES[code].state, *rest, None if retry_of is None else uuid_of(retry_of))
            for i, code, *rest, retry_of in rows[:limit]
        )
        return GroupPage(group, tasks, len(rows) > limit)

    async def groups(self, owner: UUID, limit: int) -> list[GroupCounts]:
        """Returns the owner's task groups, the newest first, and how their tasks stand.

        Each group is counted in a step of its own, between which others are served.
        """
        rows = await self._run(lambda tx: tx.all("newest_groups", owner.bytes, limit))
        return [
            GroupCounts(
                GroupRow(uuid_of(group_id), owner, uuid_of(endpoint_id), created),
                name,
                await self._states(number),
            )
            for number, group_id, endpoint_id, created, name in rows
        ]

    async def _states(self, number: int) -> dict[TaskState, int]:
        """Counts a group a page at a time, so that a large one keeps nobody waiting."""
        counts: Counter[int] = Counter()
        after, more = FIRST, True
        while more:
            rows = await self._page(number, after)
            counts.update([code for _, code in rows])
            after, more = (rows[-1][0] if rows else after), len(rows) == COUNTED
        return {STATES[code].state: count for code, count in sorted(counts.items())}

    async def _page(self, number: int, after: bytes) -> list[Any]:
        return await self._run(lambda tx: tx.all("states_of_group", number, after, COUNTED))

    async def counts(self) -> dict[TaskState, int]:
        """Returns how many tasks are in each state."""
        rows = await self._run(lambda tx: tx.all("tally"))
        return {STATES[code].state: n for code, n in rows}

    async def open_count(self) -> int:
        """Returns how many tasks have not ended."""
        counts = await self.counts()
        return sum(counts[state] for state in OPEN)

    async def outstanding(self, endpoint_id: UUID) -> tuple[int, int]:
        """Returns how many tasks of an endpoint wait to be sent, and how many are sent and open."""

        def read(tx: Transaction) -> tuple[int, int]:
            row = tx.one("endpoint_access", endpoint_id.bytes)
            if row is None:
                return 0, 0
            return tx.one("count_waiting", row[0])[0], tx.one("count_out", row[0])[0]

        return await self._run(read)

    async def inputs(self, owner: UUID, task_id: UUID) -> Inputs:
        """Returns what a task of the owner's was submitted with.

        Raises:
            NotFound: There is no such task of his.
        """

        def read(tx: Transaction) -> Inputs:
            row = tx.one("inputs", owner.bytes, task_id.bytes)
            if row is None:
                raise NotFound(f"task {task_id} is not known here, or its inputs were deleted")
            function_id, code, args = row
            return Inputs(uuid_of(function_id), code, args)

        return await self._run(read)


def _task_row(row: Any) -> TaskRow:
    task_id, group_id, endpoint_id, function_id, code, attempt, retries, *times, data, error, _ = row
    state = STATES[code].state
    if state is TaskState.CANCELLED:
        data, error = CANCELLED_TEXT, ErrorCode.CANCELLED
    submitted_at, started_at, ended_at = times
    return TaskRow(
        uuid_of(task_id),
        uuid_of(group_id),
        uuid_of(endpoint_id),
        uuid_of(function_id),
        state,
        attempt,
        retries,
        submitted_at,
        started_at,
        ended_at,
        data,
        error,
    )
