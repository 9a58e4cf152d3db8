"""This module is the scopes inside a body: functions, classes and comprehensions, with names of their own."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import CodeType

from compute_nb.notebook.body.names import global_reads, global_writes
from compute_nb.notebook.body.reads import Reads
from compute_nb.notebook.kit.source import walk_code
from compute_nb.syntax import beside_others


class Scopes(Reads):
    """Walks what has names of its own."""

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for decorator in node.decorator_list:
            self.visit(decorator)
        with self._type_params(node):
            self._signature(node.args)
            if not self._postponed and node.returns is not None:
                self._annotation(node.returns)
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
                self._annotation(arg.annotation)

    def _annotation(self, node: ast.expr) -> None:
        """Reads an annotation; what it says in quotes is read by whoever asks for types, if it exists."""
        self.visit(node)
        for text in _quoted(node):
            try:
                inner = beside_others(ast.parse, text, mode="eval")
            except (SyntaxError, ValueError):
                continue
            self._guards += 1
            for part in ast.walk(inner):
                if isinstance(part, ast.Name):
                    self._inner_read(part.id, node.lineno)
            self._guards -= 1

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
            self._class_globals.append(set())
            self.block(node.body)
            self._class_names.pop()
            self._class_globals.pop()
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
        outside = self._class_names, self._bound
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
        self._class_names, self._bound = outside  # a `:=` in it is never sure: there may be no round

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension


def _quoted(node: ast.AST) -> Iterator[str]:
    """Yields the texts in an annotation, apart from those in `Literal[...]`."""
    if isinstance(node, ast.Subscript) and "Literal" in ast.dump(node.value):
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    for child in ast.iter_child_nodes(node):
        yield from _quoted(child)


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
