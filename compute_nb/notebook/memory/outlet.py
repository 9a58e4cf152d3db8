"""This module is the outlet: where a panel's display data goes, to outputs under its cell and to pages.

A page with the plugin draws the widget inside the panel's first output, which needs to be told only which
widget that is; other front ends need an output for it. A run of before has its outputs already, and nobody
can update them by their display ids any more: pages put its end there, and what its tasks gave.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from compute_nb.notebook.memory.page import SNAPSHOT_PACE_S, Page
from compute_nb.tasks import TaskState

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
    ) -> None:
        self._group_id, self._publish, self._page = group_id, publish, page
        self._bundle, self._ended, self._resumed = bundle, ended, resumed
        self._silent: set[str] = set()
        self._view = self._model_id = ""

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
        if not self._ended():
            self._page.snapshot(self._group_id, self._bundle)
        return 0

    def weight(self) -> int:
        """Returns 0: the page sends it in its own turn."""
        return 0

    def next_draw_s(self) -> float | None:
        """Returns when to tell it again; None: never."""
        return None if self._ended() else SNAPSHOT_PACE_S

    def _take_bundle(self, data: Any, metadata: Any, display_id: str, update: bool) -> None:
        if not self._resumed:
            self._publish(data, metadata, display_id, update)
            self._page.shown(self._group_id)
        if self._ended():
            self._page.snapshot(self._group_id, lambda: data, ended=True)

    def _take_view(self, data: Any, metadata: Any, display_id: str, update: bool) -> None:
        self._model_id = data[WIDGET_MIME]["model_id"]
        if not update:
            self._view = display_id
            if self._resumed or self._page.known:
                self._silent.add(display_id)
        self._page.bind(self._group_id, self._model_id)
        if display_id not in self._silent:
            self._publish(data, metadata, display_id, update)
