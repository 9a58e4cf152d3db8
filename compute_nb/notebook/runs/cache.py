"""This module is the cache: results of finished tasks in the home folder, by what they were made of.

One file a result, readable by its owner only, named by a keyed hash. It begins with a hash of the result, so
that what a crash or a disk has damaged counts as none. The oldest go when it gets too large.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from compute_nb.home import Home
from compute_nb.stock import MAX_BYTES, Stock

log = logging.getLogger(__name__)


class Cache:
    """The results of one home. All methods are for any thread; `put` does not block.

    Args:
        folder: Made if need be; the one above it is there.
        max_bytes: How large it may get.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._stock: Stock[tuple[str, str]] = Stock(folder, "??/*", max_bytes, self._keep, "cache")

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
        self._stock.put((key, result))

    def flush(self) -> None:
        """Blocks until all that was put so far is written."""
        self._stock.flush()

    def close(self, timeout_s: float) -> None:
        """Writes what is waiting and ends the thread, within `timeout_s` seconds."""
        self._stock.close(timeout_s)

    # -- the cache's thread -------------------------------------------------------------------

    def _keep(self, items: Sequence[tuple[str, str]]) -> None:
        for key, result in items:
            try:
                self._write(key, result)
            except OSError as error:  # a full disk, say: the task itself is not hurt
                log.info("a result was not kept for --cache: %s", error)

    def _write(self, key: str, result: str) -> None:
        data = result.encode("utf-8", "surrogatepass")
        if not self._stock.fits(len(data)):
            return
        path = self._path(key)
        self._stock.folder.mkdir(mode=0o700, exist_ok=True)
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
        self._stock.grown(len(data))

    def _path(self, key: str) -> Path:
        return self._stock.folder / key[:2] / key[2:]


def _head(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


_caches: dict[Path, Cache] = {}


def cache_of(home: Home) -> Cache:
    """Returns the cache of a home, one for each process."""
    folder = home.root / "cache"
    return _caches.setdefault(folder, Cache(folder))
