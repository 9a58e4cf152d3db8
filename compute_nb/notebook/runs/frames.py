"""This module is the frames of a remote error, drawn as IPython draws those of an error here.

What the worker says of them is plain data (`kit/trace`) that may be anything: it is read as far as it fits.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_WIDTH = 75
_NUMBERS = 7  # width of line numbers, as IPython's
_KEPT = 3  # frames of libraries in a row that are all drawn
_CELL = re.compile(r"Cell In\[\d+\]")
_LED = {
    "cause": "The above exception was the direct cause of the following exception:",
    "context": "During handling of the above exception, another exception occurred:",
}

Paint = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Colours:
    """How text is coloured.

    Attributes:
        paint: From kind of text and text; kinds are IPython's names of tokens.
        code: From lines and what was running in which of them, to lines.
    """

    paint: Paint
    code: Callable[[Sequence[str], int, tuple[int, int] | None], list[str]] | None


PLAIN = Colours(lambda _, text: text, None)


def drawn(trace: Any, mend: str, colours: Colours = PLAIN) -> str | None:
    """Returns a trace as IPython draws an error, None if it can't be read.

    Args:
        trace: As it came.
        mend: What shows the frames that are left out.
    """
    try:
        errors = list(_drawn_errors(trace, mend, colours))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return None
    return "\n".join(errors) if errors else None


def listed(trace: Any) -> str | None:
    """Returns all frames of a trace but ours, as Python lists them; None if it can't be read."""
    try:
        parts = []
        for error in trace:
            frames = "".join(_listed_frame(frame) for frame in error["frames"] if not frame.get("own"))
            parts.append(f"Traceback (most recent call last):\n{frames}{error['text']}")
            if error["led"]:
                parts.append(f"\n{_LED[error['led']]}\n")
        return "\n".join(parts) if parts else None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return None


def _listed_frame(frame: Mapping[str, Any]) -> str:
    if "folded" in frame:
        return f"  [... {int(frame['folded']):,} more like these]\n"
    file = frame["file"] if _CELL.fullmatch(frame["file"]) else f'File "{frame["file"]}"'
    where = "" if frame["name"] == "<module>" else f", in {frame['name']}"
    head = f"  {file}, line {int(frame['line'])}{where}\n"
    if not frame["lines"]:
        return head
    text = str(frame["lines"][frame["line"] - frame["first"]])
    indent = len(text) - len(text.lstrip())
    mark = _caret(text, _span(frame))
    return f"{head}    {text.strip()}\n" + (f"    {mark[indent:]}\n" if mark else "")


def _drawn_errors(trace: Any, mend: str, colours: Colours) -> Iterator[str]:
    for number, error in enumerate(trace):
        kind = str(error["type"]).rpartition(".")[2]
        title = "Traceback (most recent call last)".rjust(_WIDTH - len(kind))
        if not number:
            yield colours.paint("Topline", "-" * _WIDTH)
        yield colours.paint("ExcName", kind) + title
        for part in _parts(error["frames"], mend):
            yield _drawn_frame(part, colours) + "\n" if isinstance(part, Mapping) else f"    {part}\n"
        name, colon, rest = str(error["text"]).partition(":")
        if name.isidentifier() or name.replace(".", "").isidentifier():
            yield colours.paint("ExcName", name) + colon + rest
        else:  # of a SyntaxError, which says its place first
            yield str(error["text"])
        if error["led"]:
            yield f"\n{_LED[error['led']]}\n"


def _parts(frames: Iterable[Mapping[str, Any]], mend: str) -> Iterator[Mapping[str, Any] | str]:
    """Yields frames without ours, and a line for frames of libraries that are left out."""
    row: list[Mapping[str, Any]] = []
    for frame in frames:
        if frame.get("own"):
            continue
        if "folded" in frame or _CELL.fullmatch(frame["file"]):
            yield from _short(row, mend)
            row = []
            yield frame if "folded" not in frame else _folded(frame)
        else:
            row.append(frame)
    yield from _short(row, mend)


def _short(row: list[Mapping[str, Any]], mend: str) -> Iterator[Mapping[str, Any] | str]:
    if len(row) <= _KEPT:
        yield from row
        return
    yield row[0]
    yield f"[... {len(row) - 2} frames of libraries: {mend}]"
    yield row[-1]


