"""This module is the text from outside Python: what programs that a cell starts, and C code, print.

Both write to descriptors 1 and 2, which are the log of the worker, its alone. What the log has gained is read
from there, so that nothing is redirected and the last words of a dying worker are still in it. Elsewhere than
under an agent of ours the log may be shared, and is left alone.
"""

from __future__ import annotations

import codecs
import os
import re

_NAME = re.compile(r"worker-\d+\.log")
_AT_ONCE = 1_000_000


class Log:
    """The log of this worker, read on from where the cell began."""

    def __init__(self) -> None:
        self._file = _own_log()
        self._at = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def begin(self) -> None:
        """Skips what is in it."""
        if self._file is not None:
            self._find()
            self._at = os.lseek(self._file, 0, os.SEEK_END)
            self._decoder.reset()

    def _find(self) -> None:
        """Reads on in another file if the worker has begun one, since an earlier task goes on printing."""
        try:
            if not os.path.samestat(os.fstat(self._file or 0), os.fstat(2)):
                found = _own_log()
                if found is not None:
                    os.close(self._file or 0)
                    self._file = found
        except OSError:
            pass

    @property
    def at(self) -> int | None:
        """Up to where it was read, None if it is not."""
        return None if self._file is None else self._at

    def news(self) -> str:
        """Returns what it has gained, at most a million bytes at once."""
        if self._file is None:
            return ""
        end = os.lseek(self._file, 0, os.SEEK_END)
        if end < self._at:  # it had grown too large and was begun anew
            self._at = 0
        if end <= self._at:
            return ""
        found = os.pread(self._file, _AT_ONCE, self._at)
        self._at += len(found)
        return self._decoder.decode(found)


def _own_log() -> int | None:
    try:
        paths = {os.readlink(f"/proc/self/fd/{number}") for number in (1, 2)}
        if len(paths) == 1 and _NAME.fullmatch(os.path.basename(paths.pop())):
            return os.open("/proc/self/fd/2", os.O_RDONLY)
    except OSError:
        pass
    return None


LOG = Log()
