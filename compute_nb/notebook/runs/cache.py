"""This module is the cache: results of finished tasks in the home folder, by what they were made of.

One file a result, readable by its owner only, named by a keyed hash. It begins with a hash of the result, so
that what a crash or a disk has damaged counts as none. The oldest go when it gets too large.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import logging
import os
import queue
import tempfile
import threading
from pathlib import Path

from compute_nb.config import Home

log = logging.getLogger(__name__)

MAX_BYTES = 1_000_000_000
_KEPT = 0.9  # of the limit, so that not every result makes room for itself
_EXIT_S = 2.0


class Cache:
    """The results of one home. Owner of the thread `compute_nb cache`, which writes; `put` starts it.

    All methods are for any thread; `put` does not block.

    Args:
        folder: Made if need be; the one above it is there.
        max_bytes: How large it may get.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._queue: queue.Queue[tuple[str, str] | None] = queue.Queue()
        self._size: int | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def get(self, key: str) -> str | None:
        """Returns the result under a key, None if there is none; what is used becomes the newest."""
        path = self._path(key)
        try:
            head, _, data = path.read_bytes().partition(b"\n")
            if head != _head(data):
                return None
            os.utime(path)
        except OSError:
            return None
        return data.decode("utf-8", "surrogatepass")

    def put(self, key: str, result: str) -> None:
        """Has a result written, soon."""
        self._queue.put((key, result))
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="compute_nb cache", daemon=True)
                self._thread.start()
                atexit.register(self.close, _EXIT_S)

    def flush(self) -> None:
        """Blocks until all that was put so far is written."""
        self._queue.join()

    def close(self, timeout_s: float) -> None:
        """Writes what is waiting and ends the thread, within `timeout_s` seconds."""
        with self._starting:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join(timeout_s)
            atexit.unregister(self.close)

    # -- the cache's thread -------------------------------------------------------------------

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self._write(*item)
            except OSError as error:  # a full disk, say: the task itself is not hurt
                log.info("a result was not kept for --cache: %s", error)
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def _write(self, key: str, result: str) -> None:
        data = result.encode("utf-8", "surrogatepass")
        if len(data) > self._max_bytes * _KEPT:
            return
        path = self._path(key)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")  # 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_head(data) + b"\n" + data)
            os.replace(name, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        self._size = self._measure() if self._size is None else self._size + len(data)
        if self._size > self._max_bytes:
            self._make_room()

    def _files(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in self._folder.glob("??/*"):
            with contextlib.suppress(OSError):  # another kernel may have removed it
                facts = path.stat()
                found.append((facts.st_mtime, facts.st_size, path))
        return found

    def _measure(self) -> int:
        return sum(size for _, size, _ in self._files())

    def _make_room(self) -> None:
        files = sorted(self._files())
        self._size = sum(size for _, size, _ in files)
        for _, size, path in files:
            if self._size <= self._max_bytes * _KEPT:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            self._size -= size

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / key[2:]


def _head(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


_caches: dict[Path, Cache] = {}


def cache_of(home: Home) -> Cache:
    """Returns the cache of a home, one for each process."""
    folder = home.root / "cache"
    return _caches.setdefault(folder, Cache(folder))
