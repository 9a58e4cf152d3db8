"""This module is the custody file: tasks that an engine has handed to workers whose marks it can't see.

Each place of the file holds a journal number, or 0. It is written before the task is handed over, and
survives a kill of the agent; so what stands in it counts as begun.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from uuid import UUID

_MAGIC = b"cnbcust1"
_HEADER = struct.Struct("=8s16sQ")
_HEADER_BYTES = 64


class Custody:
    """The file of one engine, whose thread alone uses it.

    Args:
        path: The file; made new, an old one is replaced.
        journal_id: The journal whose numbers stand in it.
        places: How many tasks it holds at most.
    """

    def __init__(self, path: Path, journal_id: UUID, places: int) -> None:
        fresh = path.with_suffix(".new")
        size = _HEADER_BYTES + 8 * places
        with fresh.open("w+b") as file:
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):  # a full disk is told now, not by a SIGBUS later
                os.posix_fallocate(file.fileno(), 0, size)
            self._map = mmap.mmap(file.fileno(), size)
        _HEADER.pack_into(self._map, 0, _MAGIC, journal_id.bytes, places)
        fresh.replace(path)
        self._numbers = memoryview(self._map)[_HEADER_BYTES:].cast("Q")
        self._free = list(range(places))

    @property
    def is_full(self) -> bool:
        """True if no task can be added."""
        return not self._free

    @property
    def room(self) -> int:
        """How many tasks can be added."""
        return len(self._free)

    def add(self, number: int) -> int:
        """Notes a task; returns its place."""
        place = self._free.pop()
        self._numbers[place] = number
        return place

    def remove(self, place: int) -> None:
        """Forgets a task whose end is in the journal."""
        self._numbers[place] = 0
        self._free.append(place)

    def close(self) -> None:
        """Unmaps the file, which stays."""
        self._numbers.release()
        self._map.close()


def read_custody(path: Path, journal_id: UUID) -> list[int] | None:
    """Returns the journal numbers that the last engine left, or None if that is not known any more.

    Not known: no file, another journal's, or a damaged one.
    """
    try:
        data = path.read_bytes()
        magic, journal, places = _HEADER.unpack_from(data)
    except (OSError, struct.error):
        return None
    if magic != _MAGIC or journal != journal_id.bytes or len(data) != _HEADER_BYTES + 8 * places:
        return None
    return [number for number in memoryview(data)[_HEADER_BYTES:].cast("Q") if number]
