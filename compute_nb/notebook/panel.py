"""This module is the panel: how a run stands, under its own cell, while later cells are busy too.

News comes on the watcher's thread. Each panel has one lock, under which it takes a frozen snapshot and sets
the traits of its widgets; it does so at most every 0.25 s, with one timer for the last news of a burst. What
must outlive the kernel is a display bundle that names no widget.

At the end both outputs are replaced, and the widget stays behind with the same in it: a page that was loaded
again meanwhile never gets the replacements, and shows the widget.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

from compute_nb.notebook import drawing, failures
from compute_nb.notebook.bundle import bundle, notes, output, plain_results, reasons, results_bundle
from compute_nb.notebook.run import Run, Snapshot

LIVE_MIME = "application/vnd.compute-nb.live+json"
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
_PACE_S = 0.25
_SHARE = 20  # counting 100,000 tasks takes a while: a twentieth of the time at most
_KEPT = 50

_ended: deque[_Widgets] = deque()


class Panel:
    """The live panel of one run in a notebook with a person at it.

    `news` is for the watcher's thread and for futures' callbacks, all else for the main thread.

    Args:
        publish: Sends display data: (data, metadata, display_id, is an update).
        max_lines: How much printed text is shown at the end.
    """

    def __init__(
        self,
        run: Run,
        publish: Callable[[Any, Any, str, bool], None],
        max_lines: int,
    ) -> None:
        self._run, self._publish = run, publish
        self._max_lines = max_lines
        self._shown = False
        self._lock = threading.RLock()
        self._drawn_at = 0.0
        self._pace_s = _PACE_S
        self._timer: threading.Timer | None = None
        self._final = False
        self._ids = uuid.uuid4().hex, uuid.uuid4().hex
        self._first_failure = ""
        self._widgets = _widgets(run.cancel_all)
        run.on_reopen.append(self.reopen)

    def show(self) -> None:
        """Puts the panel under the running cell."""
        try:
            self._show()
        finally:
            self._shown = True

    def _show(self, *, update: bool = False) -> None:
        snapshot = self._run.snapshot()
        data, metadata = self._bundle(snapshot)
        self._publish(data, metadata, self._ids[0], update)
        if self._widgets is None:
            return
        self._widgets.text.value = self._live(snapshot)
        view = {
            LIVE_MIME: {"id": self._run.task_group_id},
            WIDGET_MIME: _view(self._widgets.box.model_id),
            "text/plain": "",
        }
        self._publish(view, {}, self._ids[1], update)

    def _bundle(self, snapshot: Snapshot) -> Any:
        live = self._widgets is not None
        return bundle(
            self._run,
            snapshot,
            max_lines=self._max_lines,
            told_elsewhere=self._run.waited_for,
            live_below=live,
        )

    def _live(self, snapshot: Snapshot) -> str:
        lines = [self._failure(snapshot), *self._run.earlier_lines(), self._run.outage() or ""]
        below = drawing.details([line for line in lines if line]) + drawing.speech(self._run)
        return drawing.bar(self._run, snapshot) + below

    def _failure(self, snapshot: Snapshot) -> str:
        """Returns the first failure while others still run."""
        if snapshot.failed and not self._first_failure:
            run, first = self._run, failures.failed(self._run)[0]
            self._first_failure = f"{run.place(first)}: {failures.reason(run.futures[first])}"
        return self._first_failure

    def reopen(self) -> None:
        """Follows the run once more: tasks of it were sent again."""
        with self._lock:
            if not self._final:
                self.news()
                return
            self._final, self._first_failure = False, ""
            if self._widgets is not None:
                self._widgets = _widgets(self._run.cancel_all)
            self._show(update=True)
        self.news()

    def news(self, *_: Any) -> None:
        """Draws, at once or when its turn comes."""
        with self._lock:
            left = self._drawn_at + self._pace_s - time.monotonic()
            if left <= 0 or self._run.ended:
                self._draw()
            elif self._timer is None:
                self._timer = threading.Timer(left, self._late)
                self._timer.daemon = True
                self._timer.start()

    def _late(self) -> None:
        with self._lock:
            self._timer = None
            self._draw()

    def _draw(self) -> None:
        if self._final or not self._shown:
            return
        self._drawn_at = time.monotonic()
        snapshot = self._run.snapshot()
        self._pace_s = max(_PACE_S, _SHARE * (time.monotonic() - self._drawn_at))
        if snapshot.ended:
            self._final = True
            self._finish(snapshot)
        elif self._widgets is not None:
            self._widgets.text.value = self._live(snapshot)
        else:
            data, metadata = self._bundle(snapshot)
            self._publish(data, metadata, self._ids[0], True)

    def _finish(self, snapshot: Snapshot) -> None:
        """Puts the final text in the place of the first output, results in the place of the widget."""
        run = self._run
        if self._widgets is not None:
            below = drawing.details(notes(run) + reasons(run, snapshot), output(run, self._max_lines))
            self._widgets.end(drawing.bar(run, snapshot) + below + plain_results(run))
        data, metadata = self._bundle(snapshot)
        self._publish(data, metadata, self._ids[0], True)
        if self._widgets is not None:
            shown = None if run.waited_for else results_bundle(run)
            self._publish(shown or {WIDGET_MIME: _view(""), "text/plain": ""}, {}, self._ids[1], True)


def _view(model_id: str) -> dict[str, Any]:
    return {"version_major": 2, "version_minor": 0, "model_id": model_id}


class _Widgets:
    """The ipywidgets of one panel."""

    def __init__(self, ipywidgets: Any, cancel: Callable[[], None]) -> None:
        layout = ipywidgets.Layout
        self._cancel = cancel
        self.text = ipywidgets.HTML(layout=layout(flex="1 1 auto", width="auto", min_width="0"))
        self._button = ipywidgets.Button(
            description="cancel",
            tooltip="Ends all open tasks of this run; takes effect when the running cell has ended",
            layout=layout(width="auto", flex="0 0 auto"),
        )
        self._button.on_click(self._clicked)
        self.box = ipywidgets.HBox([self.text, self._button], layout=layout(align_items="flex-start"))

    def _clicked(self, _: Any) -> None:
        self._button.disabled, self._button.description = True, "cancelling"
        self._cancel()

    def end(self, markup: str) -> None:
        """Shows the end of the run, for good; the oldest ended panels are let go."""
        self._button.disabled = True
        self._button.layout.display = "none"
        self.text.value = markup
        _ended.append(self)
        if len(_ended) > _KEPT:
            _ended.popleft()._close()

    def _close(self) -> None:
        with contextlib.suppress(Exception):  # a kernel on its way out
            for widget in (self._button, self.text, self.box):
                widget.close()


def _widgets(cancel: Callable[[], None]) -> _Widgets | None:
    try:
        import ipywidgets
    except ImportError:
        return None
    return _Widgets(ipywidgets, cancel)
