"""This module is a channel from the broker's side: consumers, what they hold unacknowledged, confirms."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple, Protocol

from pamqp import base, commands

from compute_nb.service.broker import frames
from compute_nb.service.broker.confirms import Confirms, Receipt
from compute_nb.service.broker.contract import Operation
from compute_nb.service.broker.events import Published
from compute_nb.service.broker.faults import Code, Fault
from compute_nb.service.broker.hub import Hub
from compute_nb.service.broker.protocol import Connection
from compute_nb.service.broker.queues import Entry, Message, Queue


class Client(Protocol):
    """Whose channel it is, as far as a channel needs to know; a `peer.Peer` is one."""

    hub: Hub
    connection: Connection
    username: str
    held: set[str]

    def require(self, operation: Operation, kind: str, name: str, routing_key: str | None = None) -> None:
        """Raises the fault 403 unless the client may do that."""
        ...

    def has_room(self) -> bool:
        """Says if the client reads fast enough to be sent more."""
        ...

    def confirm_soon(self, channel: Channel) -> None:
        """Has `send_confirms` called before the next bytes go out."""
        ...


class ClientConsumer:
    """A consumer of a client; implements `queues.Consumer`.

    Args:
        channel: On which it was started.
        queue: What it reads.
        tag: Its name on the channel.
        no_ack: True if what it gets counts as acknowledged.
        exclusive: True if nobody else may read the queue.
        prefetch: How many it may hold unacknowledged; 0 for any number.
    """

    __slots__ = ("channel", "exclusive", "no_ack", "prefetch", "queue", "tag", "unacked")

    def __init__(
        self,
        channel: Channel,
        queue: Queue,
        tag: str,
        *,
        no_ack: bool,
        exclusive: bool,
        prefetch: int,
    ) -> None:
        self.channel = channel
        self.queue = queue
        self.tag = tag
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.prefetch = prefetch
        self.unacked = 0

    @property
    def username(self) -> str:
        """Who reads."""
        return self.channel.peer.username

    def able(self) -> bool:
        """Says if prefetch, flow and the client's reading allow one more."""
        channel = self.channel
        if not channel.flowing or (self.prefetch and self.unacked >= self.prefetch):
            return False
        if channel.prefetch and channel.unacked_by_consumers >= channel.prefetch:
            return False
        return channel.peer.has_room()

    def deliver(self, queue: Queue, entry: Entry) -> None:
        """Sends one message to the client."""
        channel, message = self.channel, entry.message
        tag = channel.draw_tag()
        if self.no_ack:
            queue.settled(entry)
        else:
            channel.hold(tag, Unacked(queue, entry, self))
        method = frames.write_deliver(
            channel.number,
            self.tag,
            tag,
            redelivered=entry.redelivered,
            exchange=message.exchange,
            key=message.routing_key,
        )
        channel.send_content(method, message)

    def cancelled(self) -> None:
        """Tells the client that the queue is gone, if it wants to know."""
        self.channel.consumers.pop(self.tag, None)
        connection = self.channel.peer.connection
        if "consumer_cancel_notify" in connection.capabilities and not connection.over:
            connection.send(self.channel.number, commands.Basic.Cancel(self.tag, nowait=True))


class Unacked(NamedTuple):
    """A message at a client; `consumer` is None if it was asked for by basic.get."""

    queue: Queue
    entry: Entry
    consumer: ClientConsumer | None


