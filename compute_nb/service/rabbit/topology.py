"""This module is what must be there on RabbitMQ: exchanges, queues, bindings, and what the service reads."""

from __future__ import annotations

from typing import Any

from compute_nb.service.broker.contract import OnDelivery


class Topology:
    """All that was declared and not deleted since; loop thread only.

    Attributes:
        exchanges: Name to kind.
        queues: Name to the seconds after which it goes away without a consumer; None: never.
        bindings: Queue, exchange, pattern; in order.
        readers: Queues that the service itself reads.
    """

    def __init__(self) -> None:
        self.exchanges: dict[str, str] = {}
        self.queues: dict[str, float | None] = {}
        self.bindings: dict[tuple[str, str, str], None] = {}
        self.readers: dict[str, OnDelivery] = {}

    def __repr__(self) -> str:
        return f"<Topology, {len(self.exchanges)} exchanges, {len(self.queues)} queues>"

    def forget(self, queue: str) -> None:
        """A queue is gone, with its bindings."""
        self.queues.pop(queue, None)
        self.readers.pop(queue, None)
        for binding in [b for b in self.bindings if b[0] == queue]:
            del self.bindings[binding]

    def watched(self) -> list[str]:
        """Returns the queues that others read and that stay: of agents."""
        return [
            name for name, expires_s in self.queues.items() if expires_s is None and name not in self.readers
        ]


def arguments(expires_s: float | None) -> dict[str, Any] | None:
    """Returns a queue's arguments as RabbitMQ names them."""
    return None if expires_s is None else {"x-expires": max(1, int(expires_s * 1000))}
