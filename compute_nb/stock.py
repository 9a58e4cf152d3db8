"""This module is the stock: files of a folder that have a bound together, written by a thread of its own.

Several processes may fill the same folder. What was not touched for longest goes when there is too much.
"""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

MAX_BYTES = 1_000_000_000
_KEPT = 0.9  # of the limit, so that not every file makes room for itself
_EXIT_S = 2.0


class _Call(NamedTuple):
    call: Callable[[], None]


class Stock(Generic[T]):
    """Owner of the thread `compute_nb NAME`, which `put` starts and on which all is written.

    `fits` and `grown` are that thread's, all else is for any; only `flush` and `close` block.

    Args:
        pattern: Which files of the folder count.
        max_bytes: How large they may get together.
        write: Called with what was put meanwhile; it must not raise.
        name: Of the thread.
    """

    def __init__(
        self, folder: Path, pattern: str, max_bytes: int, write: Callable[[Sequence[T]], None], name: str
    ) -> None:
        self.folder = folder
        self._pattern, self._max_bytes = pattern, max_bytes
        self._write, self._name = write, f"compute_nb {name}"
        self._queue: queue.Queue[T | _Call | None] = queue.Queue()
        self._size: int | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def put(self, item: T) -> None:
        """Has something written, soon."""
        self._queue.put(item)
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name=f"compute_nb {self._name}", daemon=True
                )
                self._thread.start()
                atexit.register(self.close, _EXIT_S)

    def afterwards(self, call: Callable[[], None]) -> None:
        """Calls, on the stock's thread, once all that was put so far is written, or can't be."""
        with self._starting:
            if self._thread is not None:
                self._queue.put(_Call(call))
                return
        call()

    def flush(self) -> None:
        """Blocks until all that was put so far is written, or can't be."""
        written = threading.Event()
        self.afterwards(written.set)
        written.wait()

    def close(self, timeout_s: float) -> None:
        """Writes what is waiting and ends the thread, within `timeout_s` seconds."""
        with self._starting:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._queue.put(None)
        if thread is not None:
            thread.join(timeout_s)
            atexit.unregister(self.close)

    # -- the stock's thread -------------------------------------------------------------------

    def fits(self, size: int) -> bool:
        """Returns whether so many bytes may be written at all."""
        return size <= self._max_bytes * _KEPT

    def grown(self, size: int) -> None:
        """Counts bytes that were written; removes the oldest files if there are too many."""
        if self._size is None:
            self._size = sum(one for _, one, _ in self._files())
        else:
            self._size += size
        if self._size > self._max_bytes:
            self._make_room()

    def _make_room(self) -> None:
        files = self._files()
        left = sum(size for _, size, _ in files)
        for _, size, path in files:
            if left <= self._max_bytes * _KEPT:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            left -= size
        self._size = left

    def _files(self) -> list[tuple[float, int, Path]]:
        """Returns (touched, size, path) of each file, the oldest first."""
        found = []
        for path in self.folder.glob(self._pattern):
            with contextlib.suppress(OSError):  # another process may have removed it
                facts = path.stat()
                found.append((facts.st_mtime, facts.st_size, path))
        return sorted(found)

    def _run(self) -> None:
        ended = False
        while not ended:
            items = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    items.append(self._queue.get_nowait())
            ended = None in items
            wanted = [one for one in items if one is not None and not isinstance(one, _Call)]
            if wanted:
                self._write(wanted)
            for one in items:
                if isinstance(one, _Call):
                    one.call()
