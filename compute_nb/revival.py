"""This module is the revival of tasks: what was sent before, or runs again, gets futures that end."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from uuid import UUID

from compute_nb import published, routes
from compute_nb.connection import Connection
from compute_nb.errors import ComputeError, NotOffered
from compute_nb.future import ComputeFuture, Keeper
from compute_nb.reloaded import Ask, ReloadedTasks
from compute_nb.spool import Spool
from compute_nb.tasks import TaskState
from compute_nb.terms import Terms
from compute_nb.watcher import ResultWatcher


class Revival:
    """Makes futures for tasks that a service knows; called on the submitter's thread, and blocks.

    Args:
        watcher: Waits for what is open.
        spool: Has what was heard of services that forget.
        keeper: Of the futures.
        ask: Asks for the standing of tasks, on any thread.
    """

    def __init__(self, watcher: ResultWatcher, spool: Spool, keeper: Keeper, ask: Ask) -> None:
        self._watcher, self._spool, self._keeper, self._ask = watcher, spool, keeper, ask

    def reload(self, connection: Connection, terms: Terms) -> ReloadedTasks:
        """Returns futures for all tasks of a group, as `Session.reload`."""
        found = routes.group(connection, terms.task_group_id)
        terms = replace(terms, endpoint_id=found.endpoint_id)
        fresh: list[ComputeFuture] = []
        still_open = [index for index in range(len(found)) if not found.state(index).ended]
        waited = {index: self._future(found[index], terms, fresh) for index in still_open}
        if still_open:
            self._watcher.follow(connection, terms.task_group_id)
            status = routes.status(connection, [future.id for future in fresh])
            _place(fresh, terms, status.endpoints)
            self._watcher.absorb(status)
        return ReloadedTasks(found, terms, self._keeper, waited, self._ask)

    def reload_published(self, connection: Connection, terms: Terms) -> ReloadedTasks:
        """As `reload`, of a service without extensions.

        Where and how each task was sent is not told there, and a queue may give doubles. What was heard once
        is taken from the spool: the service may have forgotten it, or all of the group.
        """
        kept = self._spool.of(terms.task_group_id)
        found = self._group_published(connection, terms.task_group_id, kept)
        fresh: list[ComputeFuture] = []
        futures = {index: self._future(found[index], terms, fresh) for index in range(len(found))}
        self._watcher.restore(kept[future.id] for future in fresh if future.id in kept)
        self._watcher.absorb(published.status(connection, [one.id for one in fresh if one.id not in kept]))
        if any(not future.done() for future in fresh):
            self._watcher.follow(connection, terms.task_group_id)
            # What ended between the question and the reading: another reader may have had its result.
            self._watcher.ask_about([future.id for future in fresh if not future.done()])
        return ReloadedTasks(found, terms, self._keeper, futures, self._ask)

    def retry(
        self, connection: Connection, pairs: Sequence[tuple[ComputeFuture, UUID]]
    ) -> list[ComputeFuture]:
        """Has tasks that gave no value run again; returns the futures of what is in their places now.

        Args:
            pairs: The future of each and the id that its next task is to have.

        Raises:
            NotOffered: The service is older than this.
            ComputeError: It can't be reached, or one can't run again.
        """
        fresh: dict[UUID, ComputeFuture] = {}
        for future, new_id in pairs:
            if future.terms is not None:
                fresh[new_id] = again = ComputeFuture(new_id, future.terms, self._keeper)
                again.sent, again.submitted_at = True, time.time()
                self._watcher.add(again)
                self._watcher.follow(connection, future.terms.task_group_id)
        try:
            newest = routes.retry(connection, [(future.id, new_id) for future, new_id in pairs])
        except ComputeError as error:
            self._watcher.discard(fresh.values())
            if error.code == "NO_SUCH_ROUTE":
                raise NotOffered(
                    f"the service is older than this package and runs nothing again: {error}"
                ) from error
            raise
        found = [self._in_place(future, newest.get(future.id), fresh, new_id) for future, new_id in pairs]
        unheard = [one for one in found if one.id not in fresh and not one.done()]
        if unheard:
            self._watcher.absorb(routes.status(connection, [one.id for one in unheard]))
        return found

    def _in_place(
        self, old: ComputeFuture, newest: UUID | None, fresh: dict[UUID, ComputeFuture], new_id: UUID
    ) -> ComputeFuture:
        """Returns the future of the newest task in the place of one; what was made in vain is dropped."""
        if newest == new_id:
            return fresh[new_id]
        made = fresh.pop(new_id, None)
        if made is not None:
            self._watcher.discard((made,))
        if newest is None or old.terms is None:
            return old
        if newest == old.id and (not old.done() or old.state is TaskState.SUCCEEDED):
            return old
        row = routes.GroupRow(newest, TaskState.WAITING, None, None, None, 0)
        return self._future(row, old.terms, [])

    @staticmethod
    def _group_published(connection: Connection, group_id: UUID, kept: Collection[UUID]) -> routes.Group:
        """Returns the tasks of a group, with those that only the spool knows."""
        known: list[UUID] = []
        try:
            listed = published.group(connection, group_id)
            known = [listed.task_id(index) for index in range(len(listed))]
        except ComputeError as error:
            if error.http_status != HTTPStatus.NOT_FOUND or not kept:
                raise
        return published.group_of({*known, *kept})

    def _future(self, row: routes.GroupRow, terms: Terms, fresh: list[ComputeFuture]) -> ComputeFuture:
        """Returns the future of a task, the one that is waited for if there is one."""
        future = self._watcher.find(row.task_id)
        if future is not None and not future.cancelled():
            return future
        future = ComputeFuture(row.task_id, terms, self._keeper)
        future.sent, future.submitted_at = True, row.submitted_at
        future.state = row.state
        self._watcher.add(future)
        fresh.append(future)
        return future


def _place(futures: Sequence[ComputeFuture], terms: Terms, endpoints: Mapping[UUID, UUID]) -> None:
    """Corrects the endpoint of tasks that went elsewhere than the first of their group."""
    by_endpoint = {terms.endpoint_id: terms}
    for future in futures:
        endpoint_id = endpoints.get(future.id, terms.endpoint_id)
        if endpoint_id not in by_endpoint:
            by_endpoint[endpoint_id] = replace(terms, endpoint_id=endpoint_id)
        future.terms = by_endpoint[endpoint_id]
