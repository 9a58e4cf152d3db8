"""This module is the custody file: tasks that an engine has handed to workers whose marks it can't see.

Each place of the file holds a journal number, or 0. It is written before the task is handed over, and
survives a kill of the agent; so what stands in it counts as begun.
"""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from compute_nb.endpoint.words import HEADER_BYTES, make_words, read_words

_MAGIC = b"cnbcust1"
_PLACE_BYTES = 8


class Custody:
    """The file of one engine, whose thread alone uses it.

    Args:
        path: The file; made new, an old one is replaced.
        journal_id: The journal whose numbers stand in it.
        places: How many tasks it holds at most.
    """

    def __init__(self, path: Path, journal_id: UUID, places: int) -> None:
        self._map = make_words(path, _MAGIC, journal_id, places, _PLACE_BYTES)
        self._numbers = memoryview(self._map)[HEADER_BYTES:].cast("Q")
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
    data = read_words(path, _MAGIC, journal_id, _PLACE_BYTES)
    return None if data is None else [number for number in data[HEADER_BYTES:].cast("Q") if number]
