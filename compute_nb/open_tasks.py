"""This module is the open tasks of a process at one service: news of them is given to their futures here."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from compute_nb import routes
from compute_nb.future import ComputeFuture
from compute_nb.ledger import Ledger
from compute_nb.spool import Spool
from compute_nb.tasks import Move, Printed, TaskResult, TaskState

log = logging.getLogger(__name__)


class OpenTasks:
    """Futures are added from any thread; one thread gives the news.

    Each task is in here until its end has been heard; whoever takes it out is the one who ends its future.

    Attributes:
        environments: What the agent, or the last worker, of each endpoint said of itself.
        presence: Whether an agent of each endpoint takes tasks.
    """

    def __init__(self) -> None:
        self.environments: dict[UUID, Mapping[str, Any]] = {}
        self.presence: dict[UUID, bool] = {}
        self._open: dict[UUID, ComputeFuture] = {}
        self._naming = threading.Lock()
        self._unnamed = False
        self._early: dict[UUID, TaskResult] = {}
        self._spool: Spool | None = None

    # -- any thread

    def open_tasks(self) -> list[ComputeFuture]:
        """Returns the futures of all tasks that the service has named and that have not ended."""
        return [f for f in list(self._open.values()) if f.sent and f.named]

    def add(self, future: ComputeFuture) -> None:
        """Waits for one more task; before it is sent."""
        self._open[future.id] = future

    def find(self, task_id: UUID) -> ComputeFuture | None:
        """Returns the future of an open task, if one is waited for."""
        return self._open.get(task_id)

    def open_futures(self, ledger: Ledger) -> list[ComputeFuture]:
        """Returns the futures of one Executor that have not ended."""
        return [
            future
            for future in list(self._open.values())
            if future.terms is not None and future.terms.ledger is ledger and not future.done()
        ]

    def discard(self, futures: Iterable[ComputeFuture]) -> None:
        """Waits no more for these tasks."""
        for future in futures:
            self._open.pop(future.id, None)

    def absorb(self, status: routes.Status) -> None:
        """Takes what the service said of some tasks."""
        self._take(status.moves, status.results)

    def restore(self, results: Iterable[TaskResult]) -> None:
        """Takes results that the spool had."""
        self._take((), results, keep=False)

    # -- the submitter's thread

    def expect_names(self) -> None:
        """A request is under way whose tasks the service will name: their results may come before."""
        self._unnamed = True

    def name(self, names: Iterable[tuple[ComputeFuture, UUID]]) -> None:
        """The service has named tasks; results that came before are taken now."""
        came: list[TaskResult] = []
        with self._naming:
            for future, task_id in names:
                self._open.pop(future.id, None)
                future.name(task_id)
                if not future.done():
                    self._open[task_id] = future
                    if task_id in self._early:
                        came.append(self._early[task_id])
            self._early.clear()
            self._unnamed = False
        self._take((), came)

    # -- inside

    def _note_presence(self, presence: Mapping[UUID, bool]) -> None:
        changed = {key for key, present in presence.items() if self.presence.get(key) is not present}
        self.presence.update(presence)
        open_futures = list(self._open.values())
        tell_listeners(f for f in open_futures if f.terms is not None and f.terms.endpoint_id in changed)

    def _take(
        self,
        moves: Iterable[Move],
        results: Iterable[TaskResult],
        printed: Iterable[Printed] = (),
        *,
        keep: bool = True,
    ) -> None:
        """Gives news to the futures; what nobody waits for (a double, another program's) is dropped.

        Args:
            keep: Whether results go into the spool, if there is one.
        """
        changed: list[ComputeFuture] = []
        for move in moves:
            future = self._open.get(move.task_id)
            if future is not None and future.follow(move):
                changed.append(future)
        for one in printed:
            future = self._open.get(one.run.task_id)
            if future is not None and future.hear(one):
                changed.append(future)
        for result in results:
            future = self._claim(result)
            if future is not None:
                if result.worker is not None and future.terms is not None:
                    self.environments[future.terms.endpoint_id] = result.worker
                future.take(result)
                if keep:
                    self._keep(future, result)
                log.debug("task %s has ended: %s", result.task_id, result.state.value)
                changed.append(future)
        tell_listeners(changed)

    def _keep(self, future: ComputeFuture, result: TaskResult) -> None:
        if self._spool is not None and future.terms is not None and result.state is not TaskState.LOST:
            self._spool.put(result._replace(task_group_id=future.terms.task_group_id))

    def _claim(self, result: TaskResult) -> ComputeFuture | None:
        """Takes the future of a result out of `_open`; keeps a result whose task may not be named yet."""
        with self._naming:
            future = self._open.pop(result.task_id, None)
            if future is None and self._unnamed:
                self._early[result.task_id] = result
        return future


def tell_listeners(futures: Iterable[ComputeFuture]) -> None:
    """Calls the listeners of the Executors of these futures, each once with its own."""
    by_ledger: dict[int, tuple[Ledger, list[ComputeFuture]]] = {}
    for future in futures:
        if future.terms is not None and future.terms.ledger.listeners:
            ledger = future.terms.ledger
            by_ledger.setdefault(id(ledger), (ledger, []))[1].append(future)
    for ledger, own in by_ledger.values():
        ledger.tell(own)
