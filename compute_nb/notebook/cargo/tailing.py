"""This module is the tailing of a command on a worker: what it writes to its files is printed as it comes.

Its text travels with shell cells: the standard library of Python 3.8 only.
"""

from __future__ import annotations

import codecs
import os
import sys
import threading
import uuid
from typing import Any

PAUSE_S = 0.2
MOST_BYTES = 1_000_000  # of what has gathered between two looks; more is not readable anyway


class Tailing:
    """Follows the two files of a command, on a thread of its own, until the block ends.

    Attributes:
        paths: Of standard output and error, for `compute_nb.command.run`.
    """

    def __init__(self) -> None:
        folder = os.path.abspath(os.environ.get("GC_TASK_SANDBOX_DIR") or os.curdir)
        own = os.path.join(folder, os.environ.get("COMPUTE_NB_TASK_DIR") or "")
        stem = (os.environ.get("GC_TASK_UUID") or "command") + "." + uuid.uuid4().hex[:8]
        self.paths = [os.path.join(own, stem + end) for end in (".stdout", ".stderr")]
        self._tails = [
            _Tail(path, stream)
            for path, stream in zip(self.paths, (sys.stdout, sys.stderr))  # noqa: B905
        ]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Tailing:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join()
        self._look(last=True)

    def _follow(self) -> None:
        while not self._over.wait(PAUSE_S):
            self._look()

    def _look(self, last: bool = False) -> None:
        for tail in self._tails:
            tail.read(last)


class _Tail:
    """One file, and how far it was printed."""

    def __init__(self, path: str, stream: Any) -> None:
        self._path, self._stream = path, stream
        self._at = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self, last: bool) -> None:
        """Prints what is new; the middle of very much is left out."""
        try:
            with open(self._path, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(self._at)
                data = file.read(min(MOST_BYTES, size - self._at))
                left_out = size - self._at - 2 * MOST_BYTES
                if left_out > 0:
                    data += b"\n[... %d bytes left out ...]\n" % left_out
                    file.seek(size - MOST_BYTES)
                data += file.read()
                self._at = file.tell()
        except OSError:  # not made yet, or gone
            data = b""
        self._stream.write(self._decoder.decode(data, last))
