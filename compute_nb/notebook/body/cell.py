"""This module is the cell: what its body reads, binds and shows, found in the source before anything runs."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from compute_nb.notebook.body.flow import Flow
from compute_nb.notebook.body.imported import Import, imports_of
from compute_nb.notebook.body.reads import Read
from compute_nb.notebook.kit.source import POSTPONED
from compute_nb.notebook.refusal import CellRefused
from compute_nb.syntax import parse

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
        imports: Modules that it asks for.
    """

    source: str
    reads: dict[str, Read]
    binds: frozenset[str]
    shows: bool
    open_ended: bool
    postponed: bool
    imports: tuple[Import, ...] = ()


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
    flow = Flow(postponed)
    with _deeper():
        flow.block(tree.body)
    return CellBody(
        source=source,
        reads=flow.reads,
        binds=frozenset(flow.binds),
        shows=isinstance(tree.body[-1], ast.Expr) and not _ends_in_semicolon(source),
        open_ended=flow.open_ended,
        postponed=postponed,
        imports=imports_of(tree),
    )


@contextmanager
def _deeper() -> Iterator[None]:
    """Lets a walk go as deep as Python compiles: a few frames for each level, 3,000 levels at most."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 20_000))
    try:
        yield
    except RecursionError:
        raise CellRefused("this cell is nested too deeply: break it up") from None
    finally:
        sys.setrecursionlimit(before)


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
        tree = parse(source)
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
