"""This module is the modules of a task's own folders, imported again when their files have changed."""

from __future__ import annotations

import importlib
import os
import stat
import sys
from typing import Any

TICK_S = 0.05  # a file's time is that of the kernel's last tick, so an edit may seem older than it is
RUNNER = os.path.dirname(__file__)
STANDARD = os.path.join(os.path.dirname(os.__file__), "")  # a home folder may hold a whole Python


class LocalModules:
    """The modules that were imported from below some folders, with the files as they were read."""

    def __init__(self, *folders: str) -> None:
        self.folders = tuple(os.path.join(folder, "") for folder in folders)
        self.seen = 0
        self.files: dict[str, tuple[str, tuple[int, int]]] = {}

    def refresh(self) -> None:
        """Forgets all of them if the file of one has changed, since they import each other."""
        if any(self.stamp(file) != stamp for file, stamp in self.files.values()):
            self.forget()

    def forget(self) -> None:
        """Lets all of them be imported anew."""
        for name in self.files:
            sys.modules.pop(name, None)
        self.files.clear()
        self.seen = 0
        importlib.invalidate_caches()

    def find(self, since: float) -> None:
        """Notes the local ones among modules imported since a moment; a file edited since is not trusted."""
        if len(sys.modules) == self.seen:
            return
        for name, module in list(sys.modules.items()):
            file = place_of(module)
            if name not in self.files and isinstance(file, str) and self.is_local(file):
                stamp = self.stamp(file)
                self.files[name] = (file, stamp if stamp[0] < (since - TICK_S) * 1e9 else (0, 0))
        self.seen = len(sys.modules)

    def is_local(self, file: str) -> bool:
        """True for a file below the folders that no package installer has put there and that is not ours."""
        installed = "site-packages" in file or "dist-packages" in file
        return file.startswith(self.folders) and not installed and not file.startswith((RUNNER, STANDARD))

    def stamp(self, file: str) -> tuple[int, int]:
        """Returns what tells one version of a file from the next; a folder has only one."""
        try:
            status = os.stat(file)
        except OSError:
            return (0, 0)
        return (0, 0) if stat.S_ISDIR(status.st_mode) else (status.st_mtime_ns, status.st_size)


def place_of(module: Any) -> Any:
    """Returns the file of a module, or the first folder of a namespace package.

    It looks past the module's own `__getattr__`: a lazy one would be loaded by the question, or raise.
    """
    try:
        names = object.__getattribute__(module, "__dict__")
        return names.get("__file__") or next(iter(names["__path__"]))
    except (AttributeError, KeyError, TypeError, StopIteration):  # `sys.modules` may hold anything
        return None
