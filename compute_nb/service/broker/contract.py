"""This module is the contract of a broker: what the service may ask of it, and what it asks of the service.

Everything here is called on the service's asyncio loop and never blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

Operation = Literal["configure", "read", "write"]
OnDelivery = Callable[["Delivery"], None]
OnConsumer = Callable[[str, str, bool], None]


class Guard(Protocol):
    """Who may speak to the broker, and about what; called by the embedded broker for its clients."""

    def authenticate(self, username: str, password: str) -> bool:
        """Says if this is the user's password; called once a connection."""
        ...

    def allowed(self, username: str, operation: Operation, name: str, routing_key: str | None) -> bool:
        """Says if the user may do that; a yes is kept for as long as the connection lives.

        Args:
            username: Who was authenticated.
            operation: `configure` declares and deletes, `read` consumes and purges, `write` publishes
                and binds, as RabbitMQ has it. A passive declare asks for nothing.
            name: Of the queue or exchange; the default exchange is called `amq.default`.
            routing_key: The key of a message or binding; None where there is none.
        """
        ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message for the service itself; `ack` or `reject` it once, later calls do nothing.

    Attributes:
        username: Who published it, as authenticated; None for the service itself.
        timestamp_s: Seconds since the epoch as the publisher wrote it, None if it didn't.
        settle: For the broker; call `ack` or `reject`.
    """

    queue: str
    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, Any]
    timestamp_s: float | None
    username: str | None
    settle: Callable[[bool], None]

    def ack(self) -> None:
        """The content is safe: now its publisher gets its confirm."""
        self.settle(True)

    def reject(self) -> None:
        """The content is dropped: its publisher gets a nack."""
        self.settle(False)


class Broker(Protocol):
    """Exchanges and queues in memory or elsewhere; made, used and stopped by the service.

    Attributes:
        on_consumer: Called with queue, username and presence: true when a user's first consumer
            appears on a queue, false when its last one has vanished. Set it before `start`.
    """

    on_consumer: OnConsumer | None

    async def start(self) -> None:
        """Begins to listen, or connects."""
        ...

    async def stop(self) -> None:
        """Closes all connections, each with a reason, and ends."""
        ...

    def declare_exchange(self, name: str, kind: str = "topic") -> None:
        """Makes an exchange of kind `direct` or `topic`, unless there is one like it."""
        ...

    def declare_queue(self, name: str, *, expires_s: float | None = None, owner: str | None = None) -> None:
        """Makes a durable queue, unless there is one like it.

        Args:
            name: Of the queue.
            expires_s: After so many seconds without a consumer the queue goes away. None: never.
            owner: The only user that may read it, beside what the guard says. None: anybody.
        """
        ...

    def delete_queue(self, name: str) -> None:
        """Drops a queue with its messages and tells its consumers; a missing one is no error."""
        ...

    def bind(self, queue: str, exchange: str, pattern: str) -> None:
        """Routes what matches `pattern` (`*` one word, `#` any number) to a queue."""
        ...

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        headers: Mapping[str, Any] | None = None,
        timestamp_s: float | None = None,
    ) -> bool:
        """Sends a message of the service itself; says if it was routed to any queue."""
        ...

    def consume(self, queue: str, on_delivery: OnDelivery) -> None:
        """Hands all messages of a queue to the service, which becomes its only reader."""
        ...

    def purge(self, queue: str) -> int:
        """Drops the messages that wait in a queue, and returns how many they were."""
        ...

    def held_bytes(self, queue: str) -> int:
        """Returns the bytes of all bodies that are not acknowledged; 0 if there is no such queue."""
        ...

    def disconnect(self, username: str) -> None:
        """Closes all connections of a user, whose credentials are no longer good."""
        ...


@dataclass(frozen=True, slots=True)
class Census:
    """What a broker holds at a moment.

    Attributes:
        connections: Of clients and agents.
        depths: Queue name -> messages that wait in it.
    """

    connections: int
    depths: Mapping[str, int]


@runtime_checkable
class Counted(Protocol):
    """A broker that can be asked what it holds; one that can't tells it elsewhere."""

    def census(self) -> Census:
        """Returns what it holds now."""
        ...
