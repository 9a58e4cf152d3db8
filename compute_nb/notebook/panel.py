"""This module is the panel: how a run stands, under its own cell, while later cells are busy too.

News comes on the watcher's thread. Each panel has one lock, under which it takes a frozen snapshot and sets
the traits of its widgets; it does so at most every 0.25 s, with one timer for the last news of a burst. What
must outlive the kernel is a display bundle that names no widget.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from compute_nb.notebook import drawing
from compute_nb.notebook.results import displayed, facts, harmless, printed
from compute_nb.notebook.run import Run, Snapshot

PANEL_MIME = "application/vnd.compute-nb.panel+json"
LIVE_MIME = "application/vnd.compute-nb.live+json"
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
_PACE_S = 0.25
_SHARE = 20  # counting 100,000 tasks takes a while: a twentieth of the time at most
_PICTURES = 6
_FAILURES = 5


def bundle(
    run: Run,
    snapshot: Snapshot,
    cell_id: str | None,
    *,
    max_lines: int,
    headless: bool = False,
    live_below: bool = False,
) -> Any:
    """Returns data and metadata of the output that stays: it reads the same after any restart.

    Args:
        max_lines: How much printed text is shown.
        headless: Whether text is kept free of ids and times, so that a run can be compared with the last.
        live_below: Whether a widget below it shows how the tasks stand.
    """
    entry = {
        "id": run.task_group_id,
        "endpoint": run.endpoint,
        "cell_id": cell_id,
        "name": run.name,
        "label": run.label,
        "tasks": snapshot.total,
        "outputs": list(run.outputs),
        "submitted_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(snapshot.submitted_at)),
    }
    counts = {state.value: count for state, count in snapshot.counts.items() if count}
    panel = {
        "version": 1,
        "entry": entry,
        "counts": counts,
        "started_at": snapshot.started_at,
        "ended_at": snapshot.ended_at,
    }
    text = "" if headless else drawing.line(run, snapshot)
    below = drawing.details(_lines(run, snapshot), "" if headless else _printed(run, max_lines))
    markup = drawing.bar(run, snapshot, times=not headless) + below
    if live_below and not snapshot.ended:
        markup = drawing.begun(run, snapshot.total) + below
    return {PANEL_MIME: panel, "text/html": markup, "text/plain": text}, {"compute_nb": entry}


def _lines(run: Run, snapshot: Snapshot) -> list[str]:
    lines = list(run.notes)
    lines += [f"`{name}` was bound anew meanwhile and left alone" for name in run.left_alone]
    if not snapshot.failed or not snapshot.ended:
        return lines
    failed = [i for i, future in enumerate(run.futures) if future.state.value in ("FAILED", "LOST")]
    for index in failed[:_FAILURES]:
        last = str(facts(run.futures[index]).get("traceback") or "").strip().splitlines()[-1:]
        point = run.point(index)
        lines.append(f"{point}: {last[0] if last else 'no reason given'}" if point else "".join(last))
    if len(failed) > _FAILURES:
        lines.append(f"and {len(failed) - _FAILURES} more")
    return lines


def _printed(run: Run, max_lines: int) -> str:
    if len(run.futures) != 1 or not run.ended or not max_lines:
        return ""
    told = facts(run.futures[0])
    text = "".join(text for _, text in printed(list(told.get("items") or ())))
    if told.get("traceback"):
        text += str(told["traceback"])
    return capped(text, max_lines)


def capped(text: str, max_lines: int) -> str:
    """Returns text with the middle left out if it has more than `max_lines` lines."""
    lines = text.splitlines()
    if len(lines) <= max_lines:
        return text
    half = max(max_lines // 2, 1)
    left_out = f"[... {len(lines) - 2 * half} lines left out: `%compute logs` shows them ...]"
    return "\n".join([*lines[:half], left_out, *lines[-half:]])


class Panel:
    """The live panel of one run in a notebook with a person at it.

    `news` is for the watcher's thread and for futures' callbacks, all else for the main thread.

    Args:
        publish: Sends display data: (data, metadata, display_id, is an update).
        max_lines: How much printed text is shown at the end.
        results: Whether the panel shows what the tasks printed and gave; else the cell does.
    """

    def __init__(
        self,
        run: Run,
        publish: Callable[[Any, Any, str, bool], None],
        cell_id: str | None,
        max_lines: int,
        *,
        results: bool,
    ) -> None:
        self._run, self._publish = run, publish
        self._cell_id, self._max_lines = cell_id, max_lines if results else 0
        self._results = results
        self._lock = threading.RLock()
        self._drawn_at = 0.0
        self._pace_s = _PACE_S
        self._timer: threading.Timer | None = None
        self._final = False
        self._ids = uuid.uuid4().hex, uuid.uuid4().hex
        self._widgets = _widgets(self._cancel)

    def _cancel(self) -> None:
        self._run.cancel_all()

    def show(self) -> None:
        """Puts the panel under the running cell."""
        snapshot = self._run.snapshot()
        data, metadata = self._bundle(snapshot)
        self._publish(data, metadata, self._ids[0], False)
        if self._widgets is None:
            return
        self._widgets.bar.value = drawing.bar(self._run, snapshot)
        view = {
            LIVE_MIME: {"id": self._run.task_group_id},
            WIDGET_MIME: _view(self._widgets.box.model_id),
            "text/plain": "",
        }
        self._publish(view, {}, self._ids[1], False)

    def _bundle(self, snapshot: Snapshot) -> Any:
        live = self._widgets is not None
        return bundle(self._run, snapshot, self._cell_id, max_lines=self._max_lines, live_below=live)

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
        if self._final:
            return
        self._drawn_at = time.monotonic()
        snapshot = self._run.snapshot()
        self._pace_s = max(_PACE_S, _SHARE * (time.monotonic() - self._drawn_at))
        if snapshot.ended:
            self._final = True
            self._finish(snapshot)
        elif self._widgets is not None:
            self._widgets.bar.value = drawing.bar(self._run, snapshot)
        else:
            data, metadata = self._bundle(snapshot)
            self._publish(data, metadata, self._ids[0], True)

    def _finish(self, snapshot: Snapshot) -> None:
        """Puts the final text in the place of the first output, results in the place of the widget."""
        data, metadata = self._bundle(snapshot)
        self._publish(data, metadata, self._ids[0], True)
        if self._widgets is not None:
            self._widgets.close()  # first: a view removed after its output was replaced is not there any more
            shown = results_bundle(self._run) if self._results else None
            self._publish(shown or {WIDGET_MIME: _view(""), "text/plain": ""}, {}, self._ids[1], True)


def _view(model_id: str) -> dict[str, Any]:
    return {"version_major": 2, "version_minor": 0, "model_id": model_id}


def results_bundle(run: Run) -> dict[str, Any] | None:
    """Returns display data of what the tasks drew and gave, as one output; None if there is nothing."""
    shown: list[dict[str, Any]] = []
    for future in run.futures:
        told = facts(future)
        shown += [data for data, _ in displayed(list(told.get("items") or ()))]
        value = told.get("display")
        if value and len(run.futures) == 1:
            shown.append(harmless(value[0]))
        if len(shown) >= _PICTURES:
            break
    if len(shown) <= 1:
        return shown[0] if shown else None
    texts = [str(data.get("text/plain", "")) for data in shown]
    return {"text/html": "".join(map(_as_html, shown[:_PICTURES])), "text/plain": "\n".join(texts)}


def _as_html(data: dict[str, Any]) -> str:
    import html

    if "image/png" in data:
        text = html.escape(str(data.get("text/plain", "")))
        return f'<div><img alt="{text}" src="data:image/png;base64,{html.escape(data["image/png"])}"></div>'
    if "text/html" in data:
        return f"<div>{data['text/html']}</div>"
    return f"<pre>{html.escape(str(data.get('text/plain', '')))}</pre>"


class _Widgets:
    """The ipywidgets of one panel."""

    def __init__(self, ipywidgets: Any, cancel: Callable[[], None]) -> None:
        self.bar = ipywidgets.HTML()
        self._button = ipywidgets.Button(
            description="cancel",
            tooltip="Ends all open tasks of this run; takes effect when the running cell has ended",
            layout=ipywidgets.Layout(width="auto"),
        )
        self._button.on_click(lambda _: cancel())
        self.box = ipywidgets.VBox([self.bar, self._button])

    def close(self) -> None:
        """Frees what the front end keeps for them."""
        with contextlib.suppress(Exception):  # a kernel on its way out
            for widget in (self._button, self.bar, self.box):
                widget.close()


def _widgets(cancel: Callable[[], None]) -> _Widgets | None:
    try:
        import ipywidgets
    except ImportError:
        return None
    return _Widgets(ipywidgets, cancel)
