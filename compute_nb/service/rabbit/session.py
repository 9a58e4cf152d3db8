"""This module is one session with RabbitMQ: its connections and channels from the first to the last byte.

A session that has lost any of them is over as a whole; the next one begins from nothing. Two connections:
RabbitMQ stops reading one that publishes while it is short of memory or disk, and acknowledgements must
pass meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.exceptions import ChannelClosedByBroker

from compute_nb import trust
from compute_nb.errors import ComputeError, ServiceUnreachable
from compute_nb.service.rabbit.site import RabbitSite
from compute_nb.service.rabbit.topology import Topology, arguments

_log = logging.getLogger(__name__)

OPEN_S = 15.0
CLOSE_S = 3.0
PRECONDITION_FAILED = 406


class Session:
    """One life of the connections; made by `open`.

    Attributes:
        out: The channel on which the service publishes and declares. Nothing on it awaits an answer, so
            that all goes out in the order of the calls.
        inward: The channel on which it reads and acknowledges.
        over: Done once any of it is gone; its result is why.
        blocked: True while RabbitMQ is short of memory or disk and takes no messages.
    """

    def __init__(self, site: RabbitSite) -> None:
        self._site = site
        self._loop = asyncio.get_running_loop()
        self._connections: list[Any] = []
        self._closed: list[asyncio.Future[None]] = []
        self.out: Any = None
        self.inward: Any = None
        self.over: asyncio.Future[Exception] = self._loop.create_future()
        self.blocked = False
        self._asking: Any = None
        self._asked: asyncio.Future[Any] | None = None

    @classmethod
    async def open(cls, site: RabbitSite, on_unblocked: Callable[[], None]) -> Session:
        """Connects.

        Raises:
            ServiceUnreachable: Nobody answers there.
            ComputeError: RabbitMQ refuses the service.
        """
        session = cls(site)
        try:
            async with asyncio.timeout(OPEN_S):
                outward = await session._connect()
                outward.add_on_connection_blocked_callback(session._on_blocked)
                outward.add_on_connection_unblocked_callback(lambda *_: session._on_unblocked(on_unblocked))
                session.out = await session.channel(outward)
                session.inward = await session.channel(await session._connect())
        except TimeoutError:
            await session.close()
            raise ServiceUnreachable(f"{site}: no answer within {OPEN_S:.0f} s") from None
        except BaseException:
            await session.close()
            raise
        return session

    async def close(self) -> None:
        """Ends both connections."""
        self.end(ServiceUnreachable("the service closed its session"))
        for connection in self._connections:
            if connection.is_open:
                connection.close()
        if self._closed:
            await asyncio.wait(self._closed, timeout=CLOSE_S)

    def end(self, why: Exception) -> None:
        """Has the session over."""
        if not self.over.done():
            self.over.set_result(why)

    async def channel(self, connection: Any = None) -> Any:
        """Opens one more channel; its end is the end of the session.

        Args:
            connection: None for the one that publishes.
        """
        channel = await self.spare_channel(connection)
        channel.add_on_close_callback(lambda _, reason: self.end(reason))
        return channel

    async def spare_channel(self, connection: Any = None) -> Any:
        """Opens one more channel, whose end the session survives."""
        opened: asyncio.Future[Any] = self._loop.create_future()
        (connection or self._connections[0]).channel(on_open_callback=_setter(opened))
        return await self.unless_over(opened)

    async def unless_over(self, future: asyncio.Future[Any]) -> Any:
        """Waits for something that the broker answers.

        Raises:
            ServiceUnreachable: The session is over before.
        """
        await asyncio.wait({future, self.over}, return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            raise ServiceUnreachable(f"{self._site}: {self.over.result()}")
        return future.result()

    async def knows(self, topology: Topology) -> bool:
        """Says if the queues that stay are there: RabbitMQ has not forgotten what was in them."""
        channel = await self.spare_channel()
        answered: asyncio.Future[Any] = self._loop.create_future()
        channel.add_on_close_callback(lambda _, reason: _setter(answered)(reason))
        for name, expires_s in topology.queues.items():
            if expires_s is None:
                channel.queue_declare(name, passive=True, callback=_setter(answered))
                found = not isinstance(await self.unless_over(answered), Exception)
                break
        else:
            found = True
        if channel.is_open:
            channel.close()
        return found

    async def declare(self, topology: Topology) -> None:
        """Makes all of it, unless it is there; what is there and unlike stays and is logged."""
        for name, kind in tuple(topology.exchanges.items()):
            await self._ask("exchange_declare", exchange=name, exchange_type=kind, durable=True)
        for name, expires_s in tuple(topology.queues.items()):
            await self._ask("queue_declare", queue=name, durable=True, arguments=arguments(expires_s))
        for queue, exchange, pattern in tuple(topology.bindings):
            await self._ask("queue_bind", queue=queue, exchange=exchange, routing_key=pattern)

    async def _ask(self, method: str, **fields: Any) -> None:
        if self._asking is None:
            self._asking = await self.spare_channel()
            self._asking.add_on_close_callback(self._on_asking_closed)
        self._asked = self._loop.create_future()
        getattr(self._asking, method)(**fields, callback=_setter(self._asked))
        try:
            await self.unless_over(self._asked)
        except ChannelClosedByBroker as error:
            if error.reply_code != PRECONDITION_FAILED:
                raise ComputeError(f"{self._site}: {method} {fields}: {error}") from error
            _log.warning("%s: %s; it is used as it is", self._site, error.reply_text)

    def _on_asking_closed(self, _: Any, reason: Exception) -> None:
        self._asking = None
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(reason)

    async def _connect(self) -> Any:
        opened: asyncio.Future[Any] = self._loop.create_future()
        closed: asyncio.Future[None] = self._loop.create_future()

        def failed(_: Any, error: Exception) -> None:
            if not opened.done():
                opened.set_exception(error)

        def gone(_: Any, reason: Exception) -> None:
            self.end(reason)
            if not closed.done():
                closed.set_result(None)

        AsyncioConnection(
            self._site.parameters(),
            on_open_callback=_setter(opened),
            on_open_error_callback=failed,
            on_close_callback=gone,
            custom_ioloop=self._loop,
        )
        try:
            connection = await opened
        except Exception as error:  # whatever pika makes of it
            raise self._refusal(error) from error
        self._connections.append(connection)
        self._closed.append(closed)
        return connection

    def _refusal(self, error: Exception) -> ComputeError:
        untrusted = trust.explain(error, str(self._site.amqp), self._site.ca)
        if untrusted is not None:
            return ComputeError(untrusted)
        if isinstance(
            error, pika.exceptions.ProbableAuthenticationError | pika.exceptions.AuthenticationError
        ):
            return ComputeError(
                f"{self._site} refuses the user {self._site.username!r}: its password is wrong, or "
                "`rabbitmqctl add_user` is still to be called"
            )
        if isinstance(error, pika.exceptions.ProbableAccessDeniedError):
            return ComputeError(f"{self._site} lets {self._site.username!r} not in: {error}")
        return ServiceUnreachable(f"{self._site} does not answer: {error!r}")

    def _on_blocked(self, _: Any, frame: Any) -> None:
        self.blocked = True
        _log.warning("%s takes no messages: %s; they wait here", self._site, frame.method.reason)

    def _on_unblocked(self, then: Callable[[], None]) -> None:
        self.blocked = False
        _log.info("%s takes messages again", self._site)
        then()


def _setter(future: asyncio.Future[Any]) -> Callable[[Any], None]:
    def call(value: Any) -> None:
        if not future.done():
            future.set_result(value)

    return call
