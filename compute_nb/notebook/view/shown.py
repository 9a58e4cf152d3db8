"""This module is what a run shows: displays of its tasks, in order with their text, as one ordinary output.

When a cell has returned, outputs of it can be changed and none can be added. So what came of its tasks takes
the place of one output: a lone display as it is, of whatever type; several as HTML, each in its own form.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from compute_nb.future import ComputeFuture
from compute_nb.notebook.runs.results import facts, harmless
from compute_nb.notebook.runs.run import Run
from compute_nb.notebook.tables import marked
from compute_nb.notebook.view import look, terminal

MOST = 12  # displays of one task that are shown by themselves
MOST_OF_GROUP = 6
LOOKED_AT = 500  # tasks of a group; opening 100,000 results takes a while
ROWS = 200  # of one piece of text
MAX_CHARS = 2_000_000  # of one display
MAX_CHARS_IN_ALL = 12_000_000

_TEXT = (
    "margin:0;padding:2px 0;white-space:pre-wrap;overflow-wrap:anywhere;background:none;color:inherit;"
    "font-family:var(--jp-code-font-family, monospace);font-size:var(--jp-code-font-size, 13px)"
)
_STDERR = "background:var(--jp-rendermime-error-background, rgba(220,80,80,.15))"
_BESIDE = "display:inline-block;vertical-align:top;margin:0 16px 8px 0;max-width:100%"
_ASIDE = "opacity:.7;font-size:12px;font-family:var(--jp-ui-font-family, system-ui, sans-serif)"


class Piece(NamedTuple):
    """Some printed text of a task, or one display of it.

    Attributes:
        text: "" for a display.
        stream: "stdout" or "stderr"; "" for a display.
        data: By MIME type, without what could run here; {} for text.
    """

    text: str
    stream: str
    data: Mapping[str, Any]
    metadata: Mapping[str, Any]


def pieces(future: ComputeFuture) -> Iterator[Piece]:
    """Yields what a task that has ended printed and displayed, in order; the display of its value is last."""
    told = facts(future)
    for item in told.get("items") or ():
        data, metadata = item.get("data"), item.get("metadata")
        if isinstance(data, dict):
            yield Piece("", "", harmless(data), metadata if isinstance(metadata, dict) else {})
        elif item.get("stream") in ("stdout", "stderr"):
            yield Piece(str(item.get("text", "")), str(item["stream"]), {}, {})
    value = told.get("display")
    if value:
        yield Piece("", "", harmless(value[0]), value[1])


def displays(future: ComputeFuture) -> Iterator[Piece]:
    """Yields all that a task displayed, in order, without its text."""
    return (piece for piece in pieces(future) if piece.data)


def holds_text(run: Run) -> bool:
    """Returns whether what a run of one task printed is shown among its displays, to be in their order."""
    return len(run.futures) == 1 and _lone(found := list(pieces(run.futures[0]))) is None and _displays(found)


def results_bundle(run: Run) -> Mapping[str, Any] | None:
    """Returns display data of what the tasks drew and gave, as one output; None if there is nothing."""
    if len(run.futures) != 1:
        return _of_group(run, _as_html)
    found = list(pieces(run.futures[0]))
    if not _displays(found):
        return None
    lone = _lone(found)
    return lone.data if lone is not None else _of_one(run, found, _as_html)


def plain_results(run: Run) -> str:
    """Returns the same as HTML in which nothing is a task's own markup, for where that would be run."""
    if len(run.futures) != 1:
        shown = _of_group(run, _as_plain_html)
    else:
        found = list(pieces(run.futures[0]))
        lone = _lone(found)
        found = found if lone is None else [lone]
        shown = _of_one(run, found, _as_plain_html) if _displays(found) else None
    return "" if shown is None else str(shown["text/html"])


def _displays(found: Sequence[Piece]) -> bool:
    return any(piece.data for piece in found)


def _lone(found: Sequence[Piece]) -> Piece | None:
    """Returns the display of a task that has no other, and nothing printed after it."""
    if not found or not found[-1].data or _displays(found[:-1]):
        return None
    last = found[-1]
    has_size = any(mime.startswith("image/") for mime in last.metadata)  # metadata of an output stay
    return last if not has_size and _size(last) <= MAX_CHARS else None


def _of_one(run: Run, found: Sequence[Piece], form: Callable[[Piece], str]) -> Mapping[str, Any]:
    sheet = _Sheet(form, MOST)
    for piece in found:
        sheet.add(piece)
    return sheet.bundle(f"%compute show {run.handle}")


