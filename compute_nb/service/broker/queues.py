"""This module is a queue in memory: messages in order, and the consumers that take turns at them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from compute_nb.service.broker import properties
from compute_nb.service.broker.confirms import Receipt
from compute_nb.service.broker.contract import Delivery, OnDelivery, OnTaken


class Message(NamedTuple):
    """One message as it was published; the same object lies in every queue that it was routed to.

    Attributes:
        properties: As bytes, flags first.
        username: Who published it, None for the service.
    """

    exchange: str
    routing_key: str
    properties: bytes
    body: bytes
    username: str | None


class Entry:
    """A message's place in one queue.

    Attributes:
        place: Grows with every message of the queue, so that what comes back finds its place again.
        redelivered: True if it has been with a consumer before.
    """

    __slots__ = ("message", "place", "redelivered")

    def __init__(self, message: Message, place: int) -> None:
        self.message = message
        self.place = place
        self.redelivered = False


class Consumer(Protocol):
    """A client that reads a queue; called by the queue."""

    @property
    def username(self) -> str:
        """Who reads."""
        ...

    @property
    def exclusive(self) -> bool:
        """True if nobody else may read."""
        ...

    def able(self) -> bool:
        """Says if it can take a message now. If not, it calls `Queue.pump` when it can."""
        ...

    def deliver(self, queue: Queue, entry: Entry) -> None:
        """Takes a message; never raises."""
        ...

    def cancelled(self) -> None:
        """The queue is gone."""
        ...


class Settlement:
    """Lets the service settle a delivery once."""

    __slots__ = ("_receipt",)

    def __init__(self, receipt: Receipt | None) -> None:
        self._receipt = receipt

    def __call__(self, ok: bool | None) -> None:
        """Settles it, unless it is settled."""
        receipt, self._receipt = self._receipt, None
        if receipt is not None:
            receipt.settle(bool(ok))


class Queue:
    """One queue.

    Args:
        name: Its name.
        clock: Seconds, monotonic.
        expires_s: How long it lives without consumers, None for ever.
        owner: The only user that may read it, None for anybody.
        holder: The only connection that may use it, and with which it ends; None for any.
        auto_delete: True if it goes with its last consumer.

    Attributes:
        held_bytes: Of the bodies here and at clients that have not acknowledged them.
        on_taken: As `tell_taken` of the contract has it.
    """

    def __init__(
        self,
        name: str,
        clock: Callable[[], float],
        expires_s: float | None = None,
        owner: str | None = None,
        *,
        holder: object = None,
        auto_delete: bool = False,
    ) -> None:
        self.name = name
        self.expires_s = expires_s
        self.owner = owner
        self.holder = holder
        self.auto_delete = auto_delete
        self.deleted = False
        self.held_bytes = 0
        self.on_taken: OnTaken | None = None
        self._clock = clock
        self._idle_since_s = clock()
        self._ready: deque[Entry] = deque()
        self._next_place = 0
        self._consumers: deque[Consumer] = deque()
        self._readers: Counter[str] = Counter()
        self._service: OnDelivery | None = None
        self._pumping = False

    def __repr__(self) -> str:
        return f"<Queue {self.name}: {len(self._ready)} ready, {len(self._consumers)} consumers>"

    @property
    def ready_count(self) -> int:
        """How many messages wait for a consumer."""
        return len(self._ready)

    @property
    def consumer_count(self) -> int:
        """How many consumers it has, the service included."""
        return len(self._consumers) + (self._service is not None)

    @property
    def exclusive(self) -> bool:
        """True if no other consumer may come."""
        return self._service is not None or any(c.exclusive for c in self._consumers)

    @property
    def deadline_s(self) -> float | None:
        """When it expires by its clock; None while it has consumers, or if it never does."""
        if self.expires_s is None or self.consumer_count:
            return None
        return self._idle_since_s + self.expires_s

    def touch(self) -> None:
        """It was used without a consumer: its time begins anew."""
        self._idle_since_s = self._clock()

    def put(self, message: Message, receipt: Receipt | None = None) -> None:
        """Takes a message to its end, and hands it on if somebody can take it.

        Args:
            message: What was published.
            receipt: Held until the service has settled the message; not held in any other case.
        """
        if self._service is not None:
            self._serve(self._service, message, receipt)
            return
        self._ready.append(Entry(message, self._next_place))
        self.held_bytes += len(message.body)
        self._next_place += 1
        self.pump()

    def put_back(self, entries: Iterable[Entry]) -> None:
        """Takes back what was delivered and not acknowledged, each to its old place."""
        back = sorted(entries, key=lambda entry: entry.place)
        if self.deleted or not back:
            return
        for entry in back:
            entry.redelivered = True
        ready, front = self._ready, []
        while ready and ready[0].place < back[-1].place:
            front.append(ready.popleft())
        if front:
            back = sorted(front + back, key=lambda entry: entry.place)
        ready.extendleft(reversed(back))
        self.pump()

    def get(self) -> Entry | None:
        """Returns the first message, or None."""
        self.touch()
        return self._ready.popleft() if self._ready else None

    def purge(self) -> int:
        """Drops all messages that are not with a consumer; returns how many."""
        count = len(self._ready)
        for entry in self._ready:
            self.settled(entry)
        self._ready.clear()
        return count

    def settled(self, entry: Entry) -> None:
        """A message is dealt with: acknowledged, dropped, or sent to somebody who does not acknowledge."""
        self.held_bytes -= len(entry.message.body)

    def acknowledged(self, entries: Sequence[Entry]) -> None:
        """Clients have acknowledged messages."""
        for entry in entries:
            self.settled(entry)
        if self.on_taken is not None:
            self.on_taken([properties.read(entry.message.properties).headers for entry in entries])

    def add(self, consumer: Consumer) -> bool:
        """Adds a consumer, which gets nothing before `pump`; says if it is its user's first."""
        self._consumers.append(consumer)
        self._readers[consumer.username] += 1
        return self._readers[consumer.username] == 1

    def remove(self, consumer: Consumer) -> bool:
        """Removes a consumer; says if it was its user's last."""
        self._consumers.remove(consumer)
        self._readers[consumer.username] -= 1
        self.touch()
        return not self._readers[consumer.username]

    def serve(self, on_delivery: OnDelivery) -> None:
        """Hands what is here and all that comes to the service."""
        self._service = on_delivery
        while self._ready:
            entry = self._ready.popleft()
            self.settled(entry)
            self._serve(on_delivery, entry.message, None)

    def delete(self) -> list[Consumer]:
        """Ends the queue; returns the consumers that it had."""
        self.deleted = True
        self._ready.clear()
        return list(self._consumers)

    def pump(self) -> None:
        """Delivers as long as there are messages and consumers that can take them."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._ready and (consumer := self._turn()) is not None:
                consumer.deliver(self, self._ready.popleft())
        finally:
            self._pumping = False

    def _turn(self) -> Consumer | None:
        """Returns the consumer whose turn it is, of those that are able."""
        consumers = self._consumers
        for _ in range(len(consumers)):
            consumer = consumers[0]
            consumers.rotate(-1)
            if consumer.able():
                return consumer
        return None

    def _serve(self, on_delivery: OnDelivery, message: Message, receipt: Receipt | None) -> None:
        if receipt is not None:
            receipt.hold()
        exchange, routing_key, raw, body, username = message
        headers, timestamp_s, _ = properties.read(raw)
        on_delivery(
            Delivery(
                self.name,
                exchange,
                routing_key,
                body,
                headers,
                timestamp_s,
                username,
                Settlement(receipt),
            )
        )
