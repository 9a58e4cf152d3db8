"""This module is the memory of a process that runs tasks: how much they may take, and what is said beyond it.

The limit is RLIMIT_DATA: the heap and all private memory that may be written, touched or not, of each
process by itself. RLIMIT_AS would count what is only reserved, too: malloc's arenas, files that are mapped,
the address space of a graphics card.
"""

from __future__ import annotations

import errno
import os
import re
import sys

RESERVE_BYTES = 64 * 1024 * 1024  # beyond the limit, to tell a failure when nothing is left
LEAST_BYTES = 64_000_000  # Python, dill and a few threads
MOST_BYTES = 1 << 60  # with the reserve, what the system counts with
FIRST_LINUX = 4, 7  # before it only the heap counted
UNITS = ("bytes", "KB", "MB", "GB", "TB")


def why_not(system: str = sys.platform, release: str = os.uname().release) -> str:
    """Returns why a system keeps no limit, empty if it does."""
    if system != "linux":
        return f"the system here, {system}, does not enforce one"
    found = re.match(r"(\d+)\.(\d+)", release)
    if found is None or tuple(map(int, found.groups())) < FIRST_LINUX:
        return f"the Linux here, {release}, counts the heap alone; 4.7 and newer count all"
    return ""


class Memory:
    """The limit of this process, if it has one; each process that it starts has the same for itself.

    Attributes:
        size: In bytes.
        is_met: True once a task was told that it went beyond.
    """

    size: int | None = None
    is_met = False
    most = 0

    def limit(self, size: int | None) -> None:
        """Sets the limit for as long as the process lives.

        Raises:
            OSError: This system keeps none.
        """
        if size is None:
            return
        reason = why_not()
        if reason:
            raise OSError(f"memory_limit ({told(size)}) can't be kept: {reason}")
        import resource

        most = resource.getrlimit(resource.RLIMIT_DATA)[1]
        hard = size + RESERVE_BYTES
        self.most = hard if most == resource.RLIM_INFINITY else min(hard, most)
        self.size = size
        self.set(self.most)

    def keep(self) -> None:
        """Has the limit in force, while a task runs."""
        if self.size is not None:
            self.set(min(self.size, self.most))

    def ease(self) -> None:
        """Opens the reserve, for what is to be told."""
        if self.size is not None:
            self.set(self.most)

    def set(self, soft: int) -> None:
        """Tells the system."""
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (soft, self.most))

    def note(self, error: BaseException) -> str:
        """Returns what the owner of a task should know of its error, on a line of its own; mostly nothing."""
        if self.size is None or not is_short(error):
            return ""
        self.ease()
        self.is_met = True
        return (
            f"\n(this endpoint lets a process take {told(self.size)} of memory, `memory_limit` in its "
            "endpoint.toml: hold less at a time, or ask its owner for more)"
        )


def is_short(error: BaseException) -> bool:
    """True for an error that says that memory was refused."""
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and "start new thread" in str(error))
    )


def told(size: int) -> str:
    """Returns a size as people say it."""
    place = min(len(str(size)) - 1, 3 * (len(UNITS) - 1)) // 3
    return f"{size / 1000**place:.4g} {UNITS[place]}"


MEMORY = Memory()  # a cell's kit asks it
