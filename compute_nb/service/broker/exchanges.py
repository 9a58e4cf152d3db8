"""This module is an exchange: bindings, and which queues a routing key leads to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from compute_nb.service.broker.queues import Queue

MAX_KNOWN_ROUTES = 10_000


def same(pattern: str, routing_key: str) -> bool:
    """Says if a key matches in a direct exchange."""
    return pattern == routing_key


def matches(pattern: str, routing_key: str) -> bool:
    """Says if a key matches in a topic exchange: `*` is one word, `#` any number, dots part them."""
    words = routing_key.split(".") if routing_key else []
    ends = {0}  # how many words the pattern so far can stand for
    for part in pattern.split(".") if pattern else []:
        if part == "#":
            ends = set(range(min(ends), len(words) + 1))
        else:
            ends = {n + 1 for n in ends if n < len(words) and part in {"*", words[n]}}
        if not ends:
            return False
    return len(words) in ends


def always(pattern: str, routing_key: str) -> bool:
    """Says that a key matches in a fanout exchange: each does."""
    return True


KINDS: Mapping[str, Callable[[str, str], bool]] = {"direct": same, "topic": matches, "fanout": always}


class Exchange:
    """One exchange of a kind in `KINDS`."""

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        self._matches = KINDS[kind]
        self._bindings: dict[tuple[str, Queue], None] = {}
        self._known: dict[str, tuple[Queue, ...]] = {}

    def __repr__(self) -> str:
        return f"<Exchange {self.name}: {self.kind}, {len(self._bindings)} bindings>"

    @property
    def used(self) -> bool:
        """True while it has bindings."""
        return bool(self._bindings)

    def bind(self, pattern: str, queue: Queue) -> None:
        """Adds a binding; a second one like it changes nothing."""
        self._bindings[pattern, queue] = None
        self._known.clear()

    def unbind(self, pattern: str, queue: Queue) -> None:
        """Removes a binding; a missing one is no error, as in RabbitMQ."""
        self._bindings.pop((pattern, queue), None)
        self._known.clear()

    def forget(self, queue: Queue) -> None:
        """Removes all bindings of a queue."""
        self._bindings = {pair: None for pair in self._bindings if pair[1] is not queue}
        self._known.clear()

    def route(self, routing_key: str) -> tuple[Queue, ...]:
        """Returns the queues for a key, each once."""
        found = self._known.get(routing_key)
        if found is None:
            if len(self._known) >= MAX_KNOWN_ROUTES:
                self._known.clear()
            hits = dict.fromkeys(q for p, q in self._bindings if self._matches(p, routing_key))
            found = self._known[routing_key] = tuple(hits)
        return found
