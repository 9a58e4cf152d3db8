"""This module is the settings of a process and its libraries, as a cell should find them and leave them.

What libraries keep in context variables needs no putting back: a cell runs in a context of its own.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

_PLOTTING: dict[str, Any] = {}  # matplotlib's parameters as they were before any cell
_FRESH_NUMPY: tuple[dict[str, Any], dict[str, Any]] = (
    {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"},
    {
        "edgeitems": 3,
        "threshold": 1000,
        "floatmode": "maxprec",
        "precision": 8,
        "suppress": False,
        "linewidth": 75,
        "nanstr": "nan",
        "infstr": "inf",
        "sign": "-",
        "formatter": None,
        "legacy": False,
    },
)


class Settings:
    """The settings at one moment, to be put back."""

    def __init__(self) -> None:
        self._recursion_limit = sys.getrecursionlimit()
        self._umask = os.umask(0o077)  # the only way to ask for it; for this moment, no file is too open
        os.umask(self._umask)
        self._filters, self._modules = list(warnings.filters), len(sys.modules)
        self._numpy = _of_numpy() or _FRESH_NUMPY
        if not _PLOTTING and "matplotlib" in sys.modules:
            _PLOTTING.update(_of_matplotlib("rcParams"))

    def put_back(self) -> None:
        """Undoes what has been changed since."""
        os.umask(self._umask)
        if sys.getrecursionlimit() != self._recursion_limit:
            sys.setrecursionlimit(self._recursion_limit)
        if warnings.filters != self._filters:
            self._put_back_filters()
        now = _of_numpy()
        if now is not None and now != self._numpy:
            numpy: Any = sys.modules["numpy"]
            numpy.seterr(**self._numpy[0])
            numpy.set_printoptions(**self._numpy[1])
        _put_back_plotting()

    def _put_back_filters(self) -> None:
        filters = list(self._filters)
        if len(sys.modules) > self._modules:  # those of a library that was imported say what they mean
            filters[:0] = [one for one in warnings.filters if one not in filters and (one[1] or one[3])]
        warnings.filters[:] = filters  # type: ignore[index]
        getattr(warnings, "_filters_mutated", lambda: None)()


def own_decimals() -> None:
    """Gives this context a decimal context of its own, where one is loaded: it holds what can be changed."""
    decimal: Any = sys.modules.get("decimal")
    if hasattr(decimal, "setcontext"):
        decimal.setcontext(decimal.getcontext().copy())


def _of_numpy() -> tuple[dict[str, Any], dict[str, Any]] | None:
    numpy: Any = sys.modules.get("numpy")
    if not hasattr(numpy, "get_printoptions"):  # not imported, or not wholly
        return None
    printing = numpy.get_printoptions()
    return numpy.geterr(), {name: printing[name] for name in _FRESH_NUMPY[1] if name in printing}


def _of_matplotlib(name: str) -> dict[str, Any]:
    # As plain dicts: its own validates each of 300 entries, in milliseconds.
    found = getattr(sys.modules["matplotlib"], name, None)
    return dict.copy(found) if isinstance(found, dict) else {}


def _put_back_plotting() -> None:
    parameters = getattr(sys.modules.get("matplotlib"), "rcParams", None)
    if not isinstance(parameters, dict):
        return
    if not _PLOTTING:  # this cell was the first to import it
        _PLOTTING.update(_of_matplotlib("rcParamsOrig"))
    for name in ("backend", "backend_fallback"):
        if name in parameters:
            _PLOTTING[name] = dict.__getitem__(parameters, name)
    if not dict.__eq__(parameters, _PLOTTING):
        dict.update(parameters, _PLOTTING)
