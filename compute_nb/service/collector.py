"""This module is what the service takes in from agents: hellos, reports and heartbeats.

Whose message it is says the routing key, which the agent's password fixes; what the body says of that
is not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from compute_nb import logline, wire
from compute_nb.errors import ComputeError
from compute_nb.published_messages import PublishedResult, StatusReport
from compute_nb.service.broker import Broker, Delivery
from compute_nb.service.errands import Errands
from compute_nb.service.publisher import Publisher
from compute_nb.service.steward import Steward
from compute_nb.service.store import ReportDone, Store, StoreAway
from compute_nb.service.tokens import agent_username, commands_queue, tasks_queue
from compute_nb.tasks import Hello, Report
from compute_nb.wire import MalformedMessage

_log = logging.getLogger(__name__)

EXCHANGES = ("results", "heartbeats")
AWAY_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last one of an endpoint: when (seconds since the epoch), and what it said."""

    at: float
    state: Mapping[str, Any]


class Collector:
    """Takes what agents publish; loop thread only.

    A delivery is acknowledged once what it says is on disk. Reports of one agent reach the store in their
    order, since each is handed over before the next is looked at.

    Args:
        store: Started.
        broker: Not started yet, so that no message comes before somebody takes it.
        publisher: For answers, and for what watchers are to hear.
        on_presence: Called as (endpoint id, True or False) when an agent has come or gone.
        steward: Hears of published agents and their user endpoints.
    """

    def __init__(
        self,
        store: Store,
        broker: Broker,
        publisher: Publisher,
        on_presence: Callable[[UUID, bool], None],
        steward: Steward,
    ) -> None:
        self._store = store
        self._broker = broker
        self._publisher = publisher
        self._on_presence = on_presence
        self._steward = steward
        self._sessions: dict[UUID, UUID] = {}
        self._reading: dict[UUID, UUID | None] = {}
        self._watching: set[str] = set()
        self._heartbeats: dict[UUID, Heartbeat] = {}
        self._errands = Errands(_broken)
        self._ending = asyncio.Event()

    def start(self) -> None:
        """Declares the queues that agents publish to, and takes what comes there."""
        for name, take in zip(EXCHANGES, (self._on_result, self._on_heartbeat), strict=True):
            self._broker.declare_exchange(name, kind="topic")
            self._broker.declare_queue(name)
            self._broker.bind(name, name, f"*.{name}")
            self._broker.consume(name, take)
        self._broker.on_consumer = self._on_consumer

    def declare(self, endpoint_id: UUID) -> None:
        """Makes the queues of an endpoint and lets its agent in, unless that was done."""
        self._broker.admit(agent_username(endpoint_id))
        self._broker.declare_queue(tasks_queue(endpoint_id))
        self._broker.declare_queue(commands_queue(endpoint_id))

    def present(self, endpoint_id: UUID) -> bool:
        """True if an agent of that endpoint is there and takes tasks."""
        return endpoint_id in self._reading or self._steward.online(endpoint_id)

    @property
    def endpoints_present(self) -> int:
        """How many endpoints have an agent that reads its tasks."""
        return len(self._reading)

    def heartbeat(self, endpoint_id: UUID) -> Heartbeat | None:
        """The last heartbeat since the service began."""
        return self._heartbeats.get(endpoint_id)

    @property
    def watchers(self) -> int:
        """How many queues of clients have a reader."""
        return len(self._watching)

    @property
    def read_queues(self) -> Set[str]:
        """The queues of clients that have a reader."""
        return self._watching

    async def idle(self) -> None:
        """Waits until all that has come is dealt with."""
        self._ending.set()
        await self._errands.idle()

    def _on_result(self, delivery: Delivery) -> None:
        try:
            endpoint_id = _sender(delivery)
            message = wire.decode(delivery.body)
        except MalformedMessage as error:
            self._reject(delivery, error)
            return
        if isinstance(message, Report):
            self._publisher.printed(endpoint_id, message.printed)
            if message.only_printed and message.printed:
                delivery.ack()
                return
            self._errands.begin(self._report(endpoint_id, message, delivery))
        elif isinstance(message, Hello):
            self._sessions[endpoint_id] = message.session
            self._errands.begin(self._hello(endpoint_id, message, delivery))
        elif isinstance(message, PublishedResult):
            self._errands.begin(self._published(endpoint_id, message, delivery))
        else:
            self._reject(delivery, MalformedMessage(f"{type(message).__name__} is not for here"))

    def _on_heartbeat(self, delivery: Delivery) -> None:
        try:
            endpoint_id = _sender(delivery)
            message = wire.decode(delivery.body)
            if not isinstance(message, StatusReport):
                raise MalformedMessage(f"{type(message).__name__} is no heartbeat")
        except MalformedMessage as error:
            self._reject(delivery, error)
            return
        self._heartbeats[endpoint_id] = Heartbeat(time.time(), message.global_state)
        delivery.ack()
        self._steward.heartbeat(endpoint_id, message.global_state)

    def _reject(self, delivery: Delivery, error: ComputeError) -> None:
        _log.warning("message of %s to %s set aside: %s", delivery.username, delivery.queue, error)
        delivery.reject()

    async def _hello(self, endpoint_id: UUID, hello: Hello, delivery: Delivery) -> None:
        """Answers an agent's first message; what is left in its queues is of an older session."""
        self._broker.purge(tasks_queue(endpoint_id))
        self._broker.purge(commands_queue(endpoint_id))
        self._broker.announce(tasks_queue(endpoint_id), agent_username(endpoint_id))
        try:
            done = await self._store.hello(endpoint_id, hello)
        except ComputeError as error:
            self._give_up(endpoint_id, delivery, error)
            return
        _log.info(
            "endpoint %s: agent pid %r said hello, session %s, %s held, %s running, %s done, %s broken",
            *(endpoint_id, hello.agent.get("pid"), hello.session, len(hello.held)),
            *(len(hello.running), len(hello.done), len(hello.broken)),
        )
        self._publisher.met(endpoint_id, hello.agent)
        self._publisher.command(endpoint_id, done.welcome)
        self._publisher.events(done.moves, done.results, endpoint_id)
        delivery.ack()

    async def _report(self, endpoint_id: UUID, report: Report, delivery: Delivery) -> None:
        try:
            done = await self._store.report(endpoint_id, report)
            self._publisher.events(done.moves, done.results, endpoint_id)
            if done.stored:
                await self._store.synced()
        except ComputeError as error:
            self._give_up(endpoint_id, delivery, error)
            return
        delivery.ack()
        if done.stored:
            self._publisher.command(endpoint_id, wire.Stored(done.stored))
        if _log.isEnabledFor(logging.DEBUG):
            _tell(endpoint_id, done)

    async def _published(self, endpoint_id: UUID, message: PublishedResult, delivery: Delivery) -> None:
        core_id = self._steward.core_of(endpoint_id)
        if core_id is None:
            self._reject(delivery, MalformedMessage(f"{endpoint_id} is no user endpoint"))
            return
        try:
            done = await self._store.user_endpoints.results(endpoint_id, (message,))
            if message.details:
                self._publisher.met(core_id, _worker(endpoint_id, message.details))
            self._publisher.events(done.moves, done.results, core_id)
            await self._store.synced()
        except ComputeError as error:
            self._give_up(endpoint_id, delivery, error)
            return
        delivery.ack()

    def _give_up(self, endpoint_id: UUID, delivery: Delivery, error: ComputeError) -> None:
        """Drops an agent's connection: it keeps its results, comes again and tells them again."""
        _log.error("endpoint %s: %s; its agent is disconnected and will try again", endpoint_id, error)
        delivery.give_back()
        self._broker.disconnect(agent_username(endpoint_id))

    def _on_consumer(self, queue: str, username: str, present: bool) -> None:
        """Notes who reads; called by the broker when a user's first reader has come or its last has gone."""
        if (core_id := _endpoint_id(queue, "commands")) is not None:
            self._steward.core_reads(core_id, present)
        elif (endpoint_id := _endpoint_id(queue, "tasks")) is not None:
            if self._steward.core_of(endpoint_id) is None:
                self._on_agent(endpoint_id, present)
            else:
                self._steward.user_reads(endpoint_id, present)
        elif username.startswith("u."):
            (self._watching.add if present else self._watching.discard)(queue)

    def _on_agent(self, endpoint_id: UUID, present: bool) -> None:
        """Ends the session with which the vanished reader began, so that a newer one is never touched."""
        session = self._sessions.get(endpoint_id)
        if present and endpoint_id in self._reading:
            self._reading[endpoint_id] = session
            return
        if present:
            self._reading[endpoint_id] = session
        elif endpoint_id in self._reading:
            self._errands.begin(self._gone(endpoint_id, self._reading.pop(endpoint_id)))
        self._publisher.presence(endpoint_id, present)
        self._on_presence(endpoint_id, present)

    async def _gone(self, endpoint_id: UUID, session: UUID | None) -> None:
        _log.info("endpoint %s: session %s is over", endpoint_id, session)
        while not self._ending.is_set():
            try:
                await self._store.endpoint_gone(endpoint_id, session)
                return
            except StoreAway:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), AWAY_PAUSE_S)
            except ComputeError as error:
                _log.warning("endpoint %s: %s", endpoint_id, error)
                return


def _worker(endpoint_id: UUID, details: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the worker of a published agent tells of itself, as an agent of ours spells it."""
    return {
        "python": details.get("python_version"),
        "dill": details.get("dill_version"),
        "platform": details.get("os"),
        "globus_compute_sdk": details.get("globus_compute_sdk_version"),
        "user_endpoint": str(endpoint_id),
    }


def _tell(endpoint_id: UUID, done: ReportDone) -> None:
    for move in done.moves:
        logline.told(_log, move.state.value, [move.task_id], endpoint_id=endpoint_id)
    for result in done.results:
        logline.told(_log, f"{result.state.value}, stored", [result.task_id], endpoint_id=endpoint_id)


def _sender(delivery: Delivery) -> UUID:
    endpoint_id = _endpoint_id(delivery.routing_key, delivery.queue)
    if endpoint_id is None:
        raise MalformedMessage(f"routing key {delivery.routing_key!r} names no endpoint")
    return endpoint_id


def _endpoint_id(name: str, suffix: str) -> UUID | None:
    text, _, last = name.partition(".")
    try:
        return UUID(text) if last == suffix else None
    except ValueError:
        return None


def _broken(error: BaseException) -> None:
    _log.error("a message of an agent could not be dealt with", exc_info=error)
