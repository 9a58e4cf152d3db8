"""A disk that gets full and has room again: a tmpfs where this process may mount, else a limit for files."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

MOUNTS = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
SIZE = "64m"
BLOCK = bytes(4096)


class SmallDisk:
    """The folder of a disk of its own, if it can have one.

    Args:
        folder: Made; what is in it is gone after `close`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._filler = folder / "filler"
        self._limited: list[int] = []
        if MOUNTS:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], check=True)

    def fill(self, *pids: int) -> None:
        """Leaves no room, for these processes at least."""
        if not MOUNTS:
            self._limited += pids
            for pid in pids:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
            return
        with self._filler.open("wb", buffering=0) as filler:
            try:
                os.posix_fallocate(filler.fileno(), 0, _free(self.folder) - len(BLOCK))
                while filler.seek(0, os.SEEK_END) and filler.write(BLOCK):
                    pass
            except OSError:
                pass

    def free(self) -> None:
        """Makes room again."""
        self._filler.unlink(missing_ok=True)
        pids, self._limited = self._limited, []
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def close(self) -> None:
        """Unmounts it."""
        if MOUNTS:
            subprocess.run(["umount", "--lazy", self.folder], check=True)


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
