"""This module is the result watcher: it hears what happens to tasks and ends their futures.

Subscribe first, then ask: the queue of a watcher gets all that happens in a group from before its first task
is sent, and after each lost connection the service is asked how the open tasks stand. A service without our
extensions has no such queue: there `compute_nb.groups` says what is read.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID

from compute_nb import local, routes, wire
from compute_nb.amqp import Incoming, Link, LinkPlan
from compute_nb.connection import Connection
from compute_nb.errors import ComputeError, ServiceUnreachable
from compute_nb.future import ComputeFuture
from compute_nb.open_tasks import OpenTasks, tell_listeners
from compute_nb.private_queue import PrivateQueue
from compute_nb.reach import Reach
from compute_nb.spool import Spool
from compute_nb.submitter import Submitter
from compute_nb.tasks import Events, TaskResult, TaskState

log = logging.getLogger(__name__)

REVIVE_AFTER_S = 5.0
OUTAGE_AFTER_S = 2.0
FETCH_AGAIN_S = 1.0
OWN_FAULT = 500


class Source(Protocol):
    """Where news of groups is read; hooks without a link are called on the submitter's thread."""

    status: Callable[[Connection, Sequence[UUID]], routes.Status]

    def follow(self, connection: Connection, task_group_id: UUID, link: Link | None) -> LinkPlan | None:
        """Has news of a group come from now on; returns where from, if it knows."""

    def subscribe(self, connection: Connection, groups: Iterable[UUID]) -> LinkPlan:
        """Has news of these groups come again, on a connection that is to be made."""

    def given_up(self, unknown: Iterable[ComputeFuture], known: Iterable[UUID]) -> list[ComputeFuture]:
        """Returns those tasks that are lost, of accepted ones on which the service has said nothing.

        Args:
            unknown: Those.
            known: The ids of which it has said something in the same answer.
        """

    def ready(self, link: Link) -> None:
        """The link is connected."""

    def forget(self) -> None:
        """The link is down."""

    def take(self, link: Link, message: Incoming) -> Events:
        """Returns what a message says."""

    def ack(self, link: Link, message: Incoming) -> None:
        """Acknowledges a message."""

    def reject(self, link: Link, message: Incoming) -> None:
        """Refuses a message for good."""


class _NothingOpen(ComputeError):
    """A lost connection is not needed: the next submit makes another."""


