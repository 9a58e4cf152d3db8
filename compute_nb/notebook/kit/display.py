"""This module is the display data of objects, as a notebook would make it."""

from __future__ import annotations

import base64
import json
import traceback
from collections.abc import Callable
from typing import Any

from .figures import figure_data, is_figure
from .items import items_of_cell

PICTURE_LIMIT = 4_000_000  # characters of one picture or text of display data
ROWS_SHOWN = 1_000
REPRS = (
    ("text/html", "_repr_html_"),
    ("text/markdown", "_repr_markdown_"),
    ("image/svg+xml", "_repr_svg_"),
    ("image/png", "_repr_png_"),
    ("image/jpeg", "_repr_jpeg_"),
    ("text/latex", "_repr_latex_"),
    ("application/json", "_repr_json_"),
)


def bundle(thing: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the display data of an object and its metadata, as a notebook would make it."""
    data: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    if not isinstance(thing, type):
        asked = {"include": None, "exclude": None}
        _ask(thing, "_repr_mimebundle_", lambda found: _take_bundle(found, data, metadata), asked)
        for mime, method in REPRS:
            if mime not in data:
                _ask(thing, method, lambda found, mime=mime: _take(mime, found, data, metadata))  # type: ignore[misc]
    if is_figure(thing) and "image/png" not in data:
        data.update(figure_data(thing))
    data.setdefault("text/plain", plain(thing))
    kept = {mime: value for mime, value in data.items() if _fits(mime, value)}
    return kept, {mime: metadata[mime] for mime in kept if mime in metadata}


def _ask(thing: Any, method: str, take: Callable[[Any], None], asked: Any = None) -> None:
    if not callable(getattr(type(thing), method, None)):
        return
    try:
        found = getattr(thing, method)(**(asked or {}))
        if found is not None:
            take(found)
    except Exception:  # noqa: BLE001 - a value's own code may raise anything
        traceback.print_exc()


def _take_bundle(found: Any, data: dict[str, Any], metadata: dict[str, Any]) -> None:
    if isinstance(found, tuple):
        metadata.update(found[1])
        found = found[0]
    for mime, value in found.items():
        _take(mime, value, data, metadata)


def _take(mime: str, found: Any, data: dict[str, Any], metadata: dict[str, Any]) -> None:
    if isinstance(found, tuple):
        found, metadata[mime] = found
    data[mime] = base64.b64encode(found).decode() if isinstance(found, bytes) else found


def _fits(mime: str, value: Any) -> bool:
    if "javascript" in mime:
        return False
    try:
        return len(json.dumps(value)) <= PICTURE_LIMIT
    except (TypeError, ValueError):
        return False


def plain(thing: Any) -> str:
    """Returns the text of an object; of a very long collection the beginning."""
    try:
        if type(thing) in (list, tuple, set, frozenset, dict) and len(thing) > ROWS_SHOWN:
            some = [item for _, item in zip(range(ROWS_SHOWN), thing)]  # noqa: B905 - Python 3.8
            head = {key: thing[key] for key in some} if isinstance(thing, dict) else type(thing)(some)
            return f"{repr(head)[:-1]}, ...{repr(head)[-1]}"
        return repr(thing)
    except Exception as error:  # noqa: BLE001 - a value's own code may raise anything
        return f"<{type(thing).__name__} whose repr failed: {type(error).__name__}>"


def display(*things: Any, raw: bool = False, metadata: Any = None, **_: Any) -> None:
    """Stands for IPython's `display` on a worker."""
    for thing in things:
        data, made = (dict(thing), {}) if raw else bundle(thing)
        items = items_of_cell()
        if items is not None:
            items.show(data, dict(made, **(metadata or {})))
