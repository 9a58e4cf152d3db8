"""This module is the custody file: tasks that an engine has handed over, and which of them have begun.

Each place of the file holds a journal number, or 0, and whether its task counts as begun. The number is
written before the task is handed over. Where the keepers of an engine are sure to be on this machine they
set the second word just before a task begins (`endpoint.runner.keeper`); else a task counts as begun from
the start. Both survive a kill of the agent and of the keeper.

    file    header | place | place | ...
    header  magic (8 bytes), journal id (16), places, free up to 64 bytes
    place   journal number (8 bytes), begun (4), withdrawn (4)

Withdrawn is a task whose worker is lost: it goes to another one if it had not begun. Should that worker live
after all, it sees this once it has marked the task, and lets it be. So whoever of both is later knows.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from compute_nb.endpoint.runner.keeper import CUSTODY_BEGUN, CUSTODY_HEADER, CUSTODY_PLACE
from compute_nb.endpoint.words import make_words, read_words

_MAGIC = b"cnbcust2"


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
        self._map = make_words(path, _MAGIC, journal_id, places, CUSTODY_PLACE)
        self._words = memoryview(self._map)[CUSTODY_HEADER:].cast("Q")
        self._halves = memoryview(self._map)[CUSTODY_HEADER:].cast("I")
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
        begun = self._half(place, CUSTODY_BEGUN)
        self._halves[begun], self._halves[begun + 1] = not self._marked, 0
        self._words[self._at(place)] = number
        return place

    def remove(self, place: int) -> None:
        """Forgets a task whose end is in the journal."""
        self._words[self._at(place)] = 0
        self._free.append(place)

    def withdraw(self, place: int) -> bool:
        """True if a task had not begun, and will not begin now unless it is handed over again."""
        begun = self._half(place, CUSTODY_BEGUN)
        self._halves[begun + 1] = 1
        return not self._halves[begun]

    @staticmethod
    def _half(place: int, offset: int) -> int:
        return (place * CUSTODY_PLACE + offset) // 4

    def _at(self, place: int) -> int:
        return place * CUSTODY_PLACE // 8

    def close(self) -> None:
        """Unmaps the file, which stays."""
        self._words.release()
        self._halves.release()
        self._map.close()


def read_custody(path: Path, journal_id: UUID) -> list[Entrusted] | None:
    """Returns what the last engine had handed over, or None if that is not known any more.

    Not known: no file, another journal's, or a damaged one.
    """
    data = read_words(path, _MAGIC, journal_id, CUSTODY_PLACE)
    if data is None:
        return None
    words, halves = data[CUSTODY_HEADER:].cast("Q"), data[CUSTODY_HEADER:].cast("I")
    entries = zip(words[:: CUSTODY_PLACE // 8], halves[CUSTODY_BEGUN // 4 :: CUSTODY_PLACE // 4], strict=True)
    return [Entrusted(number, bool(begun)) for number, begun in entries if number]
