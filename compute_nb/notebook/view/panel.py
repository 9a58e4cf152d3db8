"""This module is the panel: how a run stands, under its own cell, while later cells are busy too.

News only asks for a drawing; the thread of `pulse` counts and draws, under the panel's
lock, and the main thread does what buttons ask for. What must outlive the kernel is a display bundle that
names no widget.

At the end the bundle says all, and results take an output of their own. The widget keeps the same in it: a
page that was loaded again meanwhile never gets what replaces outputs, and shows the widget. Where output
areas are JupyterLab's, the bundle's style hides the parts that it says already, so that buttons and whatever
is opened below them keep the focus; elsewhere these alone take the widget's place.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from compute_nb.errors import ComputeError
from compute_nb.notebook.runs.census import Census
from compute_nb.notebook.runs.run import Run, Snapshot
from compute_nb.notebook.view import drawing, inspector, squares
from compute_nb.notebook.view.account import Account
from compute_nb.notebook.view.bundle import below, bundle, found
from compute_nb.notebook.view.pulse import pulse
from compute_nb.notebook.view.shown import plain_results, results_bundle
from compute_nb.notebook.view.times import times_of
from compute_nb.notebook.view.widgets import Offer, Widgets
from compute_nb.tasks import TaskState

LIVE_MIME = "application/vnd.compute-nb.live+json"
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
_HEART_S = 1.0
_SOON_S = 0.02
_FIRST_S = 0.25  # a run that ends before is drawn once, by one message
_END_MESSAGES, _FEW_MESSAGES, _FIRST_MESSAGES = 9, 4, 1
_TURN_MESSAGES = 3  # more, when buttons go or come because a cell waits or has stopped waiting
_KEPT = 50

_ended: deque[Panel] = deque()


class Panel:
    """The live panel of one run in a notebook with a person at it.

    `news` is for any thread, `draw` for the pulse's, all else for the main thread.

    Args:
        publish: Sends display data: (data, metadata, display_id, is an update).
        max_lines: How much printed text is shown.
        counted: Told how many tasks are in which state, as often as that is drawn while some are open.
    """

    def __init__(
        self,
        run: Run,
        publish: Callable[[Any, Any, str, bool], None],
        max_lines: int,
        counted: Callable[[Mapping[TaskState, int]], None] = lambda _: None,
    ) -> None:
        self._run, self._publish, self._counted = run, publish, counted
        self._max_lines = max_lines
        self._census = Census(run)
        self._lock = threading.RLock()
        self._shown = self._final = self._cancelling = False
        self._ids = uuid.uuid4().hex, uuid.uuid4().hex, uuid.uuid4().hex
        self._account = Account(run, self._census, max_lines)
        self._soon = False
        self._first_at = 0.0
        self._last_sent = 0
        self._blocked = run.blocks  # as it was drawn last
        self._census.take()
        self._widgets = self._made()
        run.on_reopen.append(self.reopen)
        run.on_left_alone.append(self.left_alone)

    def _made(self) -> Widgets | None:
        try:
            import ipywidgets
        except ImportError:
            return None
        total, group = len(self._run.futures), self._run.task_group_id or ""
        does = self._cancel, self._retry, self._inspect
        return Widgets(ipywidgets, self._lock, *does, total=total, task_group_id=group)

    def show(self) -> None:
        """Puts the panel under the running cell."""
        try:
            with self._lock:
                self._show()
        finally:
            self._shown = True
            self._first_at = time.monotonic() + _FIRST_S
            pulse.ask_soon(self, self._not_before())

    def _show(self) -> None:
        self._put_bundle(update=False)
        if self._widgets is not None:
            self._put_view(self._widgets.box, update=False)
        if not self._run.waited_for:
            self._put_results(_nothing(), update=False)

    # -- any thread

    def news(self, *_: Any) -> None:
        """Has it drawn when its turn comes."""
        pulse.ask(self, self._not_before())

    def _not_before(self) -> float:
        is_first = self._widgets is not None and self._widgets.tail is None
        return self._first_at if is_first and not self._run.ended else 0.0

    def reopen(self) -> None:
        """Follows the run once more: tasks of it were sent again."""
        with self._lock:
            if self._final:
                self._census.take()
                self._revive()
        self.news()

    def left_alone(self) -> None:
        """Says that names were left alone, if the end stands there already."""
        with self._lock:
            if self._final:
                self._put_bundle(update=True)
                if self._widgets is not None:
                    self._widgets.put({"notes": self._notes()})

    # -- the pulse's thread

    def draw(self) -> int:
        """Draws what has changed; returns how many messages that took."""
        with self._lock:
            if not self._shown:
                return 0
            ended = self._census.take().ended
            # The state of a task comes before all else of it.
            self._soon = ended and (not self._run.ended or self._census.unsure)
            if self._soon:
                return 0
            if ended:
                return 0 if self._final else self._finish()
            if self._final:
                self._revive()
            self._last_sent = self._put_moves()
            self._counted(self._census.last.counts)
            return self._last_sent

    def _put_moves(self) -> int:
        if self._widgets is not None:
            return self._move(self._widgets)
        self._put_bundle(update=True)
        return 1

    def weight(self) -> int:
        """Returns how many messages the next drawing may take."""
        ends = self._run.ended and not self._final
        blocks = self._run.blocks and not ends
        if self._widgets is not None and self._widgets.tail is None:  # one message puts all into the box
            return _FIRST_MESSAGES + (_TURN_MESSAGES if blocks else 0)
        turns = _TURN_MESSAGES if self._blocked != blocks else 0
        return turns + (_END_MESSAGES if ends else max(_FEW_MESSAGES, self._last_sent + 1))

    def next_draw_s(self) -> float | None:
        """Returns in how many seconds it wants to be drawn though there is no news; None: never."""
        return _SOON_S if self._soon else None if self._final or not self._shown else _HEART_S

    def _move(self, widgets: Widgets) -> int:
        snapshot = self._census.last
        instead = self._account.instead()
        self._blocked = bool(instead)
        offer = Offer(True, _missed(snapshot), self._cancelling, instead)
        sent = widgets.draw(self._account.parts(), offer)
        place = widgets.inspected
        return sent if place is None or self._run.futures[place].done() else sent + widgets.refresh()

    # -- the end, and what may follow it

    def _finish(self) -> int:
        """Puts the end in the place of all that moved; returns how many messages that took."""
        self._final, self._cancelling, self._blocked = True, False, False
        run, widgets = self._run, self._widgets
        run.fetch()
        self._census.take()
        sent = 0 if widgets is None else self._end(widgets)
        self._put_bundle(update=True)
        if widgets is not None and run.cell_id is None:
            self._put_view(widgets.tail, update=True)
        if not run.waited_for:
            self._put_results(results_bundle(run) or _nothing(), update=True)
        _ended.append(self)
        if len(_ended) > _KEPT:
            _ended.popleft()._let_go()
        return sent

    def _end(self, widgets: Widgets) -> int:
        run, snapshot = self._run, self._census.last
        marks = squares.markup(self._census.codes, run.known_place) if snapshot.total > 1 else ""
        place = widgets.inspected
        sent = 0 if place is None else widgets.refresh()
        parts = {
            "said": self._account.saying(snapshot),
            "aside": drawing.aside(run, times_of(self._census), shows_id=True),
            "squares": marks,
            "notes": self._notes(),
            "fold": "",
            "printed": "",
            "results": "" if run.waited_for else plain_results(run),
            "head": drawing.bar(run, snapshot),
        }
        return sent + widgets.draw(parts, Offer(False, _missed(snapshot)))

    def _notes(self) -> str:
        return below(self._run, found(self._run, self._census.last), self._max_lines)

    def _revive(self) -> None:
        """Moves again: tasks of a run that had ended were submitted anew."""
        self._final = False
        self._account.begin_again()
        with contextlib.suppress(ValueError):  # another panel's end, on another thread, may let it go now
            _ended.remove(self)
        self._put_bundle(update=True)
        widgets = self._widgets
        if widgets is not None and self._run.cell_id is None:
            self._put_view(widgets.box, update=True)

    def _let_go(self) -> None:
        """The oldest ended panels give their widgets back."""
        with self._lock:
            if self._widgets is not None:
                self._publish(_nothing(), {}, self._ids[1], True)
                self._widgets.close()

    def _put_bundle(self, *, update: bool) -> None:
        data, metadata = bundle(
            self._run,
            self._census,
            max_lines=self._max_lines,
            told_elsewhere=self._run.waited_for,
            live_below=self._widgets is not None,
        )
        self._publish(data, metadata, self._ids[0], update)

    def _put_view(self, widget: Any, *, update: bool) -> None:
        live = {"id": self._run.task_group_id}
        view = {LIVE_MIME: live, WIDGET_MIME: _view(widget.model_id), "text/plain": ""}
        self._publish(view, {}, self._ids[1], update)

    def _put_results(self, data: Mapping[str, Any], *, update: bool) -> None:
        """Puts what the tasks gave into an output that a later kernel finds again by the group's id."""
        metadata = {"compute_nb": {"results": self._run.task_group_id}}
        self._publish(data, metadata, self._ids[2], update)

    # -- what buttons do

    def _cancel(self) -> None:
        self._cancelling = True
        self._run.cancel_all()
        self.news()

    def _retry(self) -> None:
        if not self._run.retry(None):
            raise ComputeError("nothing could be submitted again")
        self.news()

    def _inspect(self, place: int, is_before: bool) -> tuple[int, str]:
        """Returns place and details of a task; of the next one without a value, if `is_before`."""
        if is_before:
            found = inspector.next_missed(self._run, place)
            place = max(place, 0) if found is None else found
        if not self._run.futures:
            return 0, drawing.details(["this run has no tasks"])
        return place, inspector.markup(self._run, place, self._max_lines)


def _missed(snapshot: Snapshot) -> str:
    """Returns what tasks without a value are called, "" if there are none."""
    counts = {"failed": snapshot.failed, "cancelled": snapshot.counts.get(TaskState.CANCELLED, 0)}
    return " and ".join(word for word, count in counts.items() if count)


def _view(model_id: str) -> dict[str, Any]:
    return {"version_major": 2, "version_minor": 0, "model_id": model_id}


def _nothing() -> dict[str, Any]:
    """Returns an output that front ends draw as none."""
    return {WIDGET_MIME: _view(""), "text/plain": ""}
