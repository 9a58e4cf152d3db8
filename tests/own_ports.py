"""Ports for servers that must be told theirs: where no client's socket lands, nor a service of ours."""

from __future__ import annotations

import random
import socket

# The system gives clients and port 0 those from 32,768, `compute_nb.service.ports` draws from 15,000.
RANGE = range(10_000, 15_000)


def free_ports(count: int) -> list[int]:
    """Draws ports that are free now; they are not held until the server listens."""
    found: list[int] = []
    for port in random.SystemRandom().sample(RANGE, len(RANGE)):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no port is free")
