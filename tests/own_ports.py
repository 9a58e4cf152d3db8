"""Ports for servers that must be told theirs: where no client's socket lands, nor a service of ours."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import IO

# The system gives clients and port 0 those from 32,768, `compute_nb.service.ports` draws from 15,000.
RANGE = range(10_000, 15_000)


_drawn: list[IO[bytes]] = []


def free_ports(count: int) -> list[int]:
    """Draws ports that are free; no other process of tests draws them as long as this one is there."""
    found: list[int] = []
    for port in random.SystemRandom().sample(RANGE, len(RANGE)):
        if not _ours(port):
            continue
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


def _ours(port: int) -> bool:
    """Notes for all processes of tests that a port was drawn here: its server may listen much later."""
    folder = Path(tempfile.gettempdir()) / f"cnb-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    note = (folder / str(port)).open("ab")
    try:
        fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        note.close()
        return False
    _drawn.append(note)
    return True
