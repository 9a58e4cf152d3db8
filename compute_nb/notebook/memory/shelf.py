"""This module is the shelf: earlier runs, folded under the cell that loaded the extension.

It serves front ends without the plugin, which can't draw them under their own cells. What stays is HTML with
a fold that needs no kernel; widgets of runs that go on follow it, and the page shows and hides them with it.
A page with the plugin draws none of this, and the outputs are emptied when it answers.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compute_nb.notebook.memory.outlet import LIVE_MIME, Outlet, Publish
from compute_nb.notebook.memory.page import Page
from compute_nb.notebook.view.drawing import folded, small
from compute_nb.notebook.view.look import BOX, DEAD, SUMMARY, unbroken

_FOLD = (
    "<style>.jp-OutputArea:has(.cnb-shelf:not([open])) .cnb-box { display: none }</style>"  # the widgets too
)


@dataclass(frozen=True, slots=True)
class _Shelved:
    group_id: str
    outlet: Outlet
    bundle: Callable[[], Mapping[str, Any]]
    ended: Callable[[], bool]


class Shelf:
    """The earlier runs of one kernel; for any thread.

    Args:
        publish: Sends display data: (data, metadata, display_id, is an update).
        page: Says whether a page with the plugin draws them.
    """

    def __init__(self, publish: Publish, page: Page) -> None:
        self._publish, self._page = publish, page
        self._lock = threading.Lock()
        self._runs: list[_Shelved] = []
        self._drifted: Mapping[str, Sequence[str] | None] = {}
        self._display_id = ""

    def put(
        self,
        group_id: str,
        outlet: Outlet,
        bundle: Callable[[], Mapping[str, Any]],
        ended: Callable[[], bool],
    ) -> None:
        """Adds a run that was taken up.

        Args:
            bundle: Makes the display data of the run as it stands now.
            ended: Whether it has no open task.
        """
        with self._lock:
            self._runs.append(_Shelved(group_id, outlet, bundle, ended))

    def lay(self, drifted: Mapping[str, Sequence[str] | None]) -> None:
        """Shows them under the running cell, unless a page shows them elsewhere.

        Args:
            drifted: How the cells of some groups have changed since; None where nobody knows what ran.
        """
        with self._lock:
            self._drifted = drifted
            if self._page.known or not self._runs:
                return
            self._display_id = uuid.uuid4().hex
            self._publish(self._data(), {}, self._display_id, False)
            for one in self._runs:
                one.outlet.lay()

    def tell_end(self) -> None:
        """Puts the ends into what stays, once no run is open; before, the widgets tell them."""
        with self._lock:
            if self._display_id and all(one.ended() for one in self._runs):
                self._publish(self._data(), {}, self._display_id, True)

    def clear(self) -> None:
        """Empties the outputs: a page shows the runs under their own cells."""
        with self._lock:
            if self._display_id:
                self._publish({LIVE_MIME: {"id": ""}, "text/plain": ""}, {}, self._display_id, True)
                self._display_id = ""
            for one in self._runs:
                one.outlet.take_down()

    def _data(self) -> Mapping[str, Any]:
        made = [(one.bundle(), one.ended(), self._drift(one.group_id)) for one in self._runs]
        count = len(made)
        summary = "1 earlier run of this notebook" if count == 1 else f"{count} earlier runs of this notebook"
        panels = "".join(
            # Not as a panel at its end under its own cell, where that hides parts of the widget.
            f'<div class="{"" if over else "cnb-begun"}">{html_of(data)}</div>{drift}'
            for data, over, drift in made
        )
        head = f'<summary style="{SUMMARY}">{summary}</summary>'
        fold = f'<details class="cnb-panel cnb-shelf" style="{BOX}">{head}'
        return {
            LIVE_MIME: {"id": ""},
            "text/html": unbroken(f"{fold}{panels}</details>") + _FOLD + DEAD,
            "text/plain": "\n".join([f"{summary}:", *(f"  {data['text/plain']}" for data, *_ in made)]),
        }

    def _drift(self, group_id: str) -> str:
        if group_id not in self._drifted:
            return ""
        lines = self._drifted[group_id]
        told = "The source of its cell has changed since this run."
        return small(told) if lines is None else folded(told, "\n".join(lines))


def html_of(data: Mapping[str, Any]) -> str:
    """Returns a panel's HTML without the mark of its end."""
    return str(data["text/html"]).replace("cnb-panel cnb-final", "cnb-panel", 1)
