"""This module is what must be there on RabbitMQ: exchanges, queues, bindings, and what the service reads."""

from __future__ import annotations

from typing import Any

from compute_nb.service.broker.contract import OnDelivery


class Topology:
    """All that was declared and not deleted since; loop thread only.

    Queues that go away without a consumer are forgotten here, too, when nothing was sent there for as long.

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
        self._used: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<Topology, {len(self.exchanges)} exchanges, {len(self.queues)} queues>"

    def used(self, queue: str, now_s: float) -> None:
        """A queue was declared or sent to."""
        if self.queues.get(queue) is not None:
            self._used[queue] = now_s

    def expire(self, now_s: float) -> None:
        """Forgets the queues that may well be gone: after a wipe nobody wants them back."""
        for queue, used_s in tuple(self._used.items()):
            expires_s = self.queues.get(queue)
            if expires_s is None or now_s - used_s > expires_s:
                del self._used[queue]
                if expires_s is not None:
                    self.forget(queue)

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
