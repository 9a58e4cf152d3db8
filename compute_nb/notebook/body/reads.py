"""This module is the reads of a body: names that it needs from outside, found as it is walked."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass

_DYNAMIC_CALLS = {"exec", "eval", "globals", "locals", "vars"}


@dataclass(frozen=True, slots=True)
class Read:
    """A name that some path through the body reads before binding it.

    Attributes:
        line: Where it is first read; 1 is the line under `%%compute`.
        certain: Whether every run that gets there reads it, so that the cell can't do without.
        guarded: Whether the body itself deals with its absence.
    """

    name: str
    line: int
    certain: bool
    guarded: bool


class Reads(ast.NodeVisitor):
    """What has been read and bound up to a point in a body.

    `_bound` holds what is bound on every path to this point. `_maybe` counts the conditions it is
    under, `_guards` the handlers of NameError around it.
    """

    def __init__(self, postponed: bool) -> None:
        self.reads: dict[str, Read] = {}
        self.binds: set[str] = set()
        self.open_ended = False
        self._postponed = postponed
        self._bound: set[str] | None = set()
        self._maybe = 0
        self._guards = 0
        self._class_names: list[set[str]] = []
        self._class_globals: list[set[str]] = []

    def block(self, statements: Iterable[ast.stmt]) -> None:
        """Walks statements one after the other."""
        for statement in statements:
            self.visit(statement)

    def _read(self, name: str, line: int, *, certain: bool = True) -> None:
        if self._bound is None or name in self._bound or self._in_class(name):
            return
        lazy = not certain
        certain = certain and not (self._maybe or self._guards or name in self.binds)
        old = self.reads.get(name)
        self.reads[name] = Read(
            name,
            old.line if old else line,
            certain or (old is not None and old.certain),
            bool(self._guards) and (old is None or old.guarded),
        )
        if not lazy:  # what has been read is there from now on
            self._bound.add(name)

    def _in_class(self, name: str) -> bool:
        return bool(self._class_names) and name in self._class_names[-1]

    def _local_to_class(self, name: str) -> bool:
        return bool(self._class_names) and not (self._class_globals and name in self._class_globals[-1])

    def visit_Global(self, node: ast.Global) -> None:
        """Names that a class body binds outside itself."""
        if self._class_globals:
            self._class_globals[-1].update(node.names)

    def _bind(self, name: str) -> None:
        if self._local_to_class(name):
            self._class_names[-1].add(name)
            return
        self.binds.add(name)
        if self._bound is not None:
            self._bound.add(name)

    def _unbind(self, name: str) -> None:
        if self._local_to_class(name):
            self._class_names[-1].discard(name)
        elif self._bound is not None:
            self._bound.discard(name)

    def visit_Name(self, node: ast.Name) -> None:
        """Reads, binds or deletes a name."""
        if isinstance(node.ctx, ast.Load):
            self._read(node.id, node.lineno)
        elif isinstance(node.ctx, ast.Store):
            self._bind(node.id)
        else:
            self._read(node.id, node.lineno)
            self._unbind(node.id)

    def visit_Call(self, node: ast.Call) -> None:
        """Notes calls by which names may appear that the text doesn't show."""
        if isinstance(node.func, ast.Name) and node.func.id in _DYNAMIC_CALLS:
            self.open_ended = True
        self.generic_visit(node)
