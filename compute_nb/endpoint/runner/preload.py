"""This module is the preload of a worker: modules that it imports before it is up, so that no task waits."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def imported(names: Iterable[str], begins: Callable[[str], object] | None = None) -> list[Any]:
    """Imports modules; returns a text for each that can't be had, which is in the log, too.

    Args:
        names: Of the modules.
        begins: Called with each before it is imported, which may take for ever; None for nobody.
    """
    failed, pid = [], os.getpid()
    for name in names:
        if begins is not None:
            begins(name)
        try:
            importlib.import_module(name)
        except BaseException as error:  # whatever is wrong with it, the worker works without
            failed.append(f"{name}: {type(error).__name__}: {error}")
            print(f"not preloaded: {failed[-1]}", file=sys.stderr, flush=True)
        if os.getpid() != pid:  # a child of the module's, which came back here: there must be one worker
            os._exit(0)
    return failed
