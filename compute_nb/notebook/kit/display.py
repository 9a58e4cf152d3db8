"""This module is the display data of objects, as a notebook would make it."""

from __future__ import annotations

import base64
import os
import traceback
from collections.abc import Callable
from typing import Any

from .figures import figure_data, is_figure
from .items import fitting, items_of_cell

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
    kept = fitting(data, thing)
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


class Handle:
    """Stands for IPython's handle of a display with an id."""

    def __init__(self, display_id: str) -> None:
        self.display_id = display_id

    def __repr__(self) -> str:
        return f"<DisplayHandle display_id={self.display_id}>"

    def display(self, thing: Any, **options: Any) -> None:
        """Shows a thing under this id."""
        display(thing, display_id=self.display_id, **options)

    def update(self, thing: Any, **options: Any) -> None:
        """Shows a thing in the place of what has this id."""
        update_display(thing, display_id=self.display_id, **options)


def display(
    *things: Any,
    include: Any = None,
    exclude: Any = None,
    metadata: Any = None,
    transient: Any = None,
    display_id: Any = None,
    raw: bool = False,
    clear: bool = False,
    **options: Any,
) -> Handle | None:
    """Stands for IPython's `display` on a worker."""
    if clear:
        clear_output(wait=True)
    if display_id is True:
        display_id = os.urandom(16).hex()
    update = bool(options.get("update"))
    for thing in things:
        if not raw and shows_itself(thing):
            continue
        data, made = (dict(thing), {}) if raw else bundle(thing)
        if raw:
            data = fitting(data, thing)
        wanted = [mime for mime in data if (not include or mime in include) and mime not in (exclude or ())]
        _publish({mime: data[mime] for mime in wanted}, dict(made, **(metadata or {})), display_id, update)
    return Handle(display_id) if display_id and not update else None


def update_display(thing: Any, *, display_id: Any, **options: Any) -> None:
    """Stands for IPython's `update_display`: within the cell that has displayed it."""
    display(thing, display_id=display_id, update=True, **options)


def publish_display_data(
    data: Any, metadata: Any = None, *, transient: Any = None, update: bool = False, **_: Any
) -> None:
    """Stands for IPython's `publish_display_data`."""
    _publish(fitting(dict(data), data), dict(metadata or {}), (transient or {}).get("display_id"), update)


def clear_output(wait: bool = False) -> None:
    """Stands for IPython's `clear_output`: what the cell has printed and displayed is gone."""
    items = items_of_cell()
    if items is not None:
        items.clear(wait)


def _publish(data: dict[str, Any], metadata: dict[str, Any], display_id: Any, update: bool) -> None:
    items = items_of_cell()
    if items is not None and data:
        items.show(data, metadata, display_id and str(display_id), update)


def shows_itself(thing: Any) -> bool:
    """Has a thing display itself, if it is one that does."""
    if isinstance(thing, type) or not callable(getattr(type(thing), "_ipython_display_", None)):
        return False
    try:
        thing._ipython_display_()
    except NotImplementedError:
        return False
    except Exception:  # noqa: BLE001 - a value's own code may raise anything
        traceback.print_exc()
    return True
