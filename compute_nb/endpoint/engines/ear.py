"""This module is the ear of a pool engine: it hears what tasks print whose workers are on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import tempfile
from typing import NamedTuple

from compute_nb.endpoint.runner.keeper import PREFIX

_MAX_BYTES = 1 << 18
_AT_ONCE = 1_000


class Heard(NamedTuple):
    """Text of a task; `start` counts the characters before it."""

    task_id: str
    start: int
    text: str


class Ear:
    """A socket of datagrams (`endpoint.runner.voice`), in a folder of this user alone."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}_ear_")
        self.path = os.path.join(self._folder, "ear")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(self.path)

    def take(self) -> list[Heard]:
        """Returns what has come; what is no such text is dropped."""
        heard: list[Heard] = []
        for _ in range(_AT_ONCE):
            try:
                body = self._socket.recv(_MAX_BYTES)
            except OSError:
                break
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                found = Heard(*json.loads(body))
                if (type(found.task_id), type(found.start), type(found.text)) == (str, int, str):
                    heard.append(found)
        return heard

    def close(self) -> None:
        """Removes it."""
        self._socket.close()
        shutil.rmtree(self._folder, ignore_errors=True)
