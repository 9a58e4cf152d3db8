"""This module is the surroundings of a cell: what it may change of the process, put back afterwards."""

from __future__ import annotations

import builtins
import os
import random
import sys
from typing import Any

from .figures import prepare_figures, put_back_figures


class Surroundings:
    """What a cell may change of the process, put back afterwards."""

    def __init__(self) -> None:
        self.folder = _folder()
        self._environ = dict(os.environ)
        self._argv, self._path = list(sys.argv), list(sys.path)
        self._streams = sys.stdin, sys.stdout, sys.stderr
        self._main = sys.modules.get("__main__")
        self._builtins = dict(builtins.__dict__)
        self._logging = _logging_of_root()

    def __enter__(self) -> Surroundings:
        random.seed()
        numpy_random = sys.modules.get("numpy.random")
        if numpy_random is not None:
            numpy_random.seed()
        prepare_figures()
        return self

    def __exit__(self, *_: Any) -> None:
        sys.stdin, sys.stdout, sys.stderr = self._streams
        if self._main is not None:
            sys.modules["__main__"] = self._main
        if builtins.__dict__ != self._builtins:
            _put_back(builtins.__dict__, self._builtins)
        _put_back_logging(*self._logging)
        sys.argv[:], sys.path[:] = self._argv, self._path
        self._put_back_environ()
        if self.folder is not None and _folder() != self.folder:
            os.chdir(self.folder)
        put_back_figures()

    def _put_back_environ(self) -> None:
        now = dict(os.environ)
        for name in now:
            if name not in self._environ:
                del os.environ[name]
        for name, value in self._environ.items():
            if now.get(name) != value:
                os.environ[name] = value


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _put_back(names: dict[str, Any], before: dict[str, Any]) -> None:
    """Undoes changes of names that other threads may be reading."""
    names.update(before)
    for name in [name for name in names if name not in before]:
        del names[name]


def _logging_of_root() -> tuple[list[Any], int]:
    root = getattr(sys.modules.get("logging"), "root", None)
    return ([], 30) if root is None else (list(root.handlers), root.level)


def _put_back_logging(handlers: list[Any], level: int) -> None:
    """Undoes `basicConfig`; whoever imported `logging` first left it as it is when new."""
    root = getattr(sys.modules.get("logging"), "root", None)
    if root is None:
        return
    if root.handlers != handlers:
        root.handlers[:] = handlers
    if root.level != level:
        root.setLevel(level)