def _folded(frame: Mapping[str, Any]) -> str:
    times = int(frame["folded"])
    return f"[... skipping similar frames: {frame['name']} at line {int(frame['line'])} ({times} times)]"


def _drawn_frame(frame: Mapping[str, Any], colours: Colours) -> str:
    cell = _CELL.fullmatch(frame["file"])
    place = f"{frame['file']}, line {frame['line']}" if cell else f"File {frame['file']}:{frame['line']}"
    call = "" if frame["name"] == "<module>" else ", in " + colours.paint("VName", str(frame["name"]))
    head = colours.paint("FilenameEm", place) + call + colours.paint("ValEm", str(frame["call"]))
    return "\n".join([head, *_drawn_lines(frame, colours)])


def _drawn_lines(frame: Mapping[str, Any], colours: Colours) -> Iterator[str]:
    lines, span = [str(line) for line in frame["lines"]], _span(frame)
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    lines = [line[indent:] for line in lines]
    if span is not None:
        span = max(0, span[0] - indent), max(0, span[1] - indent)
    at = int(frame["line"]) - int(frame["first"])
    coloured = colours.code(lines, at, span) if colours.code is not None else lines
    for place, line in enumerate(coloured):
        if not lines[place].strip():
            continue
        number = str(int(frame["first"]) + place)
        arrow = "-" * max(0, _NUMBERS - len(number) - 2) + "> " + number if place == at else number
        yield colours.paint("LinenoEm", f"{arrow:>{_NUMBERS}}") + f" {line}"
        mark = _caret(lines[at], span) if place == at and colours.code is None else ""
        if mark:
            yield " " * (_NUMBERS + 1) + mark


def _span(frame: Mapping[str, Any]) -> tuple[int, int] | None:
    mark = frame["mark"]
    return None if not mark else (int(mark[0]), int(mark[1]))


def _caret(text: str, span: tuple[int, int] | None) -> str:
    """Returns what stands under a part of a line, "" if the part is all of it."""
    if span is None or not 0 <= span[0] < span[1] <= len(text) or text[span[0] : span[1]] == text.strip():
        return ""
    before = "".join(character if character == "\t" else " " for character in text[: span[0]])
    return before + "^" * (span[1] - span[0])


def colours_of(theme_name: str) -> Colours:
    """Returns the colours of one of IPython's themes; none where this IPython has other themes."""
    try:
        from IPython.utils.PyColorize import theme_table
        from pygments.formatters.terminal256 import Terminal256Formatter
        from pygments.lexers.python import PythonLexer
        from pygments.token import Token
        from stack_data import style_with_executing_node

        if theme_name == "nocolor":
            return PLAIN
        theme = theme_table[theme_name]
        style = style_with_executing_node(theme.as_pygments_style(), "bg:ansiyellow")
    except (ImportError, AttributeError, KeyError):
        return PLAIN
    formatter, lexer = Terminal256Formatter(style=style), PythonLexer(stripnl=False, ensurenl=False)

    def code(lines: Sequence[str], at: int, span: tuple[int, int] | None) -> list[str]:
        start = sum(len(line) + 1 for line in lines[:at])
        running = (0, 0) if span is None else (start + span[0], start + span[1])
        pieces = _pieces(lexer.get_tokens_unprocessed("\n".join(lines)), running)
        tokens = [(kind.ExecutingNode if inside else kind, text) for kind, text, inside in pieces]
        made: list[str] = [""]
        for kind, text in tokens:
            for number, part in enumerate(text.split("\n")):
                if number:
                    made.append("")
                made[-1] += _formatted(formatter, kind, part) if part else ""
        return made

    def paint(kind: str, text: str) -> str:
        return str(theme.format([(getattr(Token, kind), text)]))

    return Colours(paint, code)


def _pieces(
    tokens: Iterable[tuple[int, Any, str]], running: tuple[int, int]
) -> Iterator[tuple[Any, str, bool]]:
    """Yields tokens cut where what was running begins and ends."""
    for place, kind, text in tokens:
        cuts = sorted({0, len(text), *(cut - place for cut in running if 0 < cut - place < len(text))})
        for first, last in itertools.pairwise(cuts):
            yield kind, text[first:last], running[0] <= place + first < running[1]


def _formatted(formatter: Any, kind: Any, text: str) -> str:
    import io

    out = io.StringIO()
    formatter.format([(kind, text)], out)
    return out.getvalue()
