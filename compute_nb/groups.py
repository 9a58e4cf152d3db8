"""This module is the queues of task groups: where results come from a service without our extensions.

Such a queue is shared: whoever reads it takes its results from all others. So what is still open is asked
for too, soon after a group came or a connection was made, later once a minute; where a queue is missing
that is the only way.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol
from uuid import UUID

from compute_nb import published, wire
from compute_nb.amqp import Incoming, Link, LinkPlan, Timer
from compute_nb.connection import Connection
from compute_nb.future import ComputeFuture
from compute_nb.published_messages import PublishedResult
from compute_nb.routes import Status
from compute_nb.tasks import Events

log = logging.getLogger(__name__)

FIRST_NET_S = 5.0
LONGEST_NET_S = 60.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
MAX_QUEUES = 200
PATIENCE_S = 60.0


class Waiting(Protocol):
    """Whoever waits for the tasks of the groups."""

    def open_tasks(self) -> list[ComputeFuture]:
        """The futures of tasks that the service has named and that have not ended; for any thread."""

    def ask_about(self, task_ids: Sequence[UUID]) -> None:
        """Has the service asked how tasks stand, and takes the answer; does not block."""


class GroupQueues:
    """Reads the queue of each group on one link. On the link's thread, unless a method says otherwise.

    Args:
        waiting: Knows the open tasks.
        clock: Seconds, monotonic.
    """

    def __init__(self, waiting: Waiting, clock: Callable[[], float] = time.monotonic) -> None:
        self._waiting = waiting
        self._clock = clock
        self._net_s = FIRST_NET_S
        self._groups: set[UUID] = set()
        self._prefix = ""
        self._read: dict[str, UUID] = {}
        self._pauses: dict[UUID, float] = {}
        self._timers: dict[UUID | None, Timer] = {}
        self._missed_since: dict[UUID, float] = {}
        self.status: Callable[[Connection, Sequence[UUID]], Status] = published.status

    def __repr__(self) -> str:
        return f"GroupQueues<{len(self._read)} read, {len(self._pauses)} missing>"

    # -- the submitter's thread

    def follow(self, connection: Connection, task_group_id: UUID, link: Link | None) -> LinkPlan | None:
        """Has a group's queue read from now on; a link that is not there yet asks for its plan itself."""
        if task_group_id not in self._groups:
            self._groups = self._groups | {task_group_id}
            if link is not None:
                link.call_soon(lambda: self._joined(link, task_group_id))
        return None

    def subscribe(self, connection: Connection, groups: Iterable[UUID]) -> LinkPlan:
        """Asks where to read; the password may be another one than last time."""
        reader = published.group_reader(connection)
        self._prefix, self._groups = reader.queue_prefix, self._groups | set(groups)
        return LinkPlan(reader.url, ())

    def given_up(self, unknown: Iterable[ComputeFuture], known: Iterable[UUID]) -> list[ComputeFuture]:
        """Returns those that the service has left out of its answers for so long that it can't know them."""
        now, missed = self._clock(), self._missed_since
        for task_id in known:
            missed.pop(task_id, None)
        return [future for future in unknown if now - missed.setdefault(future.id, now) > PATIENCE_S]

    # -- the link's thread

    def ready(self, link: Link) -> None:
        """Reads all groups on a connection that is new."""
        self._pauses.clear()
        for group in self._groups:
            self._read_one(link, group)
        self._spread_net(link)

    def forget(self) -> None:
        """The connection is gone; groups with open tasks are read again on the next."""
        self._groups = {f.terms.task_group_id for f in self._waiting.open_tasks() if f.terms is not None}
        self._read.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def take(self, link: Link, message: Incoming) -> Events:
        """Returns what a message says.

        Raises:
            wire.MalformedMessage: It can't be read.
        """
        record = wire.decode(message.body)
        if not isinstance(record, PublishedResult):
            raise wire.MalformedMessage(f"{type(record).__name__} on the queue of a group")
        if message.headers.get("high_assurance"):
            self._waiting.ask_about([record.task_id])
            return Events()
        code = record.error and record.error[0]
        ended_at = float(message.timestamp or time.time())
        ended = published.result(record.task_id, record.data, code, ended_at, record.details)
        return Events(results=(ended,))

    def ack(self, link: Link, message: Incoming) -> None:
        """What the message said is with its future."""
        link.ack_beside(message)

    def reject(self, link: Link, message: Incoming) -> None:
        """The message can't be read."""
        link.reject_beside(message)

    # -- inside, on the link's thread

    def _joined(self, link: Link, group: UUID) -> None:
        self._read_one(link, group)
        if link.is_open:
            self._spread_net(link)

    def _read_one(self, link: Link, group: UUID) -> None:
        queue = f"{self._prefix}{group}"
        if not link.is_open or queue in self._read:
            return
        if len(self._read) >= MAX_QUEUES and not self._leave_one(link):
            self._later(link, group)
            return
        self._read[queue] = group
        link.read(queue, lambda name, reason: self._on_missing(link, name, reason))

    def _leave_one(self, link: Link) -> bool:
        """Reads a queue no more of which nothing is open; False if there is none."""
        needed = {f.terms.task_group_id for f in self._waiting.open_tasks() if f.terms is not None}
        idle = next((queue for queue, group in self._read.items() if group not in needed), None)
        if idle is None:
            return False
        self._groups = self._groups - {self._read.pop(idle)}
        link.leave(idle)
        return True

    def _on_missing(self, link: Link, queue: str, reason: Exception) -> None:
        group = self._read.pop(queue, None)
        if group is not None:
            log.info("queue %s can't be read, its tasks are asked for instead: %s", queue, reason)
            self._later(link, group)

    def _later(self, link: Link, group: UUID) -> None:
        pause_s = self._pauses.get(group, FIRST_PAUSE_S)
        self._pauses[group] = min(2 * pause_s, LONGEST_PAUSE_S)
        self._arm(link, group, pause_s, lambda: self._ask_for(link, group))

    def _ask_for(self, link: Link, group: UUID) -> None:
        """Asks about a group without a queue, and looks whether there is one now."""
        wanted = [
            future.id
            for future in self._waiting.open_tasks()
            if future.terms is not None and future.terms.task_group_id == group
        ]
        if wanted:
            self._waiting.ask_about(wanted)
            self._read_one(link, group)
        else:
            self._groups = self._groups - {group}
            self._pauses.pop(group, None)

    def _spread_net(self, link: Link) -> None:
        self._net_s = FIRST_NET_S
        self._arm(link, None, self._net_s, lambda: self._draw_net(link))

    def _draw_net(self, link: Link) -> None:
        wanted = [future.id for future in self._waiting.open_tasks()]
        if wanted:
            self._waiting.ask_about(wanted)
        self._net_s = min(2 * self._net_s, LONGEST_NET_S)
        self._arm(link, None, self._net_s, lambda: self._draw_net(link))

    def _arm(self, link: Link, key: UUID | None, seconds: float, call: Callable[[], Any]) -> None:
        old = self._timers.pop(key, None)
        if old is not None:
            old.cancel()
        self._timers[key] = link.call_later(seconds, call)