def _of_group(run: Run, form: Callable[[Piece], str]) -> Mapping[str, Any] | None:
    sheet = _Sheet(form, MOST_OF_GROUP)
    for index, future in enumerate(run.futures[:LOOKED_AT]):
        value_alone = facts(future).get("display")
        for piece in displays(future):
            if value_alone and piece.data == harmless(value_alone[0]) and not _is_picture(piece):
                continue  # values of a group are its result, not its output
            sheet.add(piece, run.place(index))
    return sheet.bundle(f"%compute show {run.handle}[i]") if sheet.count else None


def _is_picture(piece: Piece) -> bool:
    return any(mime.startswith("image/") for mime in piece.data)


class _Sheet:
    """HTML and text of several pieces, bounded."""

    def __init__(self, form: Callable[[Piece], str], most: int) -> None:
        self._form, self._most = form, most
        self._markup: list[str] = []
        self._plain: list[str] = []
        self._head = ""
        self._room = MAX_CHARS_IN_ALL
        self.count = 0

    def add(self, piece: Piece, head: str = "") -> None:
        """Adds a piece, below the name of its task if that is another one."""
        if piece.data:
            self.count += 1
            if self.count > self._most:
                return
        if head and head != self._head:
            opened = "" if not self._head else "</div>"
            self._head = head
            self._markup.append(
                f'{opened}<div style="{_BESIDE}"><div style="{_ASIDE}">{html.escape(head)}</div>'
            )
            self._plain.append(head)
        size = _size(piece)
        if size > min(MAX_CHARS, self._room):
            piece = piece._replace(data={"text/plain": f"{_plain(piece)[:1000]} ({size:,} characters)"})
            size = _size(piece)
        self._room -= size
        self._markup.append(self._form(piece))
        self._plain.append(_plain(piece))

    def bundle(self, more: str) -> Mapping[str, Any]:
        """Returns all of it as one display; `more` is the line that shows what is left out."""
        if self._head:
            self._markup.append("</div>")
        if self.count > self._most:
            told = f"and {self.count - self._most} more: `{more}`"
            self._markup.append(f'<div style="{_ASIDE}">{marked(told)}</div>')
            self._plain.append(told)
        return {"text/html": "".join(self._markup), "text/plain": "\n".join(self._plain)}


def _size(piece: Piece) -> int:
    return sum(len(value if isinstance(value, str) else json.dumps(value)) for value in piece.data.values())


def _plain(piece: Piece) -> str:
    return terminal.plain(piece.text).rstrip("\n") if piece.text else str(piece.data.get("text/plain", ""))


def _as_html(piece: Piece) -> str:
    """Returns a piece in the form that a notebook prefers."""
    for mime, form in _FORMS.items():
        if mime in piece.data and isinstance(piece.data[mime], str):
            return f"<div>{form(piece, mime)}</div>"
    if "application/json" in piece.data:
        return _preformatted(html.escape(json.dumps(piece.data["application/json"], indent=2)))
    return _as_text(piece)


def _as_plain_html(piece: Piece) -> str:
    if isinstance(piece.data.get("image/png"), str):
        return f"<div>{_picture(piece, 'image/png')}</div>"
    return _as_text(piece)


def _as_text(piece: Piece) -> str:
    if piece.data:
        return _preformatted(html.escape(_plain(piece)))
    return _preformatted(terminal.last_rows(piece.text, ROWS), _STDERR if piece.stream == "stderr" else "")


def _preformatted(markup: str, also: str = "") -> str:
    return look.unbroken(f'<pre style="{_TEXT};{also}">{markup}</pre>') if markup else ""


def _own_markup(piece: Piece, mime: str) -> str:
    return str(piece.data[mime])


def _escaped(piece: Piece, mime: str) -> str:
    return f'<span style="white-space:pre-wrap">{html.escape(piece.data[mime])}</span>'


def _picture(piece: Piece, mime: str) -> str:
    data, size = piece.data[mime], piece.metadata.get(mime)
    if mime == "image/svg+xml":  # as a picture it can run nothing
        data = base64.b64encode(data.encode("utf-8", "replace")).decode()
    sizes = "".join(
        f' {name}="{html.escape(str(size[name]))}"'
        for name in ("width", "height")
        if isinstance(size, dict) and isinstance(size.get(name), int | float | str)
    )
    alt = html.escape(_plain(piece)[:200])
    return f'<img alt="{alt}" src="data:{mime};base64,{html.escape(data)}"{sizes} style="max-width:100%">'


_FORMS: Mapping[str, Callable[[Piece, str], str]] = {
    "text/html": _own_markup,
    "text/markdown": _escaped,
    "image/svg+xml": _picture,
    "text/latex": _escaped,  # the page sets it, as in all HTML output
    "image/png": _picture,
    "image/jpeg": _picture,
}
