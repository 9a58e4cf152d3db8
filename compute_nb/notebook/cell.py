"""This module is the cell: what its body reads, binds and shows, found in the source before anything runs."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType

from compute_nb.notebook.kit.source import POSTPONED, walk_code
from compute_nb.notebook.names import global_reads, global_writes
from compute_nb.notebook.refusal import CellRefused

_MAGIC = re.compile(r"^\s*(%|!|\?|[\w.]+\s*=\s*[%!]\S|.*\w\?\s*$)")
_MENDS = {
    "'return' outside function": "`return` works in a function only; the cell's last expression is its value",
    "'yield' outside function": "`yield` works in a function only: make a list, or define a generator",
    "'await' outside function": "`await` at the top of a cell can't travel: use `asyncio.run(...)`",
    "'yield from' outside function": "`yield` works in a function only: make a list",
    "asynchronous comprehension": "`async for` at the top of a cell can't travel: use `asyncio.run(...)`",
    "'async with' outside": "`async with` at the top of a cell can't travel: use `asyncio.run(...)`",
    "'async for' outside": "`async for` at the top of a cell can't travel: use `asyncio.run(...)`",
}
_CATCHES_NAME_ERROR = {"NameError", "Exception", "BaseException"}
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


@dataclass(frozen=True, slots=True)
class CellBody:
    """The body of a compute cell.

    Attributes:
        source: The text, line 1 is the line under `%%compute`.
        reads: What it needs from outside, by name.
        binds: Names that some path binds at the top level.
        shows: Whether it ends in an expression without `;`, which is its value.
        open_ended: Whether it binds names that can't be told from the text (star import, exec).
        postponed: Whether annotations are postponed.
    """

    source: str
    reads: dict[str, Read]
    binds: frozenset[str]
    shows: bool
    open_ended: bool
    postponed: bool


def analyse(source: str, *, postponed: bool = False) -> CellBody:
    """Returns what the body of a cell reads, binds and shows.

    Args:
        source: The text under the line of the magic.
        postponed: Whether the notebook has run `from __future__ import annotations`.

    Raises:
        CellRefused: It is empty, or no Python that can run elsewhere; the text names line and mend.
    """
    source = _without_common_indent(source)
    tree = _parsed(source, postponed)
    postponed = postponed or _postpones(tree)
    flow = _Flow(postponed)
    flow.block(tree.body)
    return CellBody(
        source=source,
        reads=flow.reads,
        binds=frozenset(flow.binds),
        shows=isinstance(tree.body[-1], ast.Expr) and not _ends_in_semicolon(source),
        open_ended=flow.open_ended,
        postponed=postponed,
    )


def _without_common_indent(source: str) -> str:
    """Takes the first line's indent off all lines, as IPython does."""
    lines = source.splitlines(keepends=True)
    first = next((line for line in lines if line.strip()), "")
    indent = first[: len(first) - len(first.lstrip())]
    if not indent:
        return source
    return "".join(line.removeprefix(indent) if line.strip() else line for line in lines)


def _parsed(source: str, postponed: bool) -> ast.Module:
    try:
        tree = ast.parse(source)
        compile(tree, "<cell>", "exec", flags=POSTPONED if postponed else 0, dont_inherit=True)
    except SyntaxError as error:
        raise CellRefused(_syntax_problem(source, error)) from None
    except ValueError as error:
        raise CellRefused(f"this cell can't be read as Python: {error}") from None
    except RecursionError:
        raise CellRefused("this cell is nested too deeply: break it up") from None
    if not tree.body:
        raise CellRefused("this cell has no code: write what is to run under the `%%compute` line")
    return tree


def _syntax_problem(source: str, error: SyntaxError) -> str:
    for start, mend in _MENDS.items():
        if start in (error.msg or ""):
            return f"line {error.lineno}: {mend}"
    lines = source.splitlines()
    for number, line in enumerate(lines, 1):
        if number <= (error.lineno or len(lines)) and _MAGIC.match(line):
            return (
                f"line {number}: `{line.strip()}` is IPython's, not Python's, and can't travel: run it in a "
                "cell of its own, or use Python for it (`subprocess.run` for a command)"
            )
    number = error.lineno or 1
    text = lines[number - 1].strip() if 0 < number <= len(lines) else ""
    return f"line {number}: {error.msg}: `{text}`"


def _postpones(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(alias.name == "annotations" for alias in node.names)
        for node in tree.body
    )


def _ends_in_semicolon(source: str) -> bool:
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER, tokenize.DEDENT}
    last = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skipped:
            last = token.string
    return last == ";"


