"""This module is the AMQP link: one connection that stays, on one thread, for watcher and agent alike.

A link asks its handler for a plan (where to connect, which queues to read), connects, lets the handler
publish first, then reads. When the connection goes it asks again, with growing pauses, for as long as the
handler's plan does not refuse. Every hook of the handler, and every method of the link that is not marked
thread-safe, runs on the link's thread.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pika
from pika.adapters.select_connection import IOLoop
from pika.exceptions import ChannelClosedByBroker

from compute_nb import broker_address, trust
from compute_nb.errors import AccessRefused, ComputeError, ServiceUnreachable
from compute_nb.side_reader import OnMissing, SideReader

__all__ = ["Incoming", "Link", "LinkHandler", "LinkPlan", "Timer"]

log = logging.getLogger(__name__)
# A dropped connection is told by our own errors: without a handler pika's would reach the notebook's stderr.
logging.getLogger("pika").addHandler(logging.NullHandler())

_dice = random.Random()  # its own: a seed that the user has set must give the same numbers with us or without

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0
REFUSAL_LIMIT = 3


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """Where to connect and what to read.

    Attributes:
        url: An AMQP URL with user and password, as `pika.URLParameters` reads it.
        queues: The queues to consume.
        prefetch: How many unacknowledged messages the broker may send ahead; 0 is no limit.
        ca: The certificate authorities that count for amqps, as in `trust.context`.
    """

    url: str
    queues: tuple[str, ...]
    prefetch: int = 0
    ca: trust.Authorities = None


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message that was delivered; `tag` is what to acknowledge, on the same `channel` only."""

    queue: str
    body: bytes
    tag: int
    headers: Mapping[str, Any] = field(default_factory=dict)
    timestamp: int | None = None
    channel: Any = field(default=None, repr=False, compare=False)


class LinkHandler(Protocol):
    """What the owner of a link answers and hears, all on the link's thread."""

    def plan(self) -> LinkPlan:
        """Says where to connect; it may block, since no connection is open meanwhile.

        Raises:
            ServiceUnreachable: Nobody answers now; the link asks again after a pause.
            ComputeError: Any other one ends the link.
        """

    def on_open(self, link: Link) -> None:
        """The channel is open and confirms are on; nothing is read before this returns."""

    def on_ready(self, link: Link) -> None:
        """Every queue of the plan has its consumer."""

    def on_message(self, link: Link, message: Incoming) -> None:
        """A message came; acknowledge it once its content is safe."""

    def on_confirm(self, link: Link, number: int, ok: bool) -> None:
        """The broker has taken (or refused) the publish of this number."""

    def on_down(self, error: Exception) -> None:
        """The connection is gone, or could not be made; the link tries again."""

    def on_end(self, error: Exception | None) -> None:
        """The link is over: stopped (None), or refused for good."""


class Timer:
    """A call that is still to come; made by `Link.call_later`."""

    def __init__(self, loop: IOLoop, seconds: float, call: Callable[[], None]) -> None:
        self._loop = loop
        self._handle = loop.call_later(seconds, call)

    def cancel(self) -> None:
        """Forgets the call; harmless after it was made."""
        self._loop.remove_timeout(self._handle)


