"""This module is the home of objects: the namespace that they live in on one side."""

from __future__ import annotations

import ast
import linecache
import types
from collections.abc import Callable
from typing import Any

from .source import POSTPONED, CodeText, alike, beside_others, codes_in, first_line_of

MAIN = "__main__"


class NotHere(Exception):
    """A pickle names a function or class that this side does not have.

    Args:
        name: Qualified name of the function or class.
        label: The cell that defined it, or "".
    """

    def __init__(self, name: str, label: str) -> None:
        super().__init__(name, label)
        self.name = name
        self.label = label


class Home:
    """The namespace that objects live in on one side, and how its code is found.

    Args:
        namespace: The globals of the notebook, or of the task.
        label: File name of code -> what people call it ("Cell In[3]").
    """

    def __init__(self, namespace: dict[str, Any], label: Callable[[str], str] = lambda name: name) -> None:
        self.namespace = namespace
        self.label = label
        self.arrived: dict[int, tuple[Any, str, str]] = {}
        self._spans: dict[str, tuple[str, list[tuple[int, int]], dict[int, str]]] = {}

    def arrive(self, thing: Any, name: str, label: str) -> None:
        """Notes that a function or class came from the other side, where `name` means it."""
        self.arrived[id(thing)] = (thing, name, label)

    def find(self, name: str, label: str = "") -> Any:
        """Returns what a dotted name means here.

        Raises:
            NotHere: It means nothing here.
        """
        first, *rest = name.split(".")
        try:
            found = self.namespace[first]
            for part in rest:
                found = getattr(found, part)
        except (KeyError, AttributeError):
            raise NotHere(name, label) from None
        return found

    def name_of_class(self, cls: type) -> str:
        """Returns the name that leads to a class here, or to its successor; "" if none does."""
        if cls.__module__ != MAIN:
            return ""
        qualname = cls.__qualname__
        try:
            found = self.find(qualname)
        except NotHere:
            found = None
        if found is cls:
            return qualname
        for name, thing in self.namespace.items():
            if thing is cls and name[:1] != "_":
                return name
        return qualname if isinstance(found, type) and found.__module__ == MAIN else ""

    def text_of(self, code: types.CodeType) -> CodeText | None:
        """Returns where the source of `code` is, or None if no text gives that code again."""
        postponed = bool(code.co_flags & POSTPONED)
        found = self._statement(code.co_filename, code.co_firstlineno)
        if found is None:
            return None
        text, first_line = found
        same_name = (code.co_name, code.co_firstlineno)
        candidates = codes_in(text, first_line, code.co_filename, postponed, same_name)
        for rank, candidate in enumerate(candidates):
            if alike(candidate, code):
                label = self.label(code.co_filename)
                return CodeText(label, first_line, text, *same_name, rank, postponed)
        return None

    def _statement(self, filename: str, line: int) -> tuple[str, int] | None:
        lines = linecache.getlines(filename)
        text = "".join(lines)
        known = self._spans.get(filename)
        if known is None or known[0] != text:  # parsing a long cell for each of its functions takes seconds
            known = self._spans[filename] = (text, _spans(text), {})
        for first, last in known[1]:
            if first <= line <= last:
                # One object for all code of a statement: a pickle holds it once then.
                return known[2].setdefault(first, "".join(lines[first - 1 : last])), first
        return None


def _spans(text: str) -> list[tuple[int, int]]:
    """Returns first and last line of each statement."""
    try:
        statements = beside_others(ast.parse, text).body
    except (SyntaxError, ValueError):
        return []
    return [(first_line_of(found), found.end_lineno or found.lineno) for found in statements]
