"""This module is the tail of a worker: what its running task prints, read while it runs.

What Python prints in a cell stands in a ring in memory (`endpoint.runner.live`), all else in the worker's
log. Where the ring names a place in the log, the log comes first up to there.
"""

from __future__ import annotations

import codecs
import contextlib
import mmap
import os
import re
import tempfile
from typing import NamedTuple

RING_BYTES = 65_536

_HEADER = 32
_FIRST, _END, _INTENT = 1, 2, 3
_MARK = re.compile(rb"\xff(\d+)\xff")


class Piece(NamedTuple):
    """Some text of a task; `start` counts the characters that came before it, shown or not."""

    start: int
    text: str


class Tail:
    """Reads what one worker's tasks print; belongs to the engine's thread.

    Args:
        log: The worker's log, which exists.

    Attributes:
        file: Descriptor of the ring, for the worker.
    """

    def __init__(self, log: str) -> None:
        self.file = _memory()
        os.truncate(self.file, _HEADER + RING_BYTES)
        self._map = mmap.mmap(self.file, 0)
        view = memoryview(self._map)
        self._words, self._counts, self._ring = view.cast("I"), view.cast("Q"), view[_HEADER:]
        self._path = log
        self._log = os.open(log, os.O_RDONLY)
        self._task = (0, 0)
        self._begin((0, 0), 0)

    def close(self) -> None:
        """Gives the memory back."""
        for view in (self._words, self._counts, self._ring):
            view.release()
        self._map.close()
        os.close(self.file)
        os.close(self._log)

    def setup(self) -> dict[str, object]:
        """Returns where the worker finds the ring, for its setup frame."""
        return {"live": self.file}

    def news(self, serial: int, index: int, log_start: int, limit: int) -> Piece | None:
        """Returns what a task has printed since the last call, None if nothing.

        Args:
            serial: Of its chunk.
            index: Its place there.
            log_start: Where the log stood when it began, modulo 2**32.
            limit: How many characters at most; of more the end.
        """
        is_next = (serial, index) != self._task
        if is_next:
            self._find_log()
        size = os.lseek(self._log, 0, os.SEEK_END)
        if is_next:
            self._begin((serial, index), max(0, size - ((size - log_start) & 0xFFFFFFFF)))
        skipped, body = self._ring_news()
        self._count += skipped
        if not body and size == self._log_at:
            return None
        parts = _MARK.split(body)
        text = parts[0].decode("utf-8", "replace")
        for place, part in zip(parts[1::2], parts[2::2]):
            text += self._log_until(min(int(place), size), limit) + part.decode("utf-8", "replace")
        text += self._log_until(size, limit)
        start = self._count
        self._count += len(text)
        if len(text) > limit:
            start, text = start + len(text) - limit, text[-limit:]
        return Piece(start, text) if text else None

    def _find_log(self) -> None:
        """Opens the log that the worker writes now, if that is another one."""
        with contextlib.suppress(OSError):
            if not os.path.samestat(os.stat(self._path), os.fstat(self._log)):
                file = os.open(self._path, os.O_RDONLY)
                os.close(self._log)
                self._log = file

    def _begin(self, task: tuple[int, int], log_at: int) -> None:
        self._task = task
        self._read = self._count = 0
        self._log_at = log_at
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def _ring_news(self) -> tuple[int, bytes]:
        """Returns how many bytes have been written over before they were read, and the new ones."""
        words, counts, serial_index = self._words, self._counts, (self._task[0], self._task[1] + 1)
        if (words[0], words[1]) != serial_index:
            return 0, b""
        begin, end = max(self._read, counts[_FIRST]), counts[_END]
        if begin >= end:
            return 0, b""
        first = max(begin, end - RING_BYTES)
        start, stop = first % RING_BYTES, (end - 1) % RING_BYTES + 1
        ring = self._ring
        body = bytes(ring[start:stop]) if start < stop else bytes(ring[start:]) + bytes(ring[:stop])
        valid = counts[_INTENT] - RING_BYTES  # what came before has been written over meanwhile
        if (words[0], words[1]) != serial_index or valid >= end:
            return 0, b""
        if valid > first:
            body, first = body[valid - first :], valid
        self._read = end
        kept = _whole(body) if first > begin else body
        return end - begin - len(kept), kept

    def _log_until(self, end: int, limit: int) -> str:
        """Returns the log up to a place, its last part if that is much."""
        if self._log_at > end:
            if end == 0:  # it began anew
                self._log_at = 0
            return ""
        if end - self._log_at > 4 * limit:
            self._count += end - self._log_at - 4 * limit
            self._log_at = end - 4 * limit
        found = b""
        with contextlib.suppress(OSError):
            found = os.pread(self._log, end - self._log_at, self._log_at)
        self._log_at += len(found)
        return self._decoder.decode(found)


def _whole(body: bytes) -> bytes:
    """Returns bytes of which the beginning was lost, from the first line that is whole if one is near."""
    newline = body.find(b"\n", 0, 2_000)
    if newline >= 0:
        return body[newline + 1 :]
    while body and 0x80 <= body[0] < 0xC0:
        body = body[1:]
    return body


def _memory() -> int:
    """Returns a descriptor of memory that has no name, so that nothing of it stays on a disk."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("live", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
