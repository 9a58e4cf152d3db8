"""This module is the contract of a broker: what the service may ask of it, and what it asks of the service.

Everything here is called on the service's asyncio loop and never blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

Operation = Literal["configure", "read", "write"]
OnDelivery = Callable[["Delivery"], None]
OnConsumer = Callable[[str, str, bool], None]
OnTaken = Callable[[Sequence[Mapping[str, Any]]], None]


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
class Grants:
    """What one user may do, as the patterns of RabbitMQ's permissions.

    Attributes:
        configure: Queues and exchanges that it may declare and delete.
        write: Exchanges that it may publish to.
        read: Queues that it may consume and purge.
        topics: By exchange, the routing keys that it may publish with.
    """

    configure: str
    write: str
    read: str
    topics: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message for the service itself; settle it once by one of its methods, later calls do nothing.

    Attributes:
        username: Who published it, as authenticated; None for the service itself.
        timestamp_s: Seconds since the epoch as the publisher wrote it, None if it didn't.
        settle: For the broker; call `ack`, `reject` or `give_back`.
    """

    queue: str
    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, Any]
    timestamp_s: float | None
    username: str | None
    settle: Callable[[bool | None], None]

    def ack(self) -> None:
        """The content is safe; of the embedded broker, its publisher gets its confirm now."""
        self.settle(True)

    def reject(self) -> None:
        """The content is of no use and dropped; of the embedded broker, its publisher gets a nack."""
        self.settle(False)

    def give_back(self) -> None:
        """The content can't be dealt with now: it comes again, from its publisher (nacked) or the broker."""
        self.settle(None)


class Broker(Protocol):
    """Exchanges and queues in memory or elsewhere; made, used and stopped by the service.

    What it is asked for is done in order and may take effect later; `settled` waits for that. What does not
    outlive its end, or its own loss of memory, is declared and sent again by itself.

    Attributes:
        on_consumer: Called with queue, username and presence: true when a user's first consumer
            appears on a queue, false when its last one has vanished. A broker of its own process can't
            name the user (the text is empty), is late with false, and says true again now and then. Set it
            before `start`.
        on_forgotten: Called when the broker was found without its queues, and so without the messages in
            them; all is declared again by then. The embedded one forgets only together with the service.
    """

    on_consumer: OnConsumer | None
    on_forgotten: Callable[[], None] | None

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
        *,
        content_type: str | None = None,
    ) -> bool:
        """Sends a message of the service itself; False if it is known that no queue takes it."""
        ...

    def consume(self, queue: str, on_delivery: OnDelivery) -> None:
        """Hands all messages of a queue to the service, which becomes its only reader."""
        ...

    def purge(self, queue: str) -> int | None:
        """Drops the messages that wait in a queue; returns how many they were, where that is known."""
        ...

    def announce(self, queue: str, username: str) -> None:
        """That user has said hello and reads the queue right after: `on_consumer` may be called now.

        Is its absence told later, then its connections are closed: were it alive, it must say hello again.
        """
        ...

    def held_bytes(self, queue: str) -> int:
        """Returns the bytes of all bodies that are not acknowledged; 0 if there is no such queue."""
        ...

    def tell_taken(self, queue: str, on_taken: OnTaken) -> bool:
        """Has `on_taken` called with the headers of what clients acknowledge in a queue.

        Returns:
            False for a broker that can't tell: it keeps messages itself over a restart of the service.
        """
        ...

    def admit(self, username: str) -> None:
        """Lets a user log in from now on, by the password that it has now."""
        ...

    def expel(self, username: str) -> None:
        """Lets a user log in no more, and closes all its connections."""
        ...

    def disconnect(self, username: str) -> None:
        """Closes all connections of a user, who may come again."""
        ...

    async def settled(self, timeout_s: float = 10.0) -> bool:
        """Waits until all that was asked for has taken effect; False if that takes longer."""
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
