"""The table of cells: what stands in `cells/*.txt`, and how two outcomes of one cell are compared."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from compute_nb.notebook.options import names_of

FOLDER = Path(__file__).with_name("notebook") / "cells"
LONG = "total = 0\n" + "".join(f"total += {i}  # {'x' * 60}\n" for i in range(3_000)) + "total"
DEEP = "x = " + "(" * 60 + "1" + ")" * 60 + "\nx"


@dataclass(frozen=True)
class Case:
    """One row: cells that were run before, and the body, both as a person wrote them.

    Attributes:
        refused: Pattern of the refusal, where the cell can't travel.
        there: The error there, where it can't be the one here.
        python: The first Python that knows what the case uses.
    """

    topic: str
    name: str
    cells: tuple[str, ...]
    body: str
    outputs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    refused: str = ""
    there: str = ""
    python: tuple[int, ...] = ()


# What an editor or a pasted text does to a cell; no file of ours can hold it.
RAW = (
    Case("text", "CRLF at the ends of lines", (), "x = '''a\r\nb'''\r\nif x:\r\n    y = 1\r\n[x, y]\r\n"),
    Case("text", "CR at the ends of lines", (), "x = 1\ry = 2\rx + y"),
    Case("text", "tabs as indent", (), "def f(x):\n\tif x:\n\t\treturn 1\n\treturn 2\nf(0), f(1)"),
    Case("text", "form feed, blanks at the ends", (), "x = 1   \n\x0c\ny = 2\t\n\n\nx + y   \n\n"),
    Case("text", "no-break space in text and comment", (), "x = 'a\xa0b'  # \xa0\nlen(x), x"),
    Case("text", "continued lines", (), "x = 1 + \\\n    2\ny = (1,\n\n  # why\n  2)\nx, y"),
    Case("text", "a cell of 3,000 lines", (), LONG),
    Case("text", "brackets in brackets", (), DEEP),
    Case("text", "a line of 100,000 characters", (), f"len({'a' * 100_000!r})"),
    Case("text", "semicolons between and at the end", (), "x = 1; y = 2; print(x); y;"),
    Case("text", "a comment behind the last expression", (), "x = 1\nx  # shown;"),
    Case("text", "a semicolon and a comment at the end", (), "x = 1\nx;  # not shown"),
    Case("text", "a docstring alone", (), "'''only text\nof two lines'''"),
    Case("text", "the encoding of a file", (), "# -*- coding: latin-1 -*-\n'é'"),
    Case("text", "a first line that is indented", (), "    x = 1\n    if x:\n        y = 2\n    y"),
    Case("text", "braces and dollars of the line magic's kind", ("a = 1",), "'{a} $a {{a}}', {a}, f'{a}'"),
    Case("text", "text that looks like a magic", (), "x = '''\n%time a\n!ls\n'''\nx, 7 %3"),
    Case("text", "a byte order mark", (), "\ufeffx = 1\nx", refused="U\\+FEFF|no Python"),
    Case("text", "a NUL", (), "x = 1\x00", refused="null byte"),
)


def read_cases() -> Iterator[Case]:
    """Yields the rows of all files."""
    for file in sorted(FOLDER.glob("*.txt")):
        for block in re.split(r"(?m)^=== ", file.read_text("utf-8"))[1:]:
            head, _, text = block.partition("\n")
            name, *options = head.split(" | ")
            *cells, body = re.split(r"(?m)^---\n", text)
            case = Case(file.stem, name, tuple(cell for cell in cells if cell), body.removesuffix("\n"))
            yield replace(case, **dict(map(_option, options)))  # type: ignore[arg-type]


def _option(text: str) -> tuple[str, Any]:
    key, value = re.split(r": | ", text, maxsplit=1)
    if key in ("-o", "-i"):
        return {"-o": "outputs", "-i": "inputs"}[key], names_of([value], key)
    return key, tuple(map(int, value.split("."))) if key == "python" else value


@dataclass(frozen=True)
class Outcome:
    """What a cell gave; `error` is its type and message."""

    value: Any = None
    outputs: Any = None
    stdout: str = ""
    stderr: str = ""
    error: str = ""

    def told(self) -> str:
        """Returns it in a line."""
        parts = [self.error or plain(self.value)]
        parts += [f"{name} = {plain(value)}" for name, value in (self.outputs or {}).items()]
        parts += [f"prints {text!r}" for text in (self.stdout, self.stderr) if text]
        return "; ".join(parts)


def same(a: Any, b: Any, seen: set[int] | None = None) -> bool:
    """Returns whether two values are alike in type and all they hold, whichever class objects they have."""
    seen = set() if seen is None else seen
    if id(a) in seen:
        return True
    seen.add(id(a))
    if (type(a).__module__, type(a).__qualname__) != (type(b).__module__, type(b).__qualname__):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y, seen) for x, y in zip(a, b, strict=True)) and held(a, b, seen)
    if isinstance(a, dict):
        pairs = zip_longest(a.items(), b.items())
        return all(same(list(x), list(y), seen) for x, y in pairs) and held(a, b, seen)
    if isinstance(a, (set, frozenset)):
        return sorted(map(plain, a)) == sorted(map(plain, b))
    return plain(a) == plain(b) and held(a, b, seen)


def held(a: Any, b: Any, seen: set[int]) -> bool:
    """Returns whether the attributes of two instances of the notebook are alike."""
    if type(a).__module__ != "__main__":
        return True
    slots = [name for kind in type(a).__mro__ for name in kind.__dict__.get("__slots__", ())]
    return all(same(getattr(a, name, None), getattr(b, name, None), seen) for name in slots) and same(
        dict(getattr(a, "__dict__", {})), dict(getattr(b, "__dict__", {})), seen
    )


def plain(value: Any) -> str:
    """Returns the text of a value without what differs from one process to the next."""
    if isinstance(value, int) and value.bit_length() > 10_000:
        return hex(value)
    extra = getattr(value, "attrs", None) if type(value).__module__.startswith("pandas") else None
    kind = getattr(value, "dtype", None)
    text = f"{value!r} {extra or ''} {kind or ''}".strip()
    return re.sub(r"0x[0-9a-fA-F]+", "0x", text)


def cells_named(text: str) -> str:
    """Returns text with one name for a cell, whatever the file is called that holds it."""
    return re.sub(r"<ipython-input-\d+-\w+>|Cell In\[\d+\]", "<cell>", text)
