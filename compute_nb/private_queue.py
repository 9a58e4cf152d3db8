"""This module is the private queue of a watcher, which our service makes for it and fills with its news."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

from compute_nb import routes, wire
from compute_nb.amqp import Incoming, Link, LinkPlan
from compute_nb.connection import Connection
from compute_nb.future import ComputeFuture
from compute_nb.tasks import Events, new_id

MAX_GROUPS = 10_000


class PrivateQueue:
    """What a `watcher.Source` is at a service of ours."""

    def __init__(self) -> None:
        self._watch_id = new_id()
        self._groups: set[UUID] = set()
        self.status: Callable[[Connection, Sequence[UUID]], routes.Status] = routes.status

    def follow(self, connection: Connection, task_group_id: UUID, link: Link | None) -> LinkPlan | None:
        """As in `Source`."""
        groups = self._groups
        if task_group_id in groups:
            return None
        found = routes.watch(connection, self._watch_id, [task_group_id])
        groups.add(task_group_id)
        return LinkPlan(found.url, (found.queue,))

    def subscribe(self, connection: Connection, groups: Iterable[UUID]) -> LinkPlan:
        """As in `Source`."""
        ordered = list(groups)
        found = routes.watch(connection, self._watch_id, ordered[:MAX_GROUPS])
        for start in range(MAX_GROUPS, len(ordered), MAX_GROUPS):
            routes.watch(connection, self._watch_id, ordered[start : start + MAX_GROUPS])
        self._groups = set(ordered)
        return LinkPlan(found.url, (found.queue,))

    def given_up(self, unknown: Iterable[ComputeFuture], known: Iterable[UUID]) -> list[ComputeFuture]:
        """As in `Source`: our service knows all that it has accepted."""
        return list(unknown)

    def ready(self, link: Link) -> None:
        """As in `Source`."""

    def forget(self) -> None:
        """Trusts no subscription any more."""
        self._groups = set()

    def take(self, link: Link, message: Incoming) -> Events:
        """As in `Source`."""
        events = wire.decode(message.body)
        return events if isinstance(events, Events) else Events()

    def ack(self, link: Link, message: Incoming) -> None:
        """As in `Source`."""
        link.ack(message.tag)

    def reject(self, link: Link, message: Incoming) -> None:
        """As in `Source`."""
        link.reject(message.tag)
