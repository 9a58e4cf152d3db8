"""This module is the source of a function: compiled to a new function for each task, or asked of one."""

from __future__ import annotations

import binascii
import importlib
import linecache
from typing import TYPE_CHECKING, Any

from .pickles import dill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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


def named_source(text: str) -> list[str]:
    """Splits plain source into name and source; some published versions write it in base64."""
    if ":" not in text:
        text = binascii.a2b_base64(text).decode()
    return text.split(":", 1)


def combined_parts(text: str) -> Iterator[str]:
    """Yields the buffers in a CombinedCode, whose source parts hold colons of their own."""
    while text:
        header, rest = text[:3], text[4:]
        end = rest.find(":st\n:" if header[:1] == "s" else ":")
        while end >= 0 and header[:1] == "s" and not parses(rest[:end].partition(":")[2]):
            end = rest.find(":st\n:", end + 1)
        end = len(rest) if end < 0 else end
        yield header + rest[:end]
        text = rest[end + 1 :]


def parses(source: str) -> bool:
    """True if a text is Python by itself."""
    try:
        compile(source, "<part>", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def inspected(obj: Any) -> str:
    """Returns the source of a function by `inspect`, made flush left."""
    import inspect
    import textwrap

    return textwrap.dedent(beside_others(inspect.getsource, obj))


def dill_source(obj: Any) -> str:
    """Returns the source of a function by dill."""
    dill()
    source = importlib.import_module("dill.source")
    return str(beside_others(source.getsource, obj, lstrip=True))


def beside_others(parse: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Returns what needs a tree, whoever else parses: Python 3.11 counts all threads' depths as one."""
    for _ in range(20):
        try:
            return parse(*args, **options)
        except SystemError as error:
            problem = error
    raise problem
