"""This module is the source of code: from a code object to the text that gives it, and back."""

from __future__ import annotations
import __future__

import ast
import linecache
import marshal
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

POSTPONED = __future__.annotations.compiler_flag  # the one `from __future__ import` that changes code


class CodeText(NamedTuple):
    """Where the source of a code object is: whole lines that hold it, its name, first line and rank there."""

    label: str
    first_line: int
    text: str
    name: str
    line: int
    rank: int
    postponed: bool


class CodeBytes(NamedTuple):
    """A code object in the form that one Python version alone can read."""

    data: bytes
    version: tuple[int, int]
    name: str


def beside_others(parse: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Returns a tree, whoever else parses: Python 3.11 counts all threads' depths as one, SystemError."""
    for _ in range(20):
        try:
            return parse(*args, **options)
        except SystemError as error:
            problem = error
    raise problem


def first_line_of(statement: ast.AST) -> int:
    """Returns the line on which a statement begins, decorators included."""
    lines = [decorator.lineno for decorator in getattr(statement, "decorator_list", [])]
    return int(min([getattr(statement, "lineno", 1), *lines]))


def walk_code(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yields a code object and all that it holds."""
    yield code
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from walk_code(const)


def codes_in(
    text: str, first_line: int, filename: str, postponed: bool, same: tuple[str, int]
) -> list[types.CodeType]:
    """Returns the code objects of one name and first line in a text, in order."""
    padded = "\n" * (first_line - 1) + text
    flags = POSTPONED if postponed else 0
    try:
        module = compile(padded, filename, "exec", flags=flags, dont_inherit=True)
    except (SyntaxError, ValueError):
        return []
    return [code for code in walk_code(module) if (code.co_name, code.co_firstlineno) == same]


def alike(one: types.CodeType, other: types.CodeType) -> bool:
    """Returns whether two code objects do the same, wherever they were compiled."""
    names = [
        "co_name",
        "co_code",
        "co_names",
        "co_varnames",
        "co_freevars",
        "co_cellvars",
        "co_argcount",
        "co_kwonlyargcount",
        "co_posonlyargcount",
        "co_flags",
    ]
    if any(getattr(one, name) != getattr(other, name) for name in names):
        return False
    if len(one.co_consts) != len(other.co_consts):
        return False
    return all(_same_const(a, b) for a, b in zip(one.co_consts, other.co_consts))  # noqa: B905 - Python 3.8


def _same_const(a: Any, b: Any) -> bool:
    if isinstance(a, types.CodeType) and isinstance(b, types.CodeType):
        return alike(a, b)
    return type(a) is type(b) and repr(a) == repr(b)


def global_names(code: types.CodeType) -> set[str]:
    """Returns the names that code reads from its globals when it is called."""
    import dis

    found: set[str] = set()
    for part in walk_code(code):
        for step in dis.get_instructions(part):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
                found.add(step.argval)
    return found


def from_bytes(code: CodeBytes) -> types.CodeType:
    """Returns a code object from Python's own form.

    Raises:
        TypeError: It is another Python's.
    """
    here = tuple(sys.version_info[:2])
    if here != code.version:
        raise TypeError(
            f"`{code.name}` was made by a program, so no source tells its code, and it can't go from Python "
            f"{code.version[0]}.{code.version[1]} to {here[0]}.{here[1]}: define it inside the cell"
        )
    loaded: types.CodeType = marshal.loads(code.data)
    return loaded


def remember(label: str, first_line: int, text: str) -> None:
    """Lets tracebacks show `text` as the lines of `label` from `first_line` on."""
    entry = linecache.cache.get(label)
    lines = list(entry[2]) if entry is not None and len(entry) > 2 else []
    new = text.splitlines(keepends=True)
    lines.extend(["\n"] * (first_line - 1 + len(new) - len(lines)))
    lines[first_line - 1 : first_line - 1 + len(new)] = new
    linecache.cache[label] = (sum(map(len, lines)), None, lines, label)
    _remembered.add(label)


_remembered: set[str] = set()


def forget_all() -> None:
    """Forgets all texts: cells of another notebook, or of this one's last life, have the same labels."""
    for label in _remembered:
        linecache.cache.pop(label, None)
    _remembered.clear()
