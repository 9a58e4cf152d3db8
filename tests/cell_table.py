"""The table of cells in `notebook/cells/*.txt`, both ways to run one, and how two outcomes are compared."""

from __future__ import annotations

import base64
import decimal
import io
import json
import os
import re
import sys
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from compute_nb.errors import SerializationError
from compute_nb.notebook.body.cell import analyse
from compute_nb.notebook.line.options import names_of
from compute_nb.notebook.refusal import CellRefused

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
        return (
            len(a) == len(b) and all(same(x, y, seen) for x, y in zip(a, b, strict=True)) and held(a, b, seen)
        )
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


@contextmanager
def put_back() -> Iterator[None]:
    """Undoes what a body that runs here does to this process."""
    folder, path, limit, environ = os.getcwd(), list(sys.path), sys.getrecursionlimit(), dict(os.environ)
    argv = sys.argv
    try:
        with warnings.catch_warnings():
            warnings.resetwarnings()
            warnings.simplefilter("default")
            warnings.showwarning = print_warning  # pytest's gathers them
            with decimal.localcontext():
                yield
    finally:
        os.chdir(folder)
        sys.path[:], sys.argv = path, argv
        sys.setrecursionlimit(limit)
        os.environ.clear()
        os.environ.update(environ)


def print_warning(*warned: Any) -> None:
    sys.stderr.write(warnings.formatwarning(*warned[:4]))


def told(error: BaseException) -> str:
    text = re.sub(r" \(<\w+>, line \d+\)$", "", str(error))  # of a SyntaxError, whose traceback says it
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def ready(shell: Any, case: Case) -> None:
    """Makes a notebook as new and runs the cells that come before."""
    shell.reset()
    with captured():
        for source in case.cells:
            shell.here(source)


@contextmanager
def captured() -> Iterator[list[str]]:
    """Gives what is printed meanwhile, on standard output and error, at the end."""
    found: list[str] = []
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        yield found
    found += [out.getvalue(), err.getvalue()]


def run_quietly(shell: Any, source: str) -> tuple[Any, list[str]]:
    """Runs a cell without drawing its error; returns what IPython says of it, and what it printed."""
    shell.ip.showtraceback = lambda *_, **__: None
    try:
        with captured() as text:
            done = shell.ip.run_cell(source, store_history=True)
    finally:
        del shell.ip.showtraceback
    return done, text


def here(shell: Any, case: Case) -> Outcome:
    """Runs the body as IPython does."""
    done, text = run_quietly(shell, case.body)
    error = done.error_before_exec or done.error_in_exec
    if error is not None:
        noise = r"(?s)\S*interactiveshell.py:\d+: UserWarning: To exit: .*"
        return Outcome(stdout=text[0], stderr=re.sub(noise, "", text[1]), error=told(error))
    shown = text[0] if done.result is None else re.sub(r"(?s)(^|\n)Out\[\d+\]: .*", r"\1", text[0])
    outputs = {name: shell.names.get(name) for name in case.outputs}
    return Outcome(done.result, outputs, shown, text[1])


def through_the_harness(shell: Any, case: Case) -> Outcome:
    """Runs the body as a worker does, in this process."""
    body = analyse(case.body)
    assert case.topic == "programs" or body.open_ended or body.binds.issuperset(case.outputs)
    try:
        result = shell.there(case.body, case.outputs, case.inputs)
    except CellRefused:
        raise
    except Exception as error:
        text = str(error).rsplit("compute_nb:1:", 1)[1]
        facts = json.loads(zlib.decompress(base64.b64decode(text)))
        named = type(facts["type"], (Exception,), {})
        return Outcome(**printed(facts["outputs"]), error=told(named(facts["message"])))
    home = shell.notebook.home
    outputs = {name: _output(result, name, home) for name in case.outputs}
    return Outcome(result.value(home), outputs, **printed(result.items))


def _output(result: Any, name: str, home: Any) -> Any:
    try:
        return result.output(name, home)
    except SerializationError as error:
        return f"{error}"


def printed(items: Any) -> dict[str, str]:
    return {
        name: "".join(item["text"] for item in items if item.get("stream") == name)
        for name in ("stdout", "stderr")
    }
