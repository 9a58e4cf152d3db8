"""This module is the parser of Python text, for threads that parse side by side."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS = 20


def parse(text: str) -> ast.Module:
    """Returns the tree of a text.

    Raises:
        SyntaxError: It is no Python.
        ValueError: It holds a null character.
        RecursionError: It is nested too deeply.
    """
    return beside_others(ast.parse, text)


def beside_others(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Returns what a call returns that makes a tree, whatever other threads parse meanwhile.

    CPython 3.11 counts the depth of all threads' trees as one, and raises SystemError where another thread's
    turn fell into one's own: once more is right then.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return call(*args, **kwargs)
        except SystemError:
            continue
    return call(*args, **kwargs)
