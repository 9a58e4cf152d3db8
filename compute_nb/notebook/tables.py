"""This module is the table: rows as HTML for a notebook, and as aligned text for everything else."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_TEXT = "var(--jp-ui-font-color1, inherit)"
_LINE = "var(--jp-border-color2, rgba(128,128,128,.35))"
_BOX = (
    "font-family:var(--jp-ui-font-family, system-ui, sans-serif);font-size:13px;line-height:1.5;"
    f"color:{_TEXT};overflow-wrap:anywhere"
)
_TABLE = "border-collapse:collapse;margin:4px 0;table-layout:auto;font-size:13px"
_CELL = (
    f"padding:2px 9px 2px 0;border:0;border-bottom:1px solid {_LINE};background:transparent;"
    "vertical-align:top;max-width:46em;overflow-wrap:break-word"
)
_LONG = 56  # characters; what is shorter stays on one line
_TEXT_WIDTH, _HTML_WIDTH = 80, 100  # characters: a terminal, a JupyterLab of 1280 px beside its file browser
_GAP = 2
_INDENT = "    "
_NONE = "-"
_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CODE = re.compile("`([^`]+)`")
_CODE_STYLE = (
    "font-family:var(--jp-code-font-family, monospace);font-size:12px;background:transparent;"
    "color:inherit;padding:0"
)
_ASIDE = "opacity:.75;font-size:12px"
_BELOW = f"{_CELL};text-align:left;padding-left:1em;{_ASIDE}"
# A state's glyph says the same as its colour, for who sees no colours and for text.
_TONES = {
    "●": "var(--jp-success-color1, #2e7d32)",
    "▸": "var(--jp-brand-color1, #1976d2)",
    "✓": "var(--jp-success-color1, #2e7d32)",
    "○": "var(--jp-ui-font-color2, #757575)",
    "✗": "var(--jp-error-color1, #c62828)",
    "▲": "var(--jp-warn-color0, #b26a00)",
    "–": "var(--jp-warn-color0, #b26a00)",
    "!": "var(--jp-warn-color0, #b26a00)",
}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts under a head.

    Attributes:
        title: What stands above it.
        lines: What stands below it, a line each.
        strong: Places of rows that are marked.
        numbers: Places of columns that are aligned to the right.
        folds: How many of the last columns stand below their rows instead, where there is no room.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    lines: Sequence[str] = ()
    strong: frozenset[int] = field(default_factory=frozenset)
    numbers: frozenset[int] = field(default_factory=frozenset)
    folds: int = 0

    def text(self) -> str:
        """Returns it as aligned text."""
        parts = [self.title] if self.title else []
        if self.rows:
            parts += self._text_rows()
        return "\n".join([*parts, *self.lines])

    def html(self) -> str:
        """Returns it as HTML, all of it escaped."""
        title = f"<div><b>{html.escape(self.title)}</b></div>" if self.title else ""
        lines = "".join(
            f'<div style="{"" if line[:1] in _TONES else _ASIDE}">{_toned(line)}</div>' for line in self.lines
        )
        return f'<div style="{_BOX}">{title}{self._rows()}{lines}</div>'

    def _text_rows(self) -> list[str]:
        kept = self._room(_TEXT_WIDTH)
        rows = [self.head, *self.rows] if any(self.head) else self.rows
        lines = iter(_aligned([row[:kept] for row in rows], self.numbers))
        told = [next(lines)] if any(self.head) else []
        for row in self.rows:
            told.append(next(lines))
            told += _filled(self._below(row, kept))
        return told

    def _room(self, width: int) -> int:
        """Returns how many columns fit into so many characters, all but the last `folds` at least."""
        widths = _widths([self.head, *self.rows])
        kept = len(widths)
        while kept > len(widths) - self.folds and sum(widths[:kept]) + _GAP * (kept - 1) > width:
            kept -= 1
        return kept

    def _below(self, row: Sequence[str], kept: int) -> list[str]:
        """Returns what a row says in the columns that have no room."""
        rest = zip(self.head[kept:], row[kept:], strict=True)
        return [f"{name} {text}" for name, text in rest if text != _NONE]

    def _rows(self) -> str:
        if not self.rows:
            return ""
        kept = self._room(_HTML_WIDTH)
        head = ""
        if any(self.head):
            cells = (
                f'<th scope="col" style="{self._style(n)};{_ASIDE};font-weight:600">{html.escape(t)}</th>'
                for n, t in enumerate(self.head[:kept])
            )
            head = f'<thead><tr style="background:transparent">{"".join(cells)}</tr></thead>'
        body = "".join(self._row(place, row, kept) for place, row in enumerate(self.rows))
        return (
            f'<div style="overflow-x:auto"><table style="{_TABLE}">{head}<tbody>{body}</tbody></table></div>'
        )

    def _row(self, place: int, row: Sequence[str], kept: int) -> str:
        below = self._below(row, kept)
        open_end = ";border-bottom:0" if below else ""
        strong = ";font-weight:600" if place in self.strong else ""
        cells = "".join(
            f'<td style="{self._style(n, text)}{open_end}{"" if n else strong}">{_toned(text)}</td>'
            for n, text in enumerate(row[:kept])
        )
        told = f'<td colspan="{kept}" style="{_BELOW}">{marked(", ".join(below))}</td>' if below else ""
        return "".join(f'<tr style="background:transparent">{one}</tr>' for one in (cells, told) if one)

    def _style(self, column: int, text: str = "") -> str:
        side = "right" if column in self.numbers else "left"
        small = ";font-size:11px" if _ID.fullmatch(text) else ""
        return f"{_CELL};text-align:{side};white-space:{'nowrap' if len(text) < _LONG else 'normal'}{small}"


def _toned(text: str) -> str:
    tone = _TONES.get(text[:1])
    if tone is None:
        return marked(text)
    return f'<span style="color:{tone}">{text[:1]}</span>{marked(text[1:])}'


def marked(text: str) -> str:
    """Returns text in which what stands between backticks is code."""
    return _CODE.sub(f'<code style="{_CODE_STYLE}">\\1</code>', html.escape(text))


def _aligned(rows: Sequence[Sequence[str]], numbers: frozenset[int]) -> list[str]:
    widths = _widths(rows)
    return [
        (" " * _GAP)
        .join(
            f"{cell:>{width}}" if column in numbers else f"{cell:<{width}}"
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        .rstrip()
        for row in rows
    ]


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _filled(parts: Sequence[str]) -> list[str]:
    """Returns parts in lines as wide as a terminal, none of them broken."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(", ,") + len(part) <= _TEXT_WIDTH:
            lines[-1] += f", {part}"
        else:
            lines[-1:] = [*(f"{line}," for line in lines[-1:]), _INDENT + part]
    return lines