class Channel:
    """One open channel.

    Attributes:
        prefetch: How many all its consumers may hold together; 0 for any number.
        consumer_prefetch: What consumers started from now on may hold.
        flowing: False while the client wants no messages.
        unacked_by_consumers: How many they hold.
        confirms: None before confirm.select.
        last_queue: The queue that an empty name means.
    """

    def __init__(self, peer: Client, number: int) -> None:
        self.peer = peer
        self.number = number
        self.consumers: dict[str, ClientConsumer] = {}
        self.prefetch = 0
        self.consumer_prefetch = 0
        self.flowing = True
        self.unacked_by_consumers = 0
        self.confirms: Confirms | None = None
        self.last_queue = ""
        self._unacked: dict[int, Unacked] = {}
        self._next_tag = 1

    def draw_tag(self) -> int:
        """Returns the next delivery tag."""
        tag = self._next_tag
        self._next_tag += 1
        return tag

    def hold(self, tag: int, unacked: Unacked) -> None:
        """Remembers a delivery until it is acknowledged."""
        self._unacked[tag] = unacked
        if unacked.consumer is not None:
            unacked.consumer.unacked += 1
            self.unacked_by_consumers += 1

    def send(self, method: base.Frame) -> None:
        """Answers with a method."""
        self.peer.connection.send(self.number, method)

    def send_content(self, method: bytes, message: Message) -> None:
        """Sends a method that carries a message."""
        self.peer.connection.send_content(self.number, method, message.properties, message.body)

    def select_confirms(self) -> None:
        """Numbers and confirms publishes from now on."""
        if self.confirms is None:
            self.confirms = Confirms(partial(self.peer.confirm_soon, self))

    def publish(self, event: Published) -> None:
        """Routes a message, or returns it.

        Raises:
            Fault: 403, 404, or 406 for somebody else's name in `user_id`.
        """
        _, exchange, key, mandatory, properties, body, user_id = event
        peer = self.peer
        peer.require("write", "exchange", exchange or "amq.default", key)
        if user_id not in {None, peer.username}:
            text = f"user_id property set to '{user_id}' but authenticated user was '{peer.username}'"
            raise Fault(Code.PRECONDITION_FAILED, text)
        message = Message(exchange, key, properties, body, peer.username)
        receipt = None if self.confirms is None else Receipt(self.confirms)
        routed = peer.hub.vhost.publish(message, receipt)
        if mandatory and not routed:
            method = frames.Return(Code.NO_ROUTE, Code.NO_ROUTE.name, exchange, key)
            self.send_content(frames.write_method(self.number, method), message)
        if receipt is not None:
            receipt.settle(True)

    def send_confirms(self) -> None:
        """Tells what has become of publishes since the last time."""
        if self.confirms is not None:
            for confirm in self.confirms.drain():
                self.peer.connection.send_confirm(self.number, *confirm)

    def ack(self, tag: int, multiple: bool) -> None:
        """Forgets deliveries, which makes room for others.

        Raises:
            Fault: 406 for an unknown delivery tag.
        """
        for queue, entries in _by_queue(self._release(tag, multiple)).items():
            queue.acknowledged(entries)
        self.pump()

    def nack(self, tag: int, multiple: bool, requeue: bool) -> None:
        """Drops deliveries or gives them back.

        Raises:
            Fault: 406 for an unknown delivery tag.
        """
        released = self._release(tag, multiple)
        if requeue:
            give_back(released)
        else:
            for queue, entry, _ in released:
                queue.settled(entry)
        self.pump()

    def recover(self) -> None:
        """Gives back all that is not acknowledged."""
        give_back(self._release(0, multiple=True))
        self.pump()

    def pump(self) -> None:
        """Asks the queues of its consumers for more."""
        for consumer in tuple(self.consumers.values()):
            consumer.queue.pump()

    def cancel(self, tag: str) -> None:
        """Ends a consumer; what it holds stays with the client until acknowledged."""
        consumer = self.consumers.pop(tag, None)
        if consumer is not None:
            self.peer.hub.vhost.remove_consumer(consumer.queue, consumer)

    def cancel_all(self) -> None:
        """Ends all consumers."""
        for tag in tuple(self.consumers):
            self.cancel(tag)

    def end(self) -> None:
        """Ends the channel: what was not acknowledged goes back to its queues."""
        self.cancel_all()
        self.confirms = None
        give_back(self._release(0, multiple=True))

    def _release(self, tag: int, multiple: bool) -> list[Unacked]:
        if multiple and tag == 0:
            tags = list(self._unacked)
        elif tag not in self._unacked:
            raise Fault(Code.PRECONDITION_FAILED, f"unknown delivery tag {tag}")
        elif multiple:
            tags = _until(self._unacked, tag)
        else:
            tags = [tag]
        released = [self._unacked.pop(tag) for tag in tags]
        for _, _, consumer in released:
            if consumer is not None:
                consumer.unacked -= 1
                self.unacked_by_consumers -= 1
        return released


def give_back(released: Iterable[Unacked]) -> None:
    """Puts deliveries back to their queues."""
    for queue, entries in _by_queue(released).items():
        queue.put_back(entries)


def _by_queue(released: Iterable[Unacked]) -> dict[Queue, list[Entry]]:
    by_queue: dict[Queue, list[Entry]] = {}
    for queue, entry, _ in released:
        by_queue.setdefault(queue, []).append(entry)
    return by_queue


def _until(tags: Iterable[int], last: int) -> list[int]:
    """Returns the growing `tags` up to `last`."""
    found = []
    for tag in tags:
        if tag > last:
            break
        found.append(tag)
    return found
