"""This module is the leftovers of a task: processes that outlive it, whose text must not be the next task's.

Orphans become children of the worker (Linux), so the kernel says in one call whether there is any. The log
that one of them writes to is put aside, and the worker begins another.
"""

from __future__ import annotations

import os
import sys

LATE = ".late"  # at the end of the name of a log that was put aside for another
SUBREAPER = 36
BURY_S = 0.5  # between two looks, while no task runs


class Leftovers:
    """What tasks of this process have left running.

    Args:
        log: The path of the file that descriptors 1 and 2 are, None if that is not this worker's alone.
    """

    def __init__(self, log: str | None) -> None:
        self.log = log
        self.looks = hasattr(os, "waitid")
        self.some = False
        if sys.platform == "linux":
            try:
                import ctypes

                ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
            except (ImportError, OSError, AttributeError):
                pass

    def write(self) -> bool:
        """True if one of them can write to the log."""
        return (
            self.bury()
            and self.log is not None
            and any(has_open(pid, self.log) for pid in descendants(os.getpid()))
        )

    def bury(self) -> bool:
        """Takes leave of those that have ended, for which no task waits; True if there are others."""
        self.some = self.looks
        try:
            while self.some and os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is not None:
                pass
        except OSError:
            self.some = False
        return self.some

    def put_aside(self) -> int:
        """Begins another log; returns a descriptor of it.

        Raises:
            OSError: The disk or the descriptors are used up.
        """
        assert self.log is not None
        os.replace(self.log, self.log + LATE)
        return os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def descendants(pid: int) -> list[int]:
    """Returns the processes below one, of which some may have ended."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                found += [int(word) for word in file.read().split()]
    except OSError:
        return found
    return found + [below for child in tuple(found) for below in descendants(child)]


def has_open(pid: int, path: str) -> bool:
    """True if a process has a file open, or if that can't be seen."""
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except FileNotFoundError:
        return False
    except OSError:
        return True
    for name in names:
        try:
            if os.readlink(f"/proc/{pid}/fd/{name}") == path:
                return True
        except OSError:
            continue
    return False


def is_written(path: str) -> bool:
    """True if a process has a file open for writing, as far as the system tells."""
    try:
        import fcntl

        with open(path, "rb") as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except (ImportError, AttributeError, OSError):
        pass
    return False
