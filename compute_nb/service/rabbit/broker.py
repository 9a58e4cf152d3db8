"""This module is the broker of a group's service: a RabbitMQ elsewhere, whose virtual host it owns.

Each session begins alike, be it after a start of the service, of RabbitMQ, a broken network or a wipe: all is
declared anew, everybody else is disconnected (so agents say hello and watchers ask anew), and what was not
confirmed is sent again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from pika.exceptions import AMQPError

from compute_nb.errors import ComputeError
from compute_nb.service.broker.contract import Delivery, OnConsumer, OnDelivery, OnTaken
from compute_nb.service.rabbit.census import PERIOD_S, WEIGH_PERIOD_S, Readers, Scales
from compute_nb.service.rabbit.management import Management
from compute_nb.service.rabbit.outbox import Letter
from compute_nb.service.rabbit.post import Post
from compute_nb.service.rabbit.roster import Passwords, Roster
from compute_nb.service.rabbit.session import Session
from compute_nb.service.rabbit.site import RabbitSite
from compute_nb.service.rabbit.topology import Topology, arguments

_log = logging.getLogger(__name__)
logging.getLogger("pika").setLevel(logging.CRITICAL)  # what it would say is said here, in one line

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
PREFETCH = 64
GIVE_BACK_S = 1.0


class RabbitBroker:
    """Implements `contract.Broker`; make and call it on the loop's thread.

    Args:
        site: Where RabbitMQ is.
        passwords: Of the users that are to be let in.
    """

    def __init__(self, site: RabbitSite, passwords: Passwords) -> None:
        self.on_consumer: OnConsumer | None = None
        self.on_forgotten: Callable[[], None] | None = None
        self._site = site
        self._management = Management(site)
        self._roster = Roster(self._management, passwords)
        self._topology = Topology()
        self._scales = Scales(self._management)
        self._post = Post(self._scales.sent)
        self._session: Session | None = None
        self._gone: set[str] = set()
        self._announced: dict[str, str] = {}
        self._readers = Readers(self._tell, self._declare_queue)
        self._work: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        state = "connected" if self._session else "down"
        return f"<RabbitBroker {self._site.amqp}: {state}, {len(self._post)} unconfirmed>"

    async def start(self) -> None:
        """Connects, and stays so from then on.

        Raises:
            ComputeError: It is not there, or refuses the service.
        """
        try:
            session = await self._begin()
        except BaseException:
            await self._end()
            raise
        loop = asyncio.get_running_loop()
        self._work = [loop.create_task(self._stay(session)), loop.create_task(self._weigh())]

    async def stop(self) -> None:
        """Waits a moment until RabbitMQ has all, and disconnects; agents and clients stay connected there."""
        await self.settled(timeout_s=3.0)
        for task in self._work:
            task.cancel()
        if self._work:
            await asyncio.wait(self._work)
        if self._session is not None:
            await self._session.close()
        await self._end()

    async def _end(self) -> None:
        await self._roster.close()
        self._management.close()

    def declare_exchange(self, name: str, kind: str = "topic") -> None:
        """As in the contract."""
        self._topology.exchanges[name] = kind
        if (out := self._out) is not None:
            out.exchange_declare(name, kind, durable=True)

    def declare_queue(self, name: str, *, expires_s: float | None = None, owner: str | None = None) -> None:
        """As in the contract; `owner` is what permissions say."""
        self._topology.queues[name] = expires_s
        self._topology.used(name, time.monotonic())
        self._gone.discard(name)
        self._declare_queue(name)

    def delete_queue(self, name: str) -> None:
        """As in the contract."""
        self._forget(name)
        if (out := self._out) is not None:
            out.queue_delete(name)

    def bind(self, queue: str, exchange: str, pattern: str) -> None:
        """As in the contract."""
        self._topology.bindings[queue, exchange, pattern] = None
        if (out := self._out) is not None:
            out.queue_bind(queue, exchange, pattern)

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        headers: Mapping[str, Any] | None = None,
        timestamp_s: float | None = None,
        *,
        content_type: str | None = None,
    ) -> bool:
        """As in the contract; that a queue is gone is told once, at the message after the returned one."""
        if not exchange:
            if routing_key in self._gone:
                self._gone.discard(routing_key)
                return False
            self._topology.used(routing_key, time.monotonic())
        whole_s = None if timestamp_s is None else int(timestamp_s)
        self._post.send(Letter(exchange, routing_key, body, headers, whole_s, content_type))
        return True

    def consume(self, queue: str, on_delivery: OnDelivery) -> None:
        """As in the contract."""
        self._topology.readers[queue] = on_delivery
        if self._session is not None and self._session.inward.is_open:
            self._consume(self._session, queue, on_delivery)

    def purge(self, queue: str) -> None:
        """As in the contract; what a reader has and has not acknowledged stays."""
        if (out := self._out) is not None:
            self._declare_queue(queue)
            out.queue_purge(queue)

    def announce(self, queue: str, username: str) -> None:
        """As in the contract; told at once, since a count comes late."""
        self._announced[queue] = username
        self._tell(queue, "", True)
        self._readers.expect(queue)

    def held_bytes(self, queue: str) -> int:
        """As in the contract; an estimate that is rather too high."""
        return self._scales.held_bytes(queue)

    def tell_taken(self, queue: str, on_taken: OnTaken) -> bool:
        """As in the contract: RabbitMQ tells nobody."""
        return False

    def admit(self, username: str) -> None:
        """As in the contract."""
        self._roster.admit(username)

    def expel(self, username: str) -> None:
        """As in the contract."""
        self._roster.expel(username)

    def disconnect(self, username: str) -> None:
        """As in the contract."""
        self._roster.disconnect(username)

    async def settled(self, timeout_s: float = 10.0) -> bool:
        """As in the contract; False at once while RabbitMQ is away."""
        if self._session is None:
            return False
        try:
            async with asyncio.timeout(timeout_s):
                await self._roster.settled()
                return await self._post.settled()
        except TimeoutError:
            return False

    # -- sessions

    async def _begin(self) -> Session:
        """Makes the next session, ready for all.

        Raises:
            ComputeError: It could not be made; nothing of it is left.
        """
        await self._management.own()
        session = await Session.open(self._site, self._post.flush)
        try:
            forgotten = not await session.knows(self._topology)
            await session.declare(self._topology)
            await self._roster.muster()
            session.out.add_on_return_callback(self._on_return)
            session.inward.basic_qos(prefetch_count=PREFETCH)
            session.inward.add_on_cancel_callback(
                lambda frame: session.end(
                    ComputeError(f"the queue of consumer {frame.method.consumer_tag} is gone")
                )
            )
            for queue, on_delivery in self._topology.readers.items():
                self._consume(session, queue, on_delivery)
        except BaseException:
            await session.close()
            raise
        self._session = session
        self._post.attend(session)
        # What was declared meanwhile is not there yet.
        for queue in self._topology.queues:
            self._declare_queue(queue)
        self._post.flush()
        _log.info("%s: connected, %s queues declared", self._site, len(self._topology.queues))
        if forgotten and self.on_forgotten is not None:
            self.on_forgotten()
        return session

    async def _stay(self, session: Session) -> None:
        """Keeps a session for as long as the service lives."""
        loop = asyncio.get_running_loop()
        while True:
            counting = loop.create_task(self._count(session))
            try:
                why = await asyncio.shield(session.over)
            finally:
                counting.cancel()
            self._session = None
            self._post.lose()
            _log.warning("%s is lost: %s", self._site, why)
            await session.close()
            session = await self._again()

    async def _again(self) -> Session:
        pause_s, said = FIRST_PAUSE_S, False
        while True:
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            try:
                return await self._begin()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
                (_log.debug if said else _log.warning)("%s; tried again until it works", error)
                said = True
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _count(self, session: Session) -> None:
        """Looks after the queues of others, while the session lasts."""
        self._readers.attend(session)
        try:
            while True:
                for queue in self._topology.watched():
                    await self._readers.count(queue)
                for exchange, kind in self._topology.exchanges.items():
                    session.out.exchange_declare(exchange, kind, durable=True)
                for binding in self._topology.bindings:
                    session.out.queue_bind(*binding)
                self._topology.expire(time.monotonic())
                await asyncio.sleep(PERIOD_S)
        except (ComputeError, AMQPError):
            return  # the session is over
        except Exception as error:  # noqa: BLE001 - the top of a task
            _log.exception("the readers of queues could not be counted")
            session.end(error)

    async def _weigh(self) -> None:
        while True:
            await asyncio.sleep(WEIGH_PERIOD_S)
            await self._scales.weigh()

    def _tell(self, queue: str, username: str, present: bool) -> None:
        if not present and (announced := self._announced.pop(queue, None)):
            self._roster.disconnect(announced)
        if self.on_consumer is not None:
            self.on_consumer(queue, username, present)

    # -- messages

    @property
    def _out(self) -> Any:
        """The channel for what the service declares and sends; None while there is none."""
        session = self._session
        return session.out if session is not None and session.out.is_open else None

    def _declare_queue(self, name: str) -> None:
        out = self._out
        if out is not None and name in self._topology.queues:
            out.queue_declare(name, durable=True, arguments=arguments(self._topology.queues[name]))

    def _on_return(self, _: Any, method: Any, properties: Any, body: bytes) -> None:
        """A queue was not there: one that must be is made again, any other's readers are long gone."""
        queue = method.routing_key
        if method.exchange or not queue:
            return
        if self._topology.queues.get(queue, 0.0) is None:
            _log.warning("%s: queue %s was deleted; it is made again", self._site, queue)
            self._declare_queue(queue)
            headers, at, kind = properties.headers, properties.timestamp, properties.content_type
            self.publish("", queue, body, headers, at, content_type=kind)
        else:
            self._forget(queue)

    def _forget(self, queue: str) -> None:
        self._topology.forget(queue)
        self._gone.add(queue)

    def _consume(self, session: Session, queue: str, on_delivery: OnDelivery) -> None:
        def deliver(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            on_delivery(
                Delivery(
                    queue,
                    method.exchange,
                    method.routing_key,
                    body,
                    properties.headers or {},
                    properties.timestamp,
                    properties.user_id,
                    _Settlement(channel, method.delivery_tag),
                )
            )

        session.inward.basic_consume(queue, deliver)


class _Settlement:
    """Settles one delivery once, unless its channel is gone: then it comes again."""

    __slots__ = ("_channel", "_tag")

    def __init__(self, channel: Any, tag: int) -> None:
        self._channel = channel
        self._tag = tag

    def __call__(self, ok: bool | None) -> None:
        channel, self._channel = self._channel, None
        if channel is None:
            return
        if ok is None:
            asyncio.get_running_loop().call_later(GIVE_BACK_S, self._nack, channel)
        elif not channel.is_open:
            return
        elif ok:
            channel.basic_ack(self._tag)
        else:
            channel.basic_reject(self._tag, requeue=False)

    def _nack(self, channel: Any) -> None:
        if channel.is_open:
            channel.basic_nack(self._tag, requeue=True)
