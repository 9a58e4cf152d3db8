"""This module is the live text of a worker: what its task prints, in memory that the engine reads meanwhile.

The memory is a ring, so that a task may print as fast as it likes: nobody waits for a reader. The ring holds
UTF-8, in which the byte 0xFF never occurs; between two of those stand the digits of a place in the worker's
log, up to which other programs had printed by then.

    header  chunk serial, index + 1 of the task (4 bytes each); counts of bytes that grow for ever (8 each):
            where the task's text begins, where what is written ends, where what is being written will end
    ring    the rest
"""

from __future__ import annotations

import mmap
import os
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Protocol

    class Place(Protocol):
        """The chunk and the task in it that run now."""

        serial: int
        index: int


HEADER = 32
FIRST, END, INTENT = 1, 2, 3
LIVE: list[Live] = []  # of this process; a cell's kit finds it here


class Live:
    """Writes the ring.

    Args:
        file: A descriptor of it, closed here.
        place: Knows which task runs.
    """

    def __init__(self, file: int, place: Place) -> None:
        self.place = place
        self.map = mmap.mmap(file, 0)
        os.close(file)
        view = memoryview(self.map)
        self.words: Any = view.cast("I")
        self.counts: Any = view.cast("Q")
        self.ring = view[HEADER:]
        self.end = 0
        self.log_at: int | None = None
        self.turn = threading.RLock()  # a signal's handler may print, too

    def write(self, text: str, log_at: int | None) -> None:
        """Adds text of the running task.

        Args:
            text: Anything.
            log_at: Up to where the worker's log comes before it; None if nobody here reads the log.
        """
        body = text.encode("utf-8", "replace")
        with self.turn:
            words, place = self.words, self.place
            if words[0] != place.serial or words[1] != place.index + 1:
                self.begin()
            if log_at != self.log_at:
                self.log_at = log_at
                body = b"\xff%d\xff%b" % (log_at or 0, body)
            self.put(body)

    def begin(self) -> None:
        """Lets the text of another task begin."""
        words = self.words
        words[1] = 0
        self.counts[FIRST] = self.end
        words[0] = self.place.serial
        words[1] = self.place.index + 1
        self.log_at = None

    def put(self, body: bytes) -> None:
        """Writes bytes, the oldest ones give way."""
        ring, counts = self.ring, self.counts
        size = len(ring)
        end = self.end + len(body)
        counts[INTENT] = end
        if len(body) > size:
            body = body[-size:]
        start = (end - len(body)) % size
        fits = size - start
        if len(body) <= fits:
            ring[start : start + len(body)] = body
        else:
            ring[start:] = body[:fits]
            ring[: len(body) - fits] = body[fits:]
        counts[END] = self.end = end
