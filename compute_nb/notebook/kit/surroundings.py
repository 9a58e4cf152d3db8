"""This module is the surroundings of a cell: what it may change of the process, put back afterwards."""

from __future__ import annotations

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
