"""This module is the flow of a body: its top level, walked in the order in which it runs."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from compute_nb.notebook.body.scopes import Scopes

_LETS_THROUGH = frozenset(
    [
        "open",
        "closing",
        "redirect_stdout",
        "redirect_stderr",
        "nullcontext",
        "chdir",
        "StringIO",
        "BytesIO",
        "TemporaryDirectory",
        "TemporaryFile",
        "NamedTemporaryFile",
        "ZipFile",
        "urlopen",
        "Popen",
        "Semaphore",
        "Pool",
        "ThreadPool",
        "ThreadPoolExecutor",
        "ProcessPoolExecutor",
        "catch_warnings",
        "errstate",
    ]
)
_CATCHES_NAME_ERROR = {"NameError", "Exception", "BaseException"}


class Flow(Scopes):
    """Walks statements and the paths between them; `reads`, `binds` and `open_ended` say what was found."""

    def _branch(self, *walks: Callable[[], None], falls_through: bool) -> None:
        """Walks ways of which at most one is taken; afterwards only what all of them bind is sure."""
        before = None if self._bound is None else set(self._bound)
        ends: list[set[str] | None] = [before] if falls_through else []
        self._maybe += 1
        for walk in walks:
            self._bound = None if before is None else set(before)
            walk()
            ends.append(self._bound)
        self._maybe -= 1
        reached = [end for end in ends if end is not None]
        self._bound = set.intersection(*reached) if reached else None

    def visit_If(self, node: ast.If) -> None:
        """Either branch."""
        self.visit(node.test)
        self._branch(lambda: self.block(node.body), lambda: self.block(node.orelse), falls_through=False)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        """Either value."""
        self.visit(node.test)
        self._branch(lambda: self.visit(node.body), lambda: self.visit(node.orelse), falls_through=False)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """The first operand surely, the others perhaps."""
        self.visit(node.values[0])
        for value in node.values[1:]:
            self._branch(lambda value=value: self.visit(value), falls_through=True)  # type: ignore[misc]

    def visit_While(self, node: ast.While) -> None:
        """The body perhaps."""
        self.visit(node.test)
        self._branch(lambda: self.block(node.body), falls_through=True)
        self._branch(lambda: self.block(node.orelse), falls_through=True)

    def visit_For(self, node: ast.For) -> None:
        """The iterable surely, the body perhaps."""
        self.visit(node.iter)
        self._branch(lambda: self._loop(node.target, node.body), falls_through=True)
        self._branch(lambda: self.block(node.orelse), falls_through=True)

    def _loop(self, target: ast.expr, body: Sequence[ast.stmt]) -> None:
        # A loop over something that is rarely empty: its body counts as sure for what it reads.
        self._maybe -= 1
        self.visit(target)
        self.block(body)
        self._maybe += 1

    def _leave(self, node: ast.AST) -> None:
        self.generic_visit(node)
        self._bound = None

    visit_Raise = visit_Break = visit_Continue = _leave

    def visit_Try(self, node: ast.Try) -> None:
        """Body and else, or part of the body and a handler."""
        before = None if self._bound is None else set(self._bound)
        with self._guard(any(map(_catches_name_error, node.handlers))):
            self.block(node.body)
        self.block(node.orelse)
        after = self._bound
        self._bound = before
        ways = [lambda handler=handler: self._handler(handler) for handler in node.handlers]
        if ways:
            self._branch(*ways, falls_through=False)
        else:
            self._bound = None
        reached = [end for end in (after, self._bound) if end is not None]
        self._bound = set.intersection(*reached) if reached else None
        self._finally(node.finalbody, before)

    def visit_TryStar(self, node: ast.TryStar) -> None:
        """As Try."""
        self.visit_Try(node)  # type: ignore[arg-type] # the same fields

    def _finally(self, body: Sequence[ast.stmt], before: set[str] | None) -> None:
        if not body:
            return
        after = self._bound
        self._bound = None if before is None else set(before)
        known = None if self._bound is None else set(self._bound)
        self.block(body)
        if after is not None and self._bound is not None:
            self._bound = after | (self._bound - (known or set()))
        else:
            self._bound = None

    def _handler(self, handler: ast.ExceptHandler) -> None:
        if handler.type is not None:
            self.visit(handler.type)
        if handler.name:
            self._bind(handler.name)
        self.block(handler.body)
        if handler.name:
            self._unbind(handler.name)

    @contextmanager
    def _guard(self, on: bool) -> Iterator[bool]:
        self._guards += on
        yield on
        self._guards -= on

    def visit_With(self, node: ast.With) -> None:
        """Items in order, then the body."""
        for item in node.items:
            self.visit(item)
        if all(_lets_through(item.context_expr) for item in node.items):
            self.block(node.body)
            return
        with self._guard(any(_suppresses(item.context_expr) for item in node.items)) as guarded:
            walk = partial(self.block, node.body) if guarded else partial(self._ending_early, node.body)
            self._branch(walk, falls_through=True)

    def _ending_early(self, body: Sequence[ast.stmt]) -> None:
        # It begins surely, and perhaps ends before all of it is bound.
        self._maybe -= 1
        self.block(body)
        self._maybe += 1

    def visit_Match(self, node: ast.Match) -> None:
        """At most one case."""
        self.visit(node.subject)
        sure = any(_matches_all(case) for case in node.cases)
        ways = [lambda case=case: self._case(case) for case in node.cases]
        self._branch(*ways, falls_through=not sure)

    def _case(self, case: ast.match_case) -> None:
        for part in ast.walk(case.pattern):
            if isinstance(part, ast.expr):
                self.visit(part)
            for name in (getattr(part, "name", None), getattr(part, "rest", None)):
                if isinstance(name, str):
                    self._bind(name)
        if case.guard is not None:
            self.visit(case.guard)
        self.block(case.body)

    # -- statements -------------------------------------------------------------------------

    def visit_Assign(self, node: ast.Assign) -> None:
        """The value, then the targets."""
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """The target is read first."""
        if isinstance(node.target, ast.Name):
            self._read(node.target.id, node.lineno)
        self.visit(node.value)
        self.visit(node.target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """The value, the annotation unless postponed, the target only if there is a value."""
        if node.value is not None:
            self.visit(node.value)
        if not self._postponed:
            self._annotation(node.annotation)
        if node.value is not None or not isinstance(node.target, ast.Name):
            self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        """The value, then the name."""
        self.visit(node.value)
        self.visit(node.target)

    def visit_Import(self, node: ast.Import) -> None:
        """Binds the first part of each name, or what it is called here."""
        for alias in node.names:
            self._bind(alias.asname or alias.name.partition(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Binds names, unknown ones for a star."""
        for alias in node.names:
            if alias.name == "*":
                self.open_ended = True
            else:
                self._bind(alias.asname or alias.name)


def _catches_name_error(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(kind, ast.Name) and kind.id in _CATCHES_NAME_ERROR for kind in kinds)


def _suppresses(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and _last_name(node) in ("suppress", "raises", "assertRaises")


def _lets_through(node: ast.expr) -> bool:
    """Returns whether an error in the body of this `with` surely ends the cell."""
    name = _last_name(node)
    return name in _LETS_THROUGH or "lock" in name.lower()


def _last_name(node: ast.expr) -> str:
    """Returns "open" of `path.open(...)`, "" of what has no name."""
    if isinstance(node, ast.Call):
        node = node.func
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _matches_all(case: ast.match_case) -> bool:
    return case.guard is None and isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None
