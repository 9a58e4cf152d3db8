"""This module is the outlet: where a panel's display data goes, to outputs under its cell and to pages.

A page with the plugin draws the widget inside the panel's first output, which needs to be told only which
widget that is; other front ends need an output for it. A run of before has its outputs already, and nobody
can update them by their display ids any more: pages put its end there, and what its tasks gave.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from compute_nb.notebook.memory.page import SNAPSHOT_PACE_S, Page
from compute_nb.notebook.view.look import DEAD
from compute_nb.tasks import OPEN, TaskState

PANEL_MIME = "application/vnd.compute-nb.panel+json"
LIVE_MIME = "application/vnd.compute-nb.live+json"
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"

Publish = Callable[[Any, Any, str, bool], None]


class Outlet:
    """Takes what a panel publishes, and tells pages how the run stands meanwhile. On the panel's threads.

    Args:
        bundle: Makes the display data of the run as it stands now.
        resumed: Whether the run was submitted before this kernel began.
        ended: Whether the run has no open task now.
        over: Called with each display data of an end.
    """

    def __init__(
        self,
        group_id: str,
        publish: Publish,
        page: Page,
        bundle: Callable[[], Any],
        ended: Callable[[], bool],
        *,
        resumed: bool = False,
        over: Callable[[], None] = lambda: None,
    ) -> None:
        self._group_id, self._publish, self._page = group_id, publish, page
        self._bundle, self._ended, self._resumed = bundle, ended, resumed
        self._over = over
        self._silent: set[str] = set()
        self._view = self._model_id = ""
        self._laid: tuple[Any, Any] | None = None  # a view that may be shown elsewhere

    def __call__(self, data: Any, metadata: Any, display_id: str, update: bool) -> None:
        """Sends display data: (data, metadata, display_id, is an update)."""
        if PANEL_MIME in data:
            self._take_bundle(data, metadata, display_id, update)
        elif LIVE_MIME in data:
            self._take_view(data, metadata, display_id, update)
        else:
            if display_id == self._view:
                self._page.unbind(self._group_id, self._model_id)
            elif self._resumed and WIDGET_MIME not in data:
                self._page.results(self._group_id, data)
            if not self._resumed and display_id not in self._silent:
                self._publish(data, metadata, display_id, update)

    def counted(self, counts: Mapping[TaskState, int]) -> None:
        """Tells pages how many tasks are in which state, as the panel has drawn it."""
        self._page.counts(self._group_id, {state.value: count for state, count in counts.items() if count})

    def draw(self) -> int:
        """Tells pages how the run stands, while the panel says so in its widget only."""
        self._page.snapshot(self._group_id, lambda: None if self._ended() else self._bundle())
        return 0

    def weight(self) -> int:
        """Returns 0: the page sends it in its own turn."""
        return 0

    def next_draw_s(self) -> float | None:
        """Returns when to tell it again; None: never."""
        return None if self._ended() else SNAPSHOT_PACE_S

    def _take_bundle(self, data: Any, metadata: Any, display_id: str, update: bool) -> None:
        if not self._resumed:
            if not (self._view in self._silent if self._view else self._page.known):
                data = {**data, "text/html": data.get("text/html", "") + DEAD}
            self._publish(data, metadata, display_id, update)
            self._page.shown(self._group_id)
        if self._ended() and _shows_end(data):  # it may have ended since the data was made
            self._page.snapshot(self._group_id, lambda: data, ended=True)
            self._over()

    def _take_view(self, data: Any, metadata: Any, display_id: str, update: bool) -> None:
        self._model_id = data[WIDGET_MIME]["model_id"]
        if not update:
            self._view = display_id
            if self._resumed or self._page.known:
                self._silent.add(display_id)
        self._page.bind(self._group_id, self._model_id)
        if display_id not in self._silent:
            self._publish(data, metadata, display_id, update)
        elif self._resumed:
            self._laid = data, metadata

    def lay(self) -> None:
        """Shows the widget of an open run of before under the running cell."""
        if self._laid is not None and not self._ended():
            self._silent.discard(self._view)
            self._publish(*self._laid, self._view, False)

    def take_down(self) -> None:
        """Empties what `lay` has shown."""
        if self._resumed and self._view and self._view not in self._silent:
            self._silent.add(self._view)
            self._publish({LIVE_MIME: {"id": ""}, "text/plain": ""}, {}, self._view, True)


def _shows_end(data: Any) -> bool:
    return not any(state.value in data[PANEL_MIME].get("counts", {}) for state in OPEN)
