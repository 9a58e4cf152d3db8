"""This module is the surroundings of a cell: what it may change of the process, put back afterwards."""

from __future__ import annotations

import builtins
import os
import random
import sys
from typing import Any

from .figures import prepare_figures, put_back_figures
from .ipython import OURS, Stand
from .loggers import Loggers
from .settings import Settings

_BUILTINS = dict(builtins.__dict__)


class Surroundings:
    """What a cell may change of the process, put back afterwards."""

    def __init__(self) -> None:
        self.folder = _folder()
        self._environ = os.environ
        self._variables = dict(os.environ._data)  # type: ignore[attr-defined] # itself, it decodes all
        self._argv, self._path = list(sys.argv), list(sys.path)
        self._streams = sys.stdin, sys.stdout, sys.stderr
        self._main = sys.modules.get("__main__")
        self._loggers = Loggers()
        self._settings = Settings()
        self._stand = Stand()

    def __enter__(self) -> Surroundings:
        random.seed()
        numpy_random = sys.modules.get("numpy.random")
        if numpy_random is not None:
            numpy_random.seed()
        builtins.__dict__.update(OURS)
        self._stand.begin()
        prepare_figures()
        return self

    def __exit__(self, *_: Any) -> None:
        sys.stdin, sys.stdout, sys.stderr = self._streams
        if self._main is not None:
            sys.modules["__main__"] = self._main
        self._stand.end()
        _put_back_builtins()
        self._loggers.put_back()
        self._settings.put_back()
        sys.argv[:], sys.path[:] = self._argv, self._path
        self._put_back_environ()
        if self.folder is not None and _folder() != self.folder:
            os.chdir(self.folder)
        put_back_figures()

    def _put_back_environ(self) -> None:
        os.environ = self._environ  # noqa: B003 - the very object, whatever the name means now
        if os.environ._data == self._variables:  # type: ignore[attr-defined]
            return
        before = {os.fsdecode(name): os.fsdecode(value) for name, value in self._variables.items()}
        for name, value in dict(os.environ).items():
            if name not in before:
                del os.environ[name]
            elif before[name] != value:
                os.environ[name] = before[name]
        for name in before.keys() - os.environ.keys():
            os.environ[name] = before[name]


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _put_back_builtins() -> None:
    names = builtins.__dict__
    for name in OURS.keys() - _BUILTINS.keys():
        names.pop(name, None)
    if names != _BUILTINS:  # other threads may be reading them: never empty
        names.update(_BUILTINS)
        for name in [name for name in names if name not in _BUILTINS]:
            del names[name]
