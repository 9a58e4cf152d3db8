"""This module is what a function reads and sets of the globals around it, found in its code."""

from __future__ import annotations

import builtins
import dis
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_SETS = frozenset({"STORE_GLOBAL"})


def names_read(function: Any) -> dict[str, Any]:
    """Returns the globals that a function's code reads, by name; {} for what is no Python function."""
    if not isinstance(function, FunctionType):
        return {}
    around = function.__globals__
    names = dict.fromkeys(_names(function.__code__, _READS))
    return {name: around[name] for name in names if name in around and not _is_of_shell(name, around[name])}


def names_reached(function: Any) -> dict[str, Any]:
    """Returns the globals that a function reads, also through functions and classes beside it, by name."""
    found: dict[str, Any] = {}
    waiting = [function]
    while waiting:
        one = waiting.pop()
        if isinstance(one, type) and one.__module__ == function.__module__:
            waiting.extend(part for part in vars(one).values() if isinstance(part, FunctionType))
        elif isinstance(one, FunctionType) and one.__globals__ is function.__globals__:
            new = {name: value for name, value in names_read(one).items() if name not in found}
            found |= new
            waiting.extend(new.values())
    return found


def names_set(function: FunctionType) -> frozenset[str]:
    """Returns the globals that a function's code assigns to."""
    return frozenset(_names(function.__code__, _SETS))


def _names(code: CodeType, operations: frozenset[str]) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in operations:
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant, operations)


def _is_of_shell(name: str, value: Any) -> bool:
    # IPython puts its own `open` beside a notebook's names; a worker has the builtin one, perhaps no IPython.
    module = getattr(value, "__module__", None)
    return isinstance(module, str) and module.startswith("IPython.") and hasattr(builtins, name)
