"""This module is a dill pickler that takes along, of a module's globals, what its functions read.

dill by itself leaves the globals of a `__main__` function behind, or with `recurse=True` follows functions
that call each other for ever and prints a disassembly to find names. Here each function brings the names
that its code reads, and functions of one module share one namespace on the other side too. The pickle is
an ordinary one: any dill reads it.

dill tells its own picklers by the word in the name of their module; hence the name of this one.
"""

from __future__ import annotations

import logging
import pickle
from io import BytesIO
from types import FunctionType
from typing import Any

from dill import _dill

from compute_nb.serialize.reads import names_read

log = logging.getLogger(__name__)


def dumps(data: Any) -> bytes:
    """Returns the pickle of `data`; raises whatever its parts raise when they are pickled."""
    file = BytesIO()
    _Pickler(file, pickle.DEFAULT_PROTOCOL, recurse=False).dump(data)
    return file.getvalue()


class _Pickler(_dill.Pickler):  # type: ignore[misc]
    """One pickling; `_namespaces` maps id of a module's globals -> its share that travels."""

    dispatch = type(_dill.Pickler.dispatch)(_dill.Pickler.dispatch)

    def __init__(self, file: BytesIO, *args: Any, **options: Any) -> None:
        super().__init__(file, *args, **options)
        self._namespaces: dict[int, dict[str, Any]] = {}

    def _save_function(self, function: FunctionType) -> None:
        if _dill._locate_function(function, self):
            _dill.save_function(self, function)
            return
        namespace = self._namespaces.setdefault(id(function.__globals__), {"__name__": function.__module__})
        wanted = names_read(function)
        log.debug("%s travels by value, with %s", function.__qualname__, ", ".join(wanted) or "no globals")
        # A value that is being built further up can only be set once it is there.
        building = next((b for b in self._postproc if b in {id(v) for v in wanted.values()}), None)
        later: list[Any] = []
        setting = (_dill._setitems, (namespace, wanted))
        (later if building is None else self._postproc[building]).append(setting)
        _dill._save_with_postproc(
            self,
            (_dill._create_function, self._parts(function, namespace), self._state(function)),
            obj=function,
            postproc_list=later,
        )
        self._fill_cells(function)

    def _parts(self, function: FunctionType, namespace: dict[str, Any]) -> tuple[Any, ...]:
        defaults, closure = function.__defaults__, function.__closure__
        return function.__code__, namespace, function.__name__, defaults, closure

    def _state(self, function: FunctionType) -> tuple[dict[str, Any], dict[str, Any]]:
        names = ("__doc__", "__kwdefaults__", "__annotations__", "__qualname__", "__module__")
        return function.__dict__, {name: getattr(function, name) for name in names}

    def _fill_cells(self, function: FunctionType) -> None:
        """Sets a cell that holds the function itself now, not when the outermost object is done."""
        waiting = next(iter(self._postproc.values()), None)
        for cell in function.__closure__ or ():
            setting = (_dill._shims._setattr, (cell, "cell_contents", function))
            if waiting and setting in waiting:
                waiting.remove(setting)
                self.save_reduce(*setting)
                self.write(_dill.POP)

    dispatch[FunctionType] = _save_function
