"""This module is the source of a function: compiled to a new function for each task, or asked of one."""

from __future__ import annotations

import importlib
import linecache
from typing import TYPE_CHECKING, Any

from .pickles import dill

if TYPE_CHECKING:
    from collections.abc import Callable


class SourceCode:
    """A function that came as source: compiled once, run anew for each task."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.file = name, f"<{name}>"
        self.lines = source.splitlines(True)
        self.size = len(source)
        self.code = compile(source, self.file, "exec")

    def make(self) -> Callable[..., Any]:
        """Returns the function, in a namespace that no other task has seen."""
        linecache.cache[self.file] = (self.size, None, self.lines, self.file)
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec(self.code, namespace)
        return namespace[self.name]  # type: ignore[no-any-return]


def inspected(obj: Any) -> str:
    """Returns the source of a function by `inspect`, made flush left."""
    import inspect
    import textwrap

    return textwrap.dedent(inspect.getsource(obj))


def dill_source(obj: Any) -> str:
    """Returns the source of a function by dill."""
    dill()
    source = importlib.import_module("dill.source")
    return source.getsource(obj, lstrip=True)  # type: ignore[no-any-return]
