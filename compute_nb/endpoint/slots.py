"""This module is the slots file: the tasks that each worker has begun, in words that survive a kill.

The file is mapped into the agent and its workers. Each worker has two records, so that a second chunk
can wait behind the first. The engine fills a record before it sends the chunk; the worker counts `begun`
up just before it starts each task of it; the engine lowers `limit` to take the rest back. Killing all of
them loses none of these words; a power cut does, and the boot id tells (`endpoint.journal_file`).

    file    header of `endpoint.words` | worker | worker | ...
    worker  pid, cancel serial, cancel index + 1, size of its log (modulo 2**32) when its latest task began,
            start mark (double), begun at (double), records
    record  serial (0: empty), count, begun, limit, 64 x journal number (8 bytes)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from compute_nb.endpoint.words import HEADER_BYTES, make_words, read_words

MAX_CHUNK = 64
RECORDS = 2

_MAGIC = b"cnbslot1"
_WORKER_WORDS = 8
_RECORD_WORDS = 4 + 2 * MAX_CHUNK
_WORKER_BYTES = 4 * (_WORKER_WORDS + RECORDS * _RECORD_WORDS)
_NO_LIMIT = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Leftover:
    """What a worker of an earlier agent was doing.

    Attributes:
        pid: Its process and process group; 0 if none was ever started here.
        start_mark: What `machine.start_mark` said of that process.
        begun: Journal numbers of the tasks that it has begun and that may have ended since.
    """

    pid: int
    start_mark: float
    begun: tuple[int, ...]


class Slots:
    """The slots of one engine; its thread alone writes them, apart from the words of the workers.

    Args:
        path: The file; made new, an old one is replaced.
        journal_id: The journal whose numbers stand in the records.
        workers: How many workers may run at once.
    """

    def __init__(self, path: Path, journal_id: UUID, workers: int) -> None:
        self.path = path
        self._map = make_words(path, _MAGIC, journal_id, workers, _WORKER_BYTES)
        view = memoryview(self._map)
        self.words, self.doubles = view.cast("I"), view.cast("d")
        self.numbers = view.cast("Q")

    def close(self) -> None:
        """Unmaps the file, which stays."""
        for view in (self.words, self.doubles, self.numbers):
            view.release()
        self._map.close()


def read_leftovers(path: Path, journal_id: UUID) -> list[Leftover] | None:
    """Returns what the workers of the last engine left, or None if that is not known any more.

    Not known: no file, another journal's, or a damaged one.
    """
    data = read_words(path, _MAGIC, journal_id, _WORKER_BYTES)
    if data is None:
        return None
    words, numbers, doubles = data.cast("I"), data.cast("Q"), data.cast("d")
    workers = (len(data) - HEADER_BYTES) // _WORKER_BYTES
    return [_leftover(words, numbers, doubles, worker) for worker in range(workers)]


def _leftover(
    words: memoryview[int], numbers: memoryview[int], doubles: memoryview[float], worker: int
) -> Leftover:
    start = _worker_word(worker)
    begun: list[int] = []
    for number in range(RECORDS):
        record = _record_word(worker, number)
        serial, count, marked = words[record : record + 3]
        first = (record + 4) // 2
        begun += numbers[first : first + min(marked, count, MAX_CHUNK)] if serial else ()
    return Leftover(words[start], doubles[start // 2 + 2], tuple(begun))


def _worker_word(worker: int) -> int:
    return (HEADER_BYTES + worker * _WORKER_BYTES) // 4


def _record_word(worker: int, number: int) -> int:
    return _worker_word(worker) + _WORKER_WORDS + number * _RECORD_WORDS


class Slot:
    """One worker's part of the file, as the engine uses it; `free` are its empty records."""

    def __init__(self, slots: Slots, worker: int) -> None:
        self._words, self._doubles, self._numbers = slots.words, slots.doubles, slots.numbers
        self._start = _worker_word(worker)
        self._records = [_record_word(worker, number) for number in range(RECORDS)]
        self.path = slots.path
        self.free = list(range(RECORDS))

    def places(self) -> dict[str, object]:
        """Returns where the worker finds its words, for its setup frame."""
        return {
            "slots": os.fspath(self.path),
            "cancel": self._start + 1,
            "begun": self._start // 2 + 3,
            "log": self._start + 3,
            "records": self._records,
        }

    def occupy(self, pid: int, start_mark: float) -> None:
        """Notes which process works here; its records must be empty."""
        self._words[self._start + 1] = self._words[self._start + 2] = 0
        self._doubles[self._start // 2 + 2] = start_mark
        self._words[self._start] = pid

    def fill(self, record: int, serial: int, numbers: Sequence[int]) -> None:
        """Prepares a record for a chunk of at most 64 tasks; the serial, written last, makes it valid."""
        at = self._records[record]
        words = self._words
        words[at] = 0
        words[at + 2] = 0
        first = (at + 4) // 2
        for place, number in enumerate(numbers, first):
            self._numbers[place] = number
        words[at + 1] = len(numbers)
        words[at + 3] = _NO_LIMIT
        words[at] = serial

    def clear(self, record: int) -> None:
        """Empties and frees a record; the ends of its tasks are in the journal."""
        self._words[self._records[record]] = 0
        self.free.append(record)

    def begun(self, record: int) -> int:
        """How many tasks of the chunk have begun."""
        return self._words[self._records[record] + 2]

    def begun_at(self) -> float:
        """When the worker began its latest task, in seconds since the epoch."""
        return self._doubles[self._start // 2 + 3]

    def log_start(self) -> int:
        """How large the worker's log was when it began its latest task, modulo 2**32."""
        return self._words[self._start + 3]

    def limit(self, record: int, count: int) -> None:
        """Takes back all but the first `count` tasks.

        The worker reads this both before and after it marks a task as begun, so what `begun` says some
        milliseconds later is final.
        """
        self._words[self._records[record] + 3] = count

    def cancel(self, serial: int, index: int) -> None:
        """Names the task that the next SIGINT is meant for."""
        self._words[self._start + 2] = index + 1
        self._words[self._start + 1] = serial
