"""This module is the virtual host: all exchanges and queues by name, and the end of queues nobody reads."""

from __future__ import annotations

import logging
from collections.abc import Callable

from compute_nb.errors import ComputeError
from compute_nb.service.broker.confirms import Receipt
from compute_nb.service.broker.contract import OnConsumer
from compute_nb.service.broker.exchanges import KINDS, Exchange
from compute_nb.service.broker.faults import not_found
from compute_nb.service.broker.queues import Consumer, Message, Queue

logger = logging.getLogger(__name__)

DEFAULT_EXCHANGE = ""


class Mismatch(ComputeError):
    """A queue or exchange exists, and is not what was declared now."""


class Vhost:
    """What the broker routes by.

    Args:
        clock: Seconds, monotonic.
        on_deadline: Called when a queue has begun to wait for a consumer; see `expire`.

    Attributes:
        on_consumer: As in the contract of a broker.
    """

    def __init__(self, clock: Callable[[], float], on_deadline: Callable[[], None]) -> None:
        self.on_consumer: OnConsumer | None = None
        self._clock = clock
        self._on_deadline = on_deadline
        self._queues: dict[str, Queue] = {}
        self._exchanges: dict[str, Exchange] = {}
        for kind in KINDS:
            self.declare_exchange(f"amq.{kind}", kind)

    def declare_exchange(self, name: str, kind: str) -> None:
        """Makes an exchange unless it is there.

        Raises:
            Mismatch: It is there with another kind, or there is no such kind.
        """
        if kind not in KINDS:
            raise Mismatch(f"exchange '{name}': kind '{kind}' is none of {', '.join(KINDS)}")
        old = self._exchanges.setdefault(name, Exchange(name, kind))
        if old.kind != kind:
            raise Mismatch(f"exchange '{name}' exists with kind '{old.kind}', not '{kind}'")

    def delete_exchange(self, name: str, if_unused: bool = False) -> bool:
        """Drops an exchange with its bindings; a missing one is no error.

        Returns:
            False if it has bindings and `if_unused` spared it.
        """
        exchange = self._exchanges.get(name)
        if exchange is None or (if_unused and exchange.used):
            return exchange is None
        del self._exchanges[name]
        return True

    def declare_queue(
        self,
        name: str,
        expires_s: float | None,
        owner: str | None,
        *,
        holder: object = None,
        auto_delete: bool = False,
    ) -> Queue:
        """Makes a queue unless it is there, and returns it.

        Raises:
            Mismatch: It is there with another owner, lifetime or holder.
        """
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = Queue(
                name, self._clock, expires_s, owner, holder=holder, auto_delete=auto_delete
            )
        found = (queue.expires_s, queue.owner, queue.holder is not None, queue.auto_delete)
        wanted = (expires_s, owner, holder is not None, auto_delete)
        if found != wanted:
            names = ("expires_s", "owner", "exclusive", "auto_delete")
            is_, not_ = (
                ", ".join(f"{n}={v}" for n, v in zip(names, values, strict=True))
                for values in (found, wanted)
            )
            raise Mismatch(f"queue '{name}' exists with {is_}, not {not_}")
        queue.touch()
        self._watch(queue)
        return queue

    def delete_queue(self, name: str) -> int:
        """Drops a queue, tells its consumers, and returns how many messages it had; 0 if it is missing."""
        queue = self._queues.pop(name, None)
        if queue is None:
            return 0
        for exchange in self._exchanges.values():
            exchange.forget(queue)
        count = queue.ready_count
        for consumer in queue.delete():
            self.remove_consumer(queue, consumer)
            consumer.cancelled()
        return count

    def has_queue(self, name: str) -> bool:
        """Says if there is a queue of that name."""
        return name in self._queues

    def queue(self, name: str) -> Queue:
        """Returns a queue.

        Raises:
            Fault: 404.
        """
        queue = self._queues.get(name)
        if queue is None:
            raise not_found("queue", name)
        return queue

    def held_bytes(self, name: str) -> int:
        """Returns the bytes of a queue's bodies; 0 if there is no such queue."""
        queue = self._queues.get(name)
        return 0 if queue is None else queue.held_bytes

    def depths(self) -> dict[str, int]:
        """Returns how many messages wait in each queue."""
        return {name: queue.ready_count for name, queue in self._queues.items()}

    def exchange(self, name: str) -> Exchange:
        """Returns an exchange other than the default one.

        Raises:
            Fault: 404.
        """
        exchange = self._exchanges.get(name)
        if exchange is None:
            raise not_found("exchange", name)
        return exchange

    def publish(self, message: Message, receipt: Receipt | None = None) -> bool:
        """Puts a message to all queues that it is routed to; says if there was any.

        Raises:
            Fault: 404 if the exchange is missing.
        """
        if message.exchange == DEFAULT_EXCHANGE:
            queue = self._queues.get(message.routing_key)
            targets: tuple[Queue, ...] = () if queue is None else (queue,)
        else:
            targets = self.exchange(message.exchange).route(message.routing_key)
        for target in targets:
            target.put(message, receipt)
        return bool(targets)

    def add_consumer(self, queue: Queue, consumer: Consumer) -> None:
        """Lets a client read a queue, tells the service, and delivers what waits."""
        if queue.add(consumer) and self.on_consumer is not None:
            self.on_consumer(queue.name, consumer.username, True)
        queue.pump()

    def remove_consumer(self, queue: Queue, consumer: Consumer) -> None:
        """Ends that, and tells the service."""
        last = queue.remove(consumer)
        if queue.auto_delete and not queue.consumer_count and not queue.deleted:
            self.delete_queue(queue.name)
        self._watch(queue)
        if last and self.on_consumer is not None:
            self.on_consumer(queue.name, consumer.username, False)

    def expire(self) -> float | None:
        """Drops the queues whose time is over; returns when the next one's will be, by the clock."""
        now_s = self._clock()
        waiting = [(q.deadline_s, q.name) for q in self._queues.values() if q.deadline_s is not None]
        for deadline_s, name in waiting:
            if deadline_s <= now_s:
                self.delete_queue(name)
                logger.info("queue %s had no consumer for its time: gone with its messages", name)
        return min((deadline_s for deadline_s, _ in waiting if deadline_s > now_s), default=None)

    def _watch(self, queue: Queue) -> None:
        if queue.deadline_s is not None and not queue.deleted:
            self._on_deadline()
