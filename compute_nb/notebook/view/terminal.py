"""This module is the terminal that printed text was written for: what would stand there at the end of it.

A carriage return goes back to the start of the line, a backspace one to the left, and what follows is written
over what was there; so of a progress bar its last state remains. Of the other sequences the movements of the
cursor, erasing and colours are followed, all else is left out. Nothing that was printed is markup.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

WIDTH = 1_000  # characters of a line that are shown
COLUMNS = 10_000  # a cursor is moved no further to the right
BLANKS = 200_000  # that moved cursors leave behind, in all
READ_CHARS = 40_000  # for the last rows no more than so much of the end is read
TAB = 8

_TOKEN = re.compile(
    r"\x1b\[(?P<numbers>[0-9;:]*)[<=>?]?[0-9;:]*[ -/]*(?P<final>[@-~])"
    r"|\x1b[\]PX^_](?:[^\x07\x1b]|\x1b(?!\\))*(?:\x07|\x1b\\|\Z)"  # titles, links and other strings
    r"|\x1b\[[0-?]*[ -/]*\Z|\x1b[ -/]*[0-~]?"
    r"|(?P<control>[\x00-\x1f\x7f-\x9f])"
)
_SPECIAL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
_COLOURS = (  # readable on light and dark
    "#7d8590",
    "var(--jp-error-color1, #d1242f)",
    "var(--jp-success-color1, #2e8b3d)",
    "var(--jp-warn-color1, #a06a00)",
    "var(--jp-brand-color1, #2f74c0)",
    "#b565c9",
    "var(--jp-info-color1, #138a8f)",
    "#8b949e",
)
_STEPS = (0, 95, 135, 175, 215, 255)


@dataclass(frozen=True, slots=True)
class Style:
    """How a character is drawn; colours are of CSS."""

    colour: str = ""
    ground: str = ""
    bold: bool = False
    italic: bool = False
    underlined: bool = False

    @property
    def css(self) -> str:
        """The same as declarations, "" if it is plain."""
        parts = (
            self.colour and f"color:{self.colour}",
            self.ground and f"background:{self.ground}",
            self.bold and "font-weight:bold",
            self.italic and "font-style:italic",
            self.underlined and "text-decoration:underline",
        )
        return ";".join(part for part in parts if part)


PLAIN = Style()


@dataclass(slots=True)
class _Row:
    characters: list[str] = field(default_factory=list)
    styles: list[Style] = field(default_factory=list)

    def put(self, column: int, text: str, style: Style) -> None:
        self.characters[column : column + len(text)] = text
        self.styles[column : column + len(text)] = [style] * len(text)

    def erase(self, begin: int, end: int | None) -> None:
        if end is None:
            del self.characters[begin:], self.styles[begin:]
        else:
            end = min(end, len(self.characters))
            if end > begin:
                self.put(begin, " " * (end - begin), PLAIN)


class _Screen:
    def __init__(self) -> None:
        self.rows = [_Row()]
        self._row = self._column = 0
        self._blanks = BLANKS
        self._style = PLAIN

    def read(self, text: str) -> None:
        at = 0
        for token in _TOKEN.finditer(text):
            self._write(text[at : token.start()])
            at = token.end()
            if token["control"]:
                self._control(token["control"])
            elif token["final"] == "m":
                self._style = _styled(self._style, _numbers(token["numbers"]))
            elif token["final"]:
                self._move(token["final"], _numbers(token["numbers"]))
        self._write(text[at:])

    def _write(self, text: str) -> None:
        if not text:
            return
        row = self.rows[self._row]
        missing = self._column - len(row.characters)
        if missing > self._blanks:
            self._column = len(row.characters)
        elif missing > 0:
            self._blanks -= missing
            row.put(len(row.characters), " " * missing, PLAIN)
        row.put(self._column, text, self._style)
        self._column += len(text)

    def _control(self, character: str) -> None:
        if character == "\n":
            self._row += 1
            self._column = 0
            if self._row == len(self.rows):
                self.rows.append(_Row())
        elif character == "\r":
            self._column = 0
        elif character == "\b":
            self._column = max(0, self._column - 1)
        elif character == "\t":
            self._write(" " * (TAB - self._column % TAB))

    def _move(self, final: str, numbers: Sequence[int]) -> None:
        first = numbers[0]
        count = max(1, first)
        if final in "AF":
            self._row = max(0, self._row - count)
        elif final in "BE":
            self._row = min(len(self.rows) - 1, self._row + count)
        elif final == "C":
            self._column = max(self._column, min(COLUMNS, self._column + count))
        elif final == "D":
            self._column = max(0, self._column - count)
        elif final == "G":
            self._column = min(COLUMNS, count - 1)
        elif final == "K":
            begin, end = ((self._column, None), (0, self._column), (0, None))[min(first, 2)]
            self.rows[self._row].erase(begin, end)
        elif final == "J":
            self._erase_rows(first)
        if final in "EF":
            self._column = 0

    def _erase_rows(self, what: int) -> None:
        if what >= 2:
            self.rows, self._row, self._column = [_Row()], 0, 0
        elif what == 0:
            del self.rows[self._row + 1 :]
            self.rows[self._row].erase(self._column, None)


def _numbers(text: str) -> list[int]:
    return [int(part[:6]) if part else 0 for part in re.split("[;:]", text)]


def _styled(style: Style, numbers: Sequence[int]) -> Style:
    """Returns a style after a sequence of colours and the like."""
    left = iter(numbers)
    for number in left:
        if number == 0:
            style = PLAIN
        elif number in {1, 22}:
            style = replace(style, bold=number == 1)
        elif number in {3, 23}:
            style = replace(style, italic=number == 3)
        elif number in {4, 24}:
            style = replace(style, underlined=number == 4)
        elif number in {38, 39} or 30 <= number <= 37 or 90 <= number <= 97:
            style = replace(style, colour=_colour(number, left))
        elif number in {48, 49} or 40 <= number <= 47 or 100 <= number <= 107:
            style = replace(style, ground=_colour(number - 10, left))
    return style


def _colour(number: int, left: Iterator[int]) -> str:
    if number == 38:
        kind = next(left, 0)
        return _of_palette(next(left, 0)) if kind == 5 else _rgb(itertools.islice(left, 3 * (kind == 2)))
    return "" if number == 39 else _COLOURS[number % 10]


def _of_palette(number: int) -> str:
    if number < 16:
        return _COLOURS[number % 8]
    if number >= 232:
        return _rgb([8 + 10 * (min(number, 255) - 232)] * 3)
    number -= 16
    return _rgb(_STEPS[part] for part in (number // 36, number // 6 % 6, number % 6))


def _rgb(parts: object) -> str:
    numbers = [min(255, int(part)) for part in parts]  # type: ignore[attr-defined]
    return "rgb({},{},{})".format(*numbers) if len(numbers) == 3 else ""


def rows(text: str) -> list[list[tuple[str, Style]]]:
    """Returns what stands on the terminal, row by row, each in parts of one style."""
    if not _SPECIAL.search(text):
        return [[(line, PLAIN)] if line else [] for line in text.split("\n")]
    screen = _Screen()
    screen.read(text)
    return [_parts(row) for row in screen.rows]


def _parts(row: _Row) -> list[tuple[str, Style]]:
    if all(style is PLAIN for style in row.styles):
        line = "".join(row.characters).rstrip(" ")
        return [(line, PLAIN)] if line else []
    pairs = itertools.groupby(zip(row.characters, row.styles, strict=True), key=lambda pair: pair[1])
    return [("".join(character for character, _ in group), style) for style, group in pairs]


def plain(text: str) -> str:
    """Returns what stands on the terminal as text."""
    if not _SPECIAL.search(text):
        return text
    return "\n".join("".join(part for part, _ in row) for row in rows(text))


def last_rows(text: str, count: int) -> str:
    """Returns the last rows of the terminal as HTML, all of it escaped, long rows cut.

    Args:
        text: As it was printed; of very much the end is looked at.
        count: How many rows at most.
    """
    found = rows(text[-READ_CHARS:])
    while found and not found[-1]:
        found.pop()
    return "\n".join(map(_markup, found[-count:])) if count > 0 else ""


def _markup(row: Sequence[tuple[str, Style]]) -> str:
    markup, room = "", WIDTH
    for text, style in row:
        shown = html.escape(text[:room])
        room -= len(text)
        markup += f'<span style="{style.css}">{shown}</span>' if style.css else shown
        if room < 0:
            return markup + "…"
    return markup