class _Flow(ast.NodeVisitor):
    """Walks the top level of a body in the order in which it runs.

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

    # -- names ------------------------------------------------------------------------------

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

    def _bind(self, name: str) -> None:
        if self._class_names:
            self._class_names[-1].add(name)
            return
        self.binds.add(name)
        if self._bound is not None:
            self._bound.add(name)

    def _unbind(self, name: str) -> None:
        if self._class_names:
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

    # -- paths ------------------------------------------------------------------------------

    def block(self, statements: Iterable[ast.stmt]) -> None:
        """Walks statements one after the other."""
        for statement in statements:
            self.visit(statement)

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
    def _guard(self, on: bool) -> Iterator[None]:
        self._guards += on
        yield
        self._guards -= on

    def visit_With(self, node: ast.With) -> None:
        """Items in order, then the body."""
        for item in node.items:
            self.visit(item)
        with self._guard(any(_suppresses(item.context_expr) for item in node.items)):
            self.block(node.body)

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
            self.visit(node.annotation)
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

    # -- scopes of their own ------------------------------------------------------------------

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for decorator in node.decorator_list:
            self.visit(decorator)
        with self._type_params(node):
            self._signature(node.args)
            if not self._postponed and node.returns is not None:
                self.visit(node.returns)
        self._bind(node.name)
        bare = ast.Module([_bare(node)], type_ignores=[])
        self._inner(compile(bare, "<cell>", "exec", dont_inherit=True), node.lineno)

    visit_FunctionDef = _function
    visit_AsyncFunctionDef = _function

    def _signature(self, args: ast.arguments) -> None:
        for default in (*args.defaults, *args.kw_defaults):
            if default is not None:
                self.visit(default)
        if self._postponed:
            return
        everyone = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
        for arg in everyone:
            if arg is not None and arg.annotation is not None:
                self.visit(arg.annotation)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Its defaults now, its body perhaps later."""
        self._signature(node.args)
        bare = ast.Expression(ast.Lambda(_bare_args(node.args), node.body))
        ast.copy_location(bare.body, node)
        code = compile(ast.fix_missing_locations(bare), "<cell>", "eval", dont_inherit=True)
        self._inner(code, node.lineno)

    def _inner(self, module: CodeType, line: int) -> None:
        """Takes what functions read when they are called, perhaps, and bind by `global`."""
        for part in walk_code(module):
            if part is module:
                continue
            for read in sorted(global_reads(part)):
                self._inner_read(read, line)
            self.binds |= global_writes(part)

    def _inner_read(self, name: str, line: int) -> None:
        inside, self._class_names = self._class_names, []
        self._read(name, line, certain=False)
        self._class_names = inside

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Its body runs now, in names of its own."""
        for decorator in node.decorator_list:
            self.visit(decorator)
        with self._type_params(node):
            for part in (*node.bases, *node.keywords):
                self.visit(part)
            self._class_names.append(set())
            self.block(node.body)
            self._class_names.pop()
        self._bind(node.name)

    @contextmanager
    def _type_params(self, node: ast.AST) -> Iterator[None]:
        """Knows the `T` of `def f[T]` (Python 3.12) while its scope lasts."""
        before = self._bound
        names = {param.name for param in getattr(node, "type_params", [])}
        self._bound = None if before is None else before | names
        yield
        if self._bound is not None and before is not None:
            self._bound -= names - before

    def visit_TypeAlias(self, node: ast.AST) -> None:
        """`type X = ...` of Python 3.12: binds X, reads the rest when asked."""
        self._bind(node.name.id)  # type: ignore[attr-defined]
        bare = ast.Module([node], type_ignores=[])  # type: ignore[list-item]
        self._inner(compile(bare, "<cell>", "exec", dont_inherit=True), node.lineno)  # type: ignore[attr-defined]

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        self.visit(node.generators[0].iter)
        outside = set(self.binds), self._class_names, self._bound
        targets = {
            name.id
            for generator in node.generators
            for name in ast.walk(generator.target)
            if isinstance(name, ast.Name)
        }
        self._class_names = []
        self._bound = None if self._bound is None else self._bound | targets
        for number, generator in enumerate(node.generators):
            for part in ([generator.iter] if number else []) + generator.ifs:
                self.visit(part)
        for part in [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]:
            self.visit(part)
        new = self.binds - outside[0]
        self._class_names, self._bound = outside[1], outside[2]
        if self._bound is not None:
            self._bound |= new

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension


def _bare(node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.stmt:
    """Returns a function without what is evaluated where it is defined."""
    copy = type(node)(
        **{**{name: getattr(node, name) for name in node._fields}, "decorator_list": [], "returns": None}
    )
    copy.args = _bare_args(node.args)
    return ast.fix_missing_locations(ast.copy_location(copy, node))


def _bare_args(args: ast.arguments) -> ast.arguments:
    nothing = ast.Constant(None)

    def bare(arg: ast.arg | None) -> ast.arg | None:
        return None if arg is None else ast.arg(arg.arg)

    def all_bare(given: Sequence[ast.arg]) -> list[ast.arg]:
        return [ast.arg(arg.arg) for arg in given]

    return ast.arguments(
        posonlyargs=all_bare(args.posonlyargs),
        args=all_bare(args.args),
        vararg=bare(args.vararg),
        kwonlyargs=all_bare(args.kwonlyargs),
        kw_defaults=[None if default is None else nothing for default in args.kw_defaults],
        kwarg=bare(args.kwarg),
        defaults=[nothing for _ in args.defaults],
    )


def _catches_name_error(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(kind, ast.Name) and kind.id in _CATCHES_NAME_ERROR for kind in kinds)


def _suppresses(node: ast.expr) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = getattr(node.func, "id", None) or getattr(node.func, "attr", "")
    return name in ("suppress", "raises", "assertRaises")


def _matches_all(case: ast.match_case) -> bool:
    return case.guard is None and isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None
