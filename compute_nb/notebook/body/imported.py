"""This module is the imports of code: which modules it asks for, and whether it surely does."""

from __future__ import annotations

import ast
import dis
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import CodeType

from compute_nb.notebook.kit.source import walk_code

_HARMLESS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Pass)


@dataclass(frozen=True, slots=True)
class Import:
    """A module that code asks for.

    Attributes:
        module: Its dotted name; relative ones are not asked about.
        line: Where, 1 is the first line.
        certain: Whether nothing that runs before it could make it there, or leave it out.
    """

    module: str
    line: int
    certain: bool


def imports_of(tree: ast.Module) -> tuple[Import, ...]:
    """Returns all absolute imports of a body; those of its head, before anything else runs, are certain."""
    sure: set[ast.AST] = set()
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            sure.add(statement)
        elif not _is_harmless(statement):
            break
    found = [one for node in ast.walk(tree) for one in _asked(node, node in sure)]
    return tuple(sorted(found, key=lambda one: (one.line, one.module)))


def _is_harmless(statement: ast.stmt) -> bool:
    """Returns whether a statement can't change what imports find: a constant, a definition."""
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr):
        calls = (ast.Call, ast.Attribute, ast.Subscript, ast.Await)
        return not any(isinstance(node, calls) for node in ast.walk(statement))
    return isinstance(statement, _HARMLESS) and not getattr(statement, "decorator_list", None)


def _asked(node: ast.AST, certain: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, certain)
    elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
        yield Import(node.module, node.lineno, certain)


def imported_by(codes: Iterable[CodeType]) -> set[str]:
    """Returns the modules that code imports when it is called."""
    return {
        str(step.argval)
        for code in codes
        for part in walk_code(code)
        for step in dis.get_instructions(part)
        if step.opname == "IMPORT_NAME" and step.argval
    }