class Link:
    """One AMQP connection, kept alive on one thread.

    `run` uses the calling thread; `start` makes a daemon thread of the given name. `stop` and `call_soon`
    are thread-safe, all else is for hooks of the handler.
    """

    def __init__(self, handler: LinkHandler, name: str) -> None:
        self.name = name
        self._handler = handler
        self._loop = IOLoop()
        self._thread: threading.Thread | None = None
        self._connection: pika.SelectConnection | None = None
        self._channel: Any = None
        self._plan = LinkPlan("", ())
        self._beside = SideReader(self._deliver_from, self._hook)
        self._consumers_left = 0
        self._published = 0
        self._unconfirmed: deque[int] = deque()
        self._pause_s = FIRST_PAUSE_S
        self._refusals = 0
        self._ended = threading.Event()
        self._stopping = False
        self._closing_for: Exception | None = None
        self._failure: Exception | None = None

    def __repr__(self) -> str:
        state = "ended" if self._ended.is_set() else "open" if self.is_open else "down"
        return f"Link<{self.name} {state}, {len(self._unconfirmed)} unconfirmed>"

    # -- any thread

    def start(self) -> None:
        """Runs the link on a daemon thread of its own."""
        self._thread = threading.Thread(target=self.run, name=self.name, daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float | None = 5.0) -> bool:
        """Closes the connection and ends the link; True if it has ended within `timeout_s` seconds."""
        self.call_soon(self._stop)
        if self._thread is None or self._thread is threading.current_thread():
            return self._ended.is_set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def join(self) -> None:
        """Waits for the end of a link that has a thread of its own, and of its handler's `on_end`."""
        if self._thread is not None:
            self._thread.join()

    def call_soon(self, call: Callable[[], None]) -> None:
        """Has `call` run on the link's thread, connected or not; after the end it is forgotten."""
        if not self._ended.is_set():
            self._loop.add_callback_threadsafe(call)

    # -- the link's thread

    def run(self) -> None:
        """Connects and stays connected until stopped; blocks the calling thread."""
        self._loop.add_callback_threadsafe(self._connect)
        try:
            self._loop.start()
        except BaseException as error:  # the top of a thread: whoever waits on it must hear
            log.exception("link %s failed", self.name)
            self._failure = error if isinstance(error, Exception) else ComputeError(f"{error!r} ended it")
        self._ended.set()
        self._loop.close()
        self._handler.on_end(self._failure)

    @property
    def is_open(self) -> bool:
        """True while the channel is open."""
        return self._channel is not None and self._channel.is_open

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Has `call` run on the link's thread after `seconds`, connected or not."""
        return Timer(self._loop, seconds, call)

    def publish(
        self, exchange: str, routing_key: str, body: bytes, headers: Mapping[str, Any] | None = None
    ) -> int:
        """Sends a persistent message; returns its number, which `on_confirm` will name.

        Raises:
            ServiceUnreachable: The connection is down; publish again when it is open.
        """
        if not self.is_open:
            raise ServiceUnreachable(f"link {self.name} is down; the message was not sent")
        properties = pika.BasicProperties(delivery_mode=2, headers=dict(headers) if headers else None)
        self._published += 1
        self._unconfirmed.append(self._published)
        self._channel.basic_publish(exchange, routing_key, body, properties)
        return self._published

    def read(self, queue: str, on_missing: OnMissing) -> None:
        """Reads one more queue, on a channel of its own, while the present connection lasts.

        Args:
            queue: Its name; nothing happens if it is read already.
            on_missing: Called with it and the broker's reason if it is not there, or was deleted: the rest
                of the link is not touched by that.
        """
        if self._connection is not None and self.is_open:
            self._beside.read(self._connection, queue, on_missing)

    def leave(self, queue: str) -> None:
        """Reads a queue of `read` no more; what is not acknowledged goes back to it."""
        self._beside.leave(queue)

    def ack_beside(self, message: Incoming) -> None:
        """Acknowledges a message of a queue that `read` has added; it may have been read anew meanwhile."""
        if message.channel is not None and message.channel.is_open:
            message.channel.basic_ack(message.tag)

    def reject_beside(self, message: Incoming) -> None:
        """Refuses a message of such a queue for good."""
        if message.channel is not None and message.channel.is_open:
            message.channel.basic_reject(message.tag, requeue=False)

    def ack(self, tag: int, multiple: bool = False) -> None:
        """Acknowledges a message of the present connection; with `multiple` all up to it."""
        if self.is_open:
            self._channel.basic_ack(tag, multiple)

    def reject(self, tag: int) -> None:
        """Refuses a message for good: it does not come again."""
        if self.is_open:
            self._channel.basic_reject(tag, requeue=False)

    def _connect(self) -> None:
        if self._stopping:
            return
        try:
            self._plan = self._handler.plan()
            parameters = broker_address.parameters(self._plan.url, self._plan.ca)
        except ServiceUnreachable as error:
            self._down(error)
            return
        except ComputeError as error:
            self._end(error)
            return
        self._connection = pika.SelectConnection(
            parameters,
            on_open_callback=self._on_connection,
            on_open_error_callback=self._on_closed,
            on_close_callback=self._on_closed,
            custom_ioloop=self._loop,
        )

    def _on_connection(self, connection: pika.SelectConnection) -> None:
        if self._stopping:
            self._close_connection()
            return
        connection.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._on_channel_closed)
        self._published = 0
        self._unconfirmed.clear()
        channel.confirm_delivery(self._on_confirmed, callback=self._on_confirm_mode)

    def _on_confirm_mode(self, _frame: Any) -> None:
        if self._plan.prefetch:
            self._channel.basic_qos(prefetch_count=self._plan.prefetch)
        self._hook(self._handler.on_open, self)
        if not self.is_open:
            return
        self._consumers_left = len(self._plan.queues)
        for queue in self._plan.queues:
            self._consume(queue)
        if not self._plan.queues:
            self._ready()

    def _consume(self, queue: str) -> None:
        self._channel.basic_consume(queue, self._deliver_from(queue), callback=self._on_consuming)

    def _deliver_from(self, queue: str) -> Callable[[Any, Any, Any, bytes], None]:
        def deliver(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            headers, timestamp = properties.headers or {}, properties.timestamp
            incoming = Incoming(queue, body, method.delivery_tag, headers, timestamp, channel)
            self._hook(self._handler.on_message, self, incoming)

        return deliver

    def _on_consuming(self, _frame: Any) -> None:
        self._consumers_left -= 1
        if not self._consumers_left:
            self._ready()

    def _ready(self) -> None:
        self._pause_s = FIRST_PAUSE_S
        self._refusals = 0
        log.debug("link %s reads %s", self.name, self._plan.queues)
        self._hook(self._handler.on_ready, self)

    def _on_confirmed(self, frame: Any) -> None:
        ok = isinstance(frame.method, pika.spec.Basic.Ack)
        last, multiple = frame.method.delivery_tag, frame.method.multiple
        if not multiple:
            self._unconfirmed.remove(last)
            self._hook(self._handler.on_confirm, self, last, ok)
            return
        while self._unconfirmed and (last == 0 or self._unconfirmed[0] <= last):
            self._hook(self._handler.on_confirm, self, self._unconfirmed.popleft(), ok)

    def _on_channel_closed(self, channel: Any, reason: Exception) -> None:
        if channel is not self._channel:
            return
        self._channel = None
        if isinstance(reason, ChannelClosedByBroker) and self._connection is not None:
            self._closing_for = reason
            self._close_connection()

    def _on_closed(self, connection: pika.SelectConnection, reason: Exception) -> None:
        if connection is not self._connection:
            return
        self._connection = self._channel = None
        self._beside.forget()
        error, self._closing_for = self._closing_for or reason, None
        if self._stopping:
            self._end(None)
        elif broker_address.is_refusal(error) or trust.explain(error, "") is not None:
            self._refused(error)
        else:
            self._down(error)

    def _refused(self, error: Exception) -> None:
        self._refusals += 1
        if self._refusals < REFUSAL_LIMIT:
            self._down(error)
            return
        place = f"the broker at {broker_address.place(self._plan.url)}"
        untrusted = trust.explain(error, place, self._plan.ca)
        if untrusted is not None:
            self._end(ComputeError(untrusted))
            return
        self._end(
            AccessRefused(
                f"{place} refused {self.name} {self._refusals} times: {error}; was the password revoked? See "
                "`compute-nb service status` and start again"
            )
        )

    def _down(self, error: Exception) -> None:
        log.debug("link %s is down: %s", self.name, error)
        self._handler.on_down(error)
        if self._stopping:
            self._end(None)
            return
        self._loop.call_later(self._pause_s * _dice.uniform(0.5, 1.0), self._connect)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        if self._connection is None:
            self._end(None)
        else:
            self._close_connection()

    def _close_connection(self) -> None:
        # An attempt that is under way ends first: pika leaks the socket of an aborted one.
        if self._connection is not None and self._connection.is_open:
            self._connection.close()

    def _end(self, error: Exception | None) -> None:
        self._stopping = True
        self._failure = self._failure or error
        self._loop.stop()

    def _hook(self, call: Callable[..., None], *arguments: Any) -> None:
        """Calls the handler; pika would take its failure for a broken connection and go on without end."""
        try:
            call(*arguments)
        except Exception as error:
            log.exception("link %s: its handler failed", self.name)
            self._failure = error
            self._stop()
