"""This module is the broker inside the service: sockets of asyncio around the rules that know no I/O.

All of it runs on the service's asyncio loop. Writes of one turn of the loop go out in one call.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any

from compute_nb.service.broker import properties
from compute_nb.service.broker.contract import Census, Guard, OnConsumer, OnDelivery, OnTaken
from compute_nb.service.broker.faults import Code, Fault
from compute_nb.service.broker.hub import Hub
from compute_nb.service.broker.limits import Limits
from compute_nb.service.broker.peer import Peer
from compute_nb.service.broker.protocol import Phase
from compute_nb.service.broker.pulse import Pulse
from compute_nb.service.broker.queues import Message
from compute_nb.service.broker.vhost import Vhost

logger = logging.getLogger(__name__)

BACKLOG = 512


class EmbeddedBroker:
    """Implements `contract.Broker`; make and call it on the loop's thread.

    Args:
        guard: Who may do what.
        sock: A bound socket to listen on; it is the broker's from `start` on.
        host: Where to bind if there is no `sock`.
        port: As above; 0 for any free one.
        tls: Certificate and key; None for connections in the clear, on loopback only.
        limits: What clients may use.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        sock: socket.socket | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_forgotten: Callable[[], None] | None = None
        self.limits = limits or Limits()
        self.clock = clock
        self._sock, self._host, self._port, self._tls = sock, host, port, tls
        self._vhost = Vhost(clock, self._expire_soon)
        self.hub = Hub(guard, self.limits, self._vhost)
        self.links: set[ClientLink] = set()
        self._server: asyncio.Server | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._expiry_due = False
        self._all_gone = asyncio.Event()

    @property
    def port(self) -> int:
        """Where it listens; valid after `start`."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def on_consumer(self) -> OnConsumer | None:
        """As in the contract."""
        return self._vhost.on_consumer

    @on_consumer.setter
    def on_consumer(self, hook: OnConsumer | None) -> None:
        self._vhost.on_consumer = hook

    async def start(self) -> None:
        """Begins to listen.

        Raises:
            OSError: The port is taken, or the host isn't ours.
        """
        loop = asyncio.get_running_loop()
        secured: dict[str, Any] = {}
        if self._tls is not None:
            secured = {"ssl": self._tls, "ssl_handshake_timeout": self.limits.handshake_timeout_s}
        if self._sock is not None:
            self._server = await loop.create_server(
                lambda: ClientLink(self), sock=self._sock, backlog=BACKLOG, **secured
            )
        else:
            self._server = await loop.create_server(
                lambda: ClientLink(self), self._host, self._port, backlog=BACKLOG, **secured
            )
        self._expire()

    async def stop(self) -> None:
        """Listens no more and closes all connections with 320, by force after `close_timeout_s`."""
        if self._server is not None:
            self._server.close()
        if self._expiry is not None:
            self._expiry.cancel()
        for link in tuple(self.links):
            link.peer.close(Fault(Code.CONNECTION_FORCED, "the service is stopping"))
        self._all_gone.clear()
        if self.links:
            await self._all_gone.wait()

    def declare_exchange(self, name: str, kind: str = "topic") -> None:
        """As in the contract; raises `vhost.Mismatch` if it exists with another kind."""
        self._vhost.declare_exchange(name, kind)

    def declare_queue(self, name: str, *, expires_s: float | None = None, owner: str | None = None) -> None:
        """As in the contract; raises `vhost.Mismatch` if it exists with other properties."""
        self._vhost.declare_queue(name, expires_s, owner)

    def delete_queue(self, name: str) -> None:
        """As in the contract."""
        self._vhost.delete_queue(name)

    def bind(self, queue: str, exchange: str, pattern: str) -> None:
        """As in the contract; raises `faults.Fault` if either is missing."""
        self._vhost.exchange(exchange).bind(pattern, self._vhost.queue(queue))

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
        """As in the contract; raises `faults.Fault` if the exchange is missing."""
        raw = properties.write(headers, timestamp_s, content_type)
        return self._vhost.publish(Message(exchange, routing_key, raw, body, None))

    def consume(self, queue: str, on_delivery: OnDelivery) -> None:
        """As in the contract; raises `faults.Fault` if the queue is missing."""
        self._vhost.queue(queue).serve(on_delivery)

    def purge(self, queue: str) -> int:
        """As in the contract; raises `faults.Fault` if the queue is missing."""
        return self._vhost.queue(queue).purge()

    def announce(self, queue: str, username: str) -> None:
        """As in the contract: nothing to do, the reader is seen when it comes."""

    def held_bytes(self, queue: str) -> int:
        """As in the contract."""
        return self._vhost.held_bytes(queue)

    def tell_taken(self, queue: str, on_taken: OnTaken) -> bool:
        """As in the contract; raises `faults.Fault` if the queue is missing."""
        self._vhost.queue(queue).on_taken = on_taken
        return True

    def census(self) -> Census:
        """Returns how many clients are connected, and how many messages wait."""
        return Census(len(self.links), self._vhost.depths())

    def admit(self, username: str) -> None:
        """As in the contract: the guard knows."""

    def expel(self, username: str) -> None:
        """As in the contract: the guard knows, and the connections end."""
        self.hub.disconnect(username)

    def disconnect(self, username: str) -> None:
        """As in the contract."""
        self.hub.disconnect(username)

    async def settled(self, timeout_s: float = 10.0) -> bool:
        """As in the contract: nothing here takes time."""
        return True

    def forget(self, link: ClientLink) -> None:
        """A connection is gone; called by it."""
        self.links.discard(link)
        if not self.links:
            self._all_gone.set()

    def _expire_soon(self) -> None:
        """A queue's time may have begun; many of them in one turn make one look."""
        if self._server is not None and self._server.is_serving() and not self._expiry_due:
            self._expiry_due = True
            self._server.get_loop().call_soon(self._expire)

    def _expire(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        assert self._server is not None
        self._expiry_due = False
        deadline_s = self._vhost.expire()
        if deadline_s is not None:
            pause_s = max(0.0, deadline_s - self.clock())
            self._expiry = self._server.get_loop().call_later(pause_s, self._expire)


class ClientLink(asyncio.Protocol):
    """The socket of one client: bytes to its peer and back, and its timers."""

    transport: asyncio.Transport

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker = broker
        self._loop = asyncio.get_running_loop()
        self._flush_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._pulse: Pulse | None = None
        self.peer = Peer(broker.hub, self._wake)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        limits = self._broker.limits
        transport.set_write_buffer_limits(high=limits.high_water_bytes)
        if len(self._broker.links) >= limits.max_connections:
            logger.warning("%d AMQP connections: one more refused", limits.max_connections)
            transport.abort()
            return
        self._broker.links.add(self)
        self._timer = self._loop.call_later(limits.handshake_timeout_s, self._abort, "handshake")

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if self._pulse is not None:
            self._pulse.received(self._broker.clock())
        try:
            self.peer.receive(data)
        except Exception:
            logger.exception("the broker failed at what %r sent; its connection ends", self.peer)
            self.peer.close(Fault(Code.INTERNAL_ERROR, "the broker failed, its log says more"))
        if self._pulse is None and self.peer.connection.phase is Phase.RUNNING:
            self._start_pulse()
        elif self.peer.connection.phase is Phase.CLOSED:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        if self._timer is not None:
            self._timer.cancel()
        self.peer.end()
        self._broker.forget(self)

    def pause_writing(self) -> None:
        """Called by asyncio: the client doesn't read what it has."""
        self.peer.reading = False

    def resume_writing(self) -> None:
        """Called by asyncio."""
        self.peer.reading = True
        self.peer.resume()

    def _wake(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self.transport.is_closing():
            return
        data = self.peer.flush()
        if data:
            self.transport.write(data)
        self._end_if_over()
        self.peer.resume()

    def _end_if_over(self) -> None:
        phase = self.peer.connection.phase
        if phase is Phase.CLOSED:
            self._restart_timer(self._broker.limits.close_timeout_s, "last read")
            self.transport.close()
        elif phase is Phase.CLOSING:
            self.peer.end()
            self._restart_timer(self._broker.limits.close_timeout_s, "close")
        elif self.transport.get_write_buffer_size() > self._broker.limits.max_unsent_bytes:
            self._abort("reading")

    def _start_pulse(self) -> None:
        tuning = self.peer.connection.tuning
        assert tuning is not None
        assert self._timer is not None
        self._timer.cancel()
        self._pulse = Pulse(tuning.heartbeat_s, self._broker.clock())
        if tuning.heartbeat_s:
            self._timer = self._loop.call_later(self._pulse.period_s, self._tick, self._pulse)

    def _tick(self, pulse: Pulse) -> None:
        if pulse.gone(self._broker.clock()):
            self._abort("two heartbeats")
            return
        self.peer.connection.send_heartbeat()
        self._timer = self._loop.call_later(pulse.period_s, self._tick, pulse)

    def _restart_timer(self, seconds: float, awaited: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._abort, awaited)

    def _abort(self, awaited: str) -> None:
        logger.warning("connection of %r is cut off: waited in vain for its %s", self.peer, awaited)
        self.transport.abort()
