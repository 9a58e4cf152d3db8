"""This module is the surroundings of a task: folder, paths, environment and seeds, put back before each."""

from __future__ import annotations

import _random
import itertools
import os
import sys
import time
from typing import Any

from .local_modules import LocalModules
from .variable import Variable

BARE_SEED = _random.Random.seed  # `random.seed` spends twice the time on finding the type
ID_LENGTH = 36
FRESH = itertools.count(int.from_bytes(os.urandom(16), "big")).__next__


class Surroundings:
    """Folder, paths, environment and global state of a worker as a task should find them."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.environ = dict(os.environ)
        self.raw = os.environ._data  # type: ignore[attr-defined]  # its own comparison decodes everything
        self.raw_folder = os.fsencode(os.path.join(folder, ""))
        self.raw_then = dict(self.raw)
        self.task_id = Variable(b"GC_TASK_UUID", ID_LENGTH)
        size = len(self.raw_folder) + ID_LENGTH
        self.folders = Variable(b"GC_TASK_SANDBOX_DIR", size), Variable(b"COMPUTE_NB_TASK_DIR", size)
        self.task_folder = self.folders[0]
        self.path, self.argv = list(sys.path), list(sys.argv)
        self.own = (os.environ, sys.path, sys.argv)
        self.streams = (sys.stdin, sys.stdout, sys.stderr)
        self.modules: LocalModules | None = None
        self.started = time.time()

    def enter(self, task_id: str, context: dict[str, Any]) -> None:
        """Puts everything back and goes to the folder of the task.

        Raises:
            FileNotFoundError: The folder of the task is not on this host.
        """
        self.put_back(context.get("sys_path") or [])
        os.chdir(context.get("cwd") or self.folder)
        raw_id = task_id.encode()
        self.export(self.task_id, raw_id)
        self.export(self.task_folder, self.raw_folder + raw_id)

    def export(self, variable: Variable, value: bytes) -> None:
        """Sets a variable of the environment, in a fraction of the time of `os.environ`."""
        variable.set(value)
        self.raw[variable.name] = self.raw_then[variable.name] = value

    def attach(self) -> None:
        """Has the variables of the task in libc's environment, whatever was done to it."""
        self.task_id.attach()
        self.task_folder.attach()

    def choose_folder(self, context: dict[str, Any]) -> None:
        """Gives tasks with a folder of their own no sandbox to enter, only a place for files nobody named."""
        own, other = self.folders[:: -1 if context.get("cwd") else 1]
        if self.task_folder is not own:
            os.unsetenv(other.name)
            self.raw.pop(other.name, None)
            self.raw_then.pop(other.name, None)
            self.task_folder = own

    def put_back(self, first: list[str]) -> None:
        """Undoes what the last task did to this process."""
        os.environ, sys.path, sys.argv = self.own
        if self.raw != self.raw_then:
            os.environ.clear()
            os.environ.update(self.environ)
            self.attach()
        wanted = first + [entry for entry in self.path if entry not in first] if first else self.path
        if sys.path != wanted:
            sys.path[:] = wanted
        if sys.argv != self.argv:
            sys.argv[:] = self.argv
        sys.stdin, sys.stdout, sys.stderr = self.streams
        forget_seeds()
        close_figures()

    def refresh(self, context: dict[str, Any]) -> None:
        """Lets local modules be imported again whose files have changed, or that were another folder's;
        called before each chunk.
        """
        self.choose_folder(context)
        self.attach()
        folders = self.local_folders(context)
        if self.modules is not None and self.modules.folders != folders:
            self.modules.forget()
            self.modules = None
        if not folders:
            return
        if self.modules is None:
            self.modules = LocalModules(*folders)
            self.modules.find(self.started)
        sys.dont_write_bytecode = True  # nothing of ours appears beside a notebook
        self.modules.refresh()

    def local_folders(self, context: dict[str, Any]) -> tuple[str, ...]:
        """Returns the folder of the task, and what the notebook has added to the path."""
        folder = context.get("cwd")
        if not folder:
            return ()
        added = [entry for entry in context.get("sys_path") or [] if entry and entry not in self.path]
        return tuple(os.path.join(entry, "") for entry in dict.fromkeys([folder, *added]))

    def leave(self, since: float) -> None:
        """Notes what was imported since `since`, at the end of a chunk."""
        if self.modules is not None:
            self.modules.find(since)


def forget_seeds() -> None:
    """Gives the global generators fresh entropy: neither the last task's seed nor another worker's."""
    generator = getattr(sys.modules.get("random"), "_inst", None)  # it may be the user's own random.py
    if isinstance(generator, _random.Random):
        BARE_SEED(generator, FRESH())
        generator.gauss_next = None  # type: ignore[attr-defined]
    seed = getattr(sys.modules.get("numpy.random"), "seed", None)  # a thread may be importing it
    if seed is not None:
        seed(int.from_bytes(os.urandom(4), "big"))


def close_figures() -> None:
    """Closes what the last task left open in pyplot."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None and pyplot.get_fignums():
        pyplot.close("all")
