"""This module is the custody file: tasks that an engine has handed over, and which of them have begun.

Each place of the file holds a journal number, or 0, and whether its task counts as begun. The number is
written before the task is handed over. Where the keepers of an engine are sure to be on this machine they
set the second word just before a task begins (`endpoint.runner.keeper`); else a task counts as begun from
the start. Both survive a kill of the agent and of the keeper.

    file    header | place | place | ...
    header  magic (8 bytes), journal id (16), places, free up to 64 bytes
    place   journal number (8 bytes), begun (8)
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from compute_nb.endpoint.runner.keeper import CUSTODY_BEGUN, CUSTODY_HEADER, CUSTODY_PLACE

_MAGIC = b"cnbcust2"
_HEADER = struct.Struct("=8s16sQ")


class Entrusted(NamedTuple):
    """A task that an engine had handed over, by its journal number, and whether it counts as begun."""

    number: int
    begun: bool


class Custody:
    """The file of one engine, whose thread alone uses it.

    Args:
        path: The file; made new, an old one is replaced.
        journal_id: The journal whose numbers stand in it.
        places: How many tasks it holds at most.
        marked: Whether keepers mark here what they begin.
    """

    def __init__(self, path: Path, journal_id: UUID, places: int, *, marked: bool = False) -> None:
        fresh = path.with_suffix(".new")
        size = CUSTODY_HEADER + CUSTODY_PLACE * places
        with fresh.open("w+b") as file:
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):  # a full disk is told now, not by a SIGBUS later
                os.posix_fallocate(file.fileno(), 0, size)
            self._map = mmap.mmap(file.fileno(), size)
        _HEADER.pack_into(self._map, 0, _MAGIC, journal_id.bytes, places)
        fresh.replace(path)
        self._words = memoryview(self._map)[CUSTODY_HEADER:].cast("Q")
        self._marked = marked
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
        self._words[self._at(place) + CUSTODY_BEGUN // 8] = not self._marked
        self._words[self._at(place)] = number
        return place

    def remove(self, place: int) -> None:
        """Forgets a task whose end is in the journal."""
        self._words[self._at(place)] = 0
        self._free.append(place)

    def _at(self, place: int) -> int:
        return place * CUSTODY_PLACE // 8

    def close(self) -> None:
        """Unmaps the file, which stays."""
        self._words.release()
        self._map.close()


def read_custody(path: Path, journal_id: UUID) -> list[Entrusted] | None:
    """Returns what the last engine had handed over, or None if that is not known any more.

    Not known: no file, another journal's, or a damaged one.
    """
    try:
        data = path.read_bytes()
        magic, journal, places = _HEADER.unpack_from(data)
    except (OSError, struct.error):
        return None
    whole = len(data) == CUSTODY_HEADER + CUSTODY_PLACE * places
    if magic != _MAGIC or journal != journal_id.bytes or not whole:
        return None
    words = memoryview(data)[CUSTODY_HEADER:].cast("Q")
    each = CUSTODY_PLACE // 8
    found = [Entrusted(words[i], bool(words[i + CUSTODY_BEGUN // 8])) for i in range(0, each * places, each)]
    return [entry for entry in found if entry.number]
