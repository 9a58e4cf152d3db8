"""This module is the tasks of a reloaded group: futures made when looked at, results fetched on demand."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import overload
from uuid import UUID

from compute_nb import routes
from compute_nb.future import ComputeFuture, Keeper
from compute_nb.tasks import TaskResult, TaskState
from compute_nb.terms import Terms

FIRST_FETCH = 8
FETCH_CHARACTERS = 2_000_000

Ask = Callable[[Sequence[UUID]], routes.Status]


class ReloadedTasks(Sequence[ComputeFuture]):
    """The futures of a group's tasks, ordered by task id. Any thread may use it.

    The future of a task that had ended is made at the first look at it and is done at once. Its value is
    fetched, with those after it, when it is first asked for: by `result`, `exception`, `raw`, `error_code`.

    Args:
        group: The tasks as the service listed them.
        terms: Of the tasks, with the group's endpoint.
        keeper: Of the futures.
        waited: Index -> future of the tasks that had not ended.
        ask: Asks the service how tasks stand; blocks.
    """

    def __init__(
        self,
        group: routes.Group,
        terms: Terms,
        keeper: Keeper,
        waited: dict[int, ComputeFuture],
        ask: Ask,
    ) -> None:
        self._group = group
        self._terms = terms
        self._keeper = keeper
        self._made = waited
        self._ask = ask
        self._stride = FIRST_FETCH
        self._fetching = threading.Lock()

    def __len__(self) -> int:
        return len(self._group)

    @overload
    def __getitem__(self, index: int) -> ComputeFuture: ...
    @overload
    def __getitem__(self, index: slice) -> list[ComputeFuture]: ...
    def __getitem__(self, index: int | slice) -> ComputeFuture | list[ComputeFuture]:
        if isinstance(index, slice):
            return [self._future(i) for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return self._future(place)

    def __iter__(self) -> Iterator[ComputeFuture]:
        return map(self._future, range(len(self)))

    def __repr__(self) -> str:
        states = Counter(self._state(index).value for index in range(len(self)))
        told = ", ".join(f"{count:,} {state}" for state, count in states.items()) or "no tasks"
        return f"<ReloadedTasks of group {self._terms.task_group_id}: {told}>"

    def fetch(self, future: ComputeFuture) -> None:
        """Fetches what came of a task, and of those after it that nobody has asked for yet; blocks.

        Raises:
            ComputeError: The service can't be asked now; asking again tries again.
        """
        with self._fetching:
            if future._source is None:
                return
            first = self._group.find(future.id)
            wanted = [
                one
                for one in map(self._future, range(first, min(first + self._stride, len(self))))
                if one._source is self
            ]
            status = self._ask([one.id for one in wanted])
            found = {result.task_id: result for result in status.results}
            for one in wanted:
                one.fill(found.get(one.id) or self._forgotten(one), status.endpoints.get(one.id))
            self._adapt(sum(len(result.data) for result in status.results), len(wanted))

    def _adapt(self, characters: int, count: int) -> None:
        """Chooses how many to fetch next, so that a fetch of large values does not fill the memory."""
        mean = max(1, characters // count)
        self._stride = max(1, min(FETCH_CHARACTERS // mean, routes.MAX_IDS))

    def _state(self, index: int) -> TaskState:
        made = self._made.get(index)
        return self._group.state(index) if made is None else made.state

    def _future(self, index: int) -> ComputeFuture:
        made = self._made.get(index)
        if made is not None:
            return made
        row = self._group[index]
        future = ComputeFuture.ended(row.task_id, self._terms, self._keeper, row.state, self)
        future.submitted_at, future.started_at, future.ended_at = (
            row.submitted_at,
            row.started_at,
            row.ended_at,
        )
        future.attempt = row.attempt
        return self._made.setdefault(index, future)

    def _forgotten(self, future: ComputeFuture) -> TaskResult:
        text = f"the service does not know task {future.id} any more: it has expired, or was deleted"
        return TaskResult(
            future.id,
            self._terms.task_group_id,
            TaskState.LOST,
            text,
            None,
            future.attempt,
            future.submitted_at or 0.0,
            future.started_at,
            future.ended_at or 0.0,
        )