class ResultWatcher(OpenTasks):
    """Owns the link `compute_nb watcher`, which starts when a group is followed and there is none.

    A link that lost its connection while nothing is open ends: an idle kernel keeps no service alive.

    Messages end futures on the link's thread.

    Args:
        reach: The way to the service.
        amqp_port: Used instead of the port that the service names, if given.
    """

    def __init__(self, reach: Reach, amqp_port: int | None = None) -> None:
        super().__init__()
        self._reach = reach
        self._amqp_port = amqp_port
        self._source: Source = PrivateQueue()
        self._submitter: Submitter | None = None
        self._link: Link | None = None
        self._first_plan: LinkPlan | None = None
        self._down_since: float | None = None
        self._told_outage = False
        self._to_fetch: dict[UUID, None] = {}
        self._fetching = False
        self._closed = False
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"ResultWatcher<{len(self._open)} open, {self._link}>"

    # -- any thread

    @property
    def outage(self) -> str | None:
        """Why nothing is heard of open tasks now, for people; None if the way is open or not needed."""
        since = self._down_since
        if self._link is None or since is None:
            return None
        if self._reach.own and self._reach.home.stopped_mark.exists():
            return "the service was stopped by command; `compute-nb service start` or a submit starts it"
        down_s = time.monotonic() - since
        if down_s < OUTAGE_AFTER_S:
            return None
        where = "the local service" if self._reach.own else self._reach.settings.url
        return f"no connection to {where} for {down_s:.0f} s, trying again"

    def use(self, submitter: Submitter) -> None:
        """Names the thread on which the watcher's own requests run; called once."""
        self._submitter = submitter

    def read_from(self, source: Source, spool: Spool) -> None:
        """Reads there, not from a queue of its own; called before anything is followed.

        Args:
            spool: Keeps results: that service forgets them once they are acknowledged.
        """
        self._source, self._spool = source, spool

    def ask_about(self, task_ids: Sequence[UUID]) -> None:
        """Has the service asked how these tasks stand; does not block."""
        assert self._submitter is not None
        wanted = set(task_ids)

        def ask(connection: Connection) -> None:
            self._ask_for([f for f in self.open_tasks() if f.id in wanted], connection)

        self._submitter.call(ask, revive=False).add_done_callback(_log_failure)

    def tell(self, futures: list[ComputeFuture]) -> None:
        """Has the listeners called for these futures, on the link's thread if there is one."""
        link = self._link
        if link is None:
            tell_listeners(futures)
        else:
            link.call_soon(lambda: tell_listeners(futures))

    def seal(self) -> None:
        """Starts no link any more: at the interpreter's exit no thread can be started."""
        with self._lock:
            self._closed = True

    def stop(self, timeout_s: float) -> None:
        """Ends the link; open futures end with it."""
        self.seal()
        if self._link is not None:
            self._link.stop(timeout_s)

    # -- the submitter's thread

    def follow(self, connection: Connection, task_group_id: UUID) -> None:
        """Has all news of a group sent here, from now on; starts the link if there is none."""
        plan = self._source.follow(connection, task_group_id, self._link)
        with self._lock:
            if self._link is not None or self._closed:
                return
            self._first_plan = None if plan is None else self._by_our_rules(plan)
            if self._down_since is not None:
                self._down_since = time.monotonic()
            self._link = Link(self, "compute_nb watcher")
            self._link.start()

    def _subscribe_again(self, connection: Connection) -> LinkPlan:
        try:
            return self._subscribe_to_open(connection)
        except ComputeError as error:
            if (error.http_status or 0) >= OWN_FAULT:  # its disk is full, say: what is open goes on
                raise ServiceUnreachable(str(error)) from error
            raise

    def _subscribe_to_open(self, connection: Connection) -> LinkPlan:
        groups = {f.terms.task_group_id for f in list(self._open.values()) if f.terms and f.named}
        return self._by_our_rules(self._source.subscribe(connection, groups))

    def _ask(self, connection: Connection) -> None:
        """Asks how the open tasks stand; whoever is accepted and unknown there is lost."""
        self._ask_for(self.open_tasks(), connection)

    def _ask_for(self, futures: Sequence[ComputeFuture], connection: Connection) -> None:
        accepted = [f for f in futures if f.submitted_at is not None]
        status = self._source.status(connection, [f.id for f in futures])
        self.absorb(status)
        known = {move.task_id for move in status.moves} | {result.task_id for result in status.results}
        unknown = [f for f in accepted if f.id not in known and f.id in self._open]
        gone = self._source.given_up(unknown, known)
        self._take((), [_forgotten(future, connection.url) for future in gone])

    def _by_our_rules(self, plan: LinkPlan) -> LinkPlan:
        plan = replace(plan, ca=self._reach.ca)
        if self._amqp_port is None:
            return plan
        parts = urlsplit(plan.url)
        place = f"{parts.netloc.rpartition('@')[0]}@{parts.hostname}:{self._amqp_port}"
        return replace(plan, url=parts._replace(netloc=place).geturl())

    # -- the link's thread

    def plan(self) -> LinkPlan:
        """Says where to read; asks the service again after a lost connection."""
        plan, self._first_plan = self._first_plan, None
        if plan is not None:
            return plan
        assert self._submitter is not None
        self._end_if_idle()
        try:
            try:
                return self._submitter.call(self._subscribe_again, revive=False).result()
            except ServiceUnreachable:
                if not self._may_revive():
                    raise
            self._submitter.call(self._revive, revive=False).result()
            return self._submitter.call(self._subscribe_again, revive=False).result()
        except CancelledError as error:
            raise ComputeError("the submitter has ended") from error

    def _end_if_idle(self) -> None:
        with self._lock:
            if self._open:
                return
            self._forget_link()
        raise _NothingOpen("nothing is waited for")

    def _forget_link(self) -> None:
        """With the lock: the next `follow` subscribes anew, on a link that asks what was missed."""
        self._fetching = False
        self._link = None
        self._source.forget()
        self._down_since = time.monotonic()

    def on_open(self, link: Link) -> None:
        """Nothing is published here."""

    def on_ready(self, link: Link) -> None:
        """Asks what was missed while there was no connection."""
        self._source.ready(link)
        if self._down_since is None:
            return
        self._down_since = None
        self._tell_outage()
        assert self._submitter is not None
        self._submitter.call(self._ask, revive=False).add_done_callback(_log_failure)

    def on_message(self, link: Link, message: Incoming) -> None:
        """Ends futures, then acknowledges; with a spool once the results are on the disk."""
        try:
            events = self._source.take(link, message)
        except wire.MalformedMessage as error:
            log.warning("a message on %s was set aside: %s", message.queue, error)
            self._source.reject(link, message)
            return
        self.environments.update(events.environments)
        if events.presence:
            self._note_presence(events.presence)
        self._take(events.moves, events.results, events.printed)
        if events.fetch:
            self._to_fetch.update(dict.fromkeys(events.fetch))
            self._fetch_soon(link)
        if self._spool is None:
            self._source.ack(link, message)
        else:
            self._spool.afterwards(lambda: link.call_soon(lambda: self._source.ack(link, message)))

    def on_confirm(self, link: Link, number: int, ok: bool) -> None:
        """Nothing is published here."""

    def on_down(self, error: Exception) -> None:
        """Trusts no subscription any more."""
        if self._down_since is None:
            self._down_since = time.monotonic()
            log.info("the connection to the service is down, trying again: %s", error)
            if self._link is not None:
                self._link.call_later(OUTAGE_AFTER_S + 0.1, self._tell_outage)
        self._tell_outage()
        self._source.forget()

    def on_end(self, error: Exception | None) -> None:
        """Ends what is open: nobody would hear of it. A later submit starts a new link."""
        if isinstance(error, _NothingOpen):
            return
        with self._lock:
            self._forget_link()
        cause = error or ComputeError("this process stopped watching; reload_tasks of the group finds it")
        for task_id in list(self._open):
            future = self._open.pop(task_id, None)
            if future is not None:
                future.fail(cause)

    def _tell_outage(self) -> None:
        """Tells the listeners when the way to the service has closed or opened."""
        is_out = self.outage is not None
        if is_out != self._told_outage:
            self._told_outage = is_out
            tell_listeners(list(self._open.values()))

    def _fetch_soon(self, link: Link) -> None:
        """Has the results asked for that were too much for the queue; others gather meanwhile."""
        if self._fetching or not self._to_fetch:
            return
        assert self._submitter is not None
        task_ids, self._to_fetch = [i for i in self._to_fetch if i in self._open], {}
        self._fetching = True

        def fetch(connection: Connection) -> None:
            self.absorb(self._source.status(connection, task_ids))

        def fetched(asked: Any) -> None:
            link.call_soon(lambda: self._fetched(link, task_ids, asked.exception()))

        self._submitter.call(fetch, revive=False).add_done_callback(fetched)

    def _fetched(self, link: Link, task_ids: list[UUID], error: BaseException | None) -> None:
        self._fetching = False
        if error is None:
            self._fetch_soon(link)
            return
        log.info("%s results could not be fetched, they are asked for again: %s", len(task_ids), error)
        self._to_fetch.update(dict.fromkeys(task_ids))
        link.call_later(FETCH_AGAIN_S, lambda: self._fetch_soon(link))

    def _revive(self, _: Connection) -> None:
        try:
            self._reach.revive(asked=False)
        except (ComputeError, OSError) as error:  # a full disk, say: what is open goes on being waited for
            raise ServiceUnreachable(str(error)) from error

    def _may_revive(self) -> bool:
        """True if our own service's process has ended, or has not answered for a while."""
        if not self._reach.own:
            return False
        return self._down_for_s() > REVIVE_AFTER_S or local.ended(self._reach.home)

    def _down_for_s(self) -> float:
        return 0.0 if self._down_since is None else time.monotonic() - self._down_since


def _forgotten(future: ComputeFuture, url: str) -> TaskResult:
    assert future.terms is not None
    text = (
        f"the service at {url} accepted task {future.id} and does not know it any more: its store was "
        "deleted, or the task has expired; submit it again if it is still wanted"
    )
    submitted_at = future.submitted_at or time.time()
    return TaskResult(
        future.id,
        future.terms.task_group_id,
        TaskState.LOST,
        text,
        None,
        future.attempt,
        submitted_at,
        None,
        time.time(),
    )


def _log_failure(asked: Any) -> None:
    error = asked.exception()
    if error is not None:
        log.info("open tasks could not be asked for, the next connection does: %s", error)
