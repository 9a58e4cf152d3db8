"""This module is the sending of one cell: its tasks to the service, once and again, without what is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compute_nb.errors import NotOffered
from compute_nb.executor import Executor
from compute_nb.future import ComputeFuture
from compute_nb.notebook.cargo.payload import FUNCTION_NAME
from compute_nb.notebook.runs.debug import TaskInputs
from compute_nb.notebook.runs.reuse import Reuse


class Sending:
    """The tasks of one cell on their way; the main thread's.

    Args:
        source: The function that travels.
        packed: Each task's own values as they travel.
        reuse: What was computed before; None: all is sent.
    """

    def __init__(self, executor: Executor, source: str, packed: Sequence[Any], reuse: Reuse | None) -> None:
        self._executor, self._source, self._packed = executor, source, packed
        self._reuse = reuse
        self._fresh: tuple[Sequence[int], Sequence[ComputeFuture]] = (), ()

    def begin(self) -> list[ComputeFuture]:
        """Returns the futures of all tasks, in their order; those that the service needs are on their way.

        Raises:
            ComputeError: It can't be reached or refuses the function.
        """
        futures = {} if self._reuse is None else dict(self._reuse.futures)
        places = [place for place in range(len(self._packed)) if place not in futures]
        self._fresh = places, self._submitted(places)
        futures.update(zip(*self._fresh, strict=True))
        return [futures[place] for place in range(len(self._packed))]

    def finish(self) -> None:
        """Returns when the service has all of them on its disk.

        Raises:
            ComputeError: It refuses them or can't be reached.
        """
        places, futures = self._fresh
        if places:
            self._executor.wait_accepted()
        self._keep(places, futures)

    def again(self, futures: Sequence[ComputeFuture], places: Sequence[int]) -> list[ComputeFuture]:
        """Returns the futures of what runs in the places of tasks that gave no value.

        Raises:
            ComputeError: The service can't be reached, or can't run one of them again.
        """
        try:
            fresh = self._executor.retry_tasks([futures[place] for place in places])
        except NotOffered:  # a service that keeps no inputs for us; this kernel still has them
            fresh = self._submitted(places)
            self._executor.wait_accepted()
        self._keep(places, fresh)
        return fresh

    def inputs(self, place: int) -> TaskInputs:
        """Returns what the task in a place was sent with."""
        return TaskInputs(self._source, place, self._packed[place])

    def _submitted(self, places: Sequence[int]) -> list[ComputeFuture]:
        if not places:
            return []
        function_id = self._executor.register_source_code(self._source, FUNCTION_NAME)
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
            ((place, self._packed[place]), {}) for place in places
        ]
        return self._executor.submit_many(function_id, calls)

    def _keep(self, places: Sequence[int], futures: Sequence[ComputeFuture]) -> None:
        for place, future in zip(places, futures, strict=True) if self._reuse is not None else ():
            self._reuse.keep(place, future)  # type: ignore[union-attr]
