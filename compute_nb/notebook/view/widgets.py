"""This module is the widgets of one panel: core controls, each part that moves on its own.

So the focus stays on a button while all else moves, and a screen reader hears only the part that changed.
What is folded is unfolded by the page alone (`look.STYLE`), also while the kernel is busy.
"""

from __future__ import annotations

import contextlib
import html
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compute_nb.notebook.view import look

_LATER = "takes effect when the running cell has ended"
_PARTS = ("head", "aside", "squares", "notes", "said", "fold", "printed", "results", "blocked")
_CLASSES = {
    "said": ("cnb-part",),
    "fold": ("cnb-live", "cnb-fold"),
    "printed": ("cnb-live", "cnb-folded"),
    "results": ("cnb-live", "cnb-results"),
}


class Widgets:
    """The ipywidgets of one panel. What moves is set under its lock, what a click opens takes it.

    Args:
        lock: The panel's.
        cancel, retry, inspect: What the buttons do; `inspect` is given a task's place and whether the next
            one without a value after it is meant, and returns (place, HTML).
        parts: What its parts show first, by name.
        total: How many tasks there are.
        task_group_id: What "id" shows.
    """

    def __init__(
        self,
        ipywidgets: Any,
        lock: threading.RLock,
        cancel: Callable[[], None],
        retry: Callable[[], None],
        inspect: Callable[[int, bool], tuple[int, str]],
        *,
        parts: Mapping[str, str],
        total: int,
        task_group_id: str,
    ) -> None:
        self._kit, self._lock = ipywidgets, lock
        self._inspect, self._total, self._id = inspect, total, task_group_id
        self._plain = ipywidgets.Layout(margin="0", width="auto", min_width="0")
        self._parts = {
            name: self._html(parts.get(name, ""), *_CLASSES.get(name, ("cnb-live",))) for name in _PARTS
        }
        self.trouble = self._html(look.STYLE, "cnb-part")
        button = self._button
        self._cancel = button("cancel", f"Ends all open tasks of this run; {_LATER}", cancel)
        again = f"Submits the tasks without a value again, with the same inputs; {_LATER}"
        self._retry = button("retry failed", again, retry, display="none")
        self._details = button("details", f"Shows all of one task; {_LATER}", self._toggle_details)
        self._copy = button("id", f"Shows the task group's id, to be copied; {_LATER}", self._toggle_id)
        buttons = [self._cancel, self._retry, self._details, self._copy]
        row = ipywidgets.Layout(flex_flow="row wrap", margin="2px 0")
        self._row = ipywidgets.HBox(buttons, layout=row)
        self._opened: dict[str, Any] = {}
        self._missed = False
        self._after: Any = None
        self.tail = self._column([self._row, self.trouble])
        self.box = self._column([*self._parts.values(), self.tail])

    def _html(self, value: str, *classes: str) -> Any:
        return self._kit.HTML(value, layout=self._plain, _dom_classes=classes)

    def _column(self, children: Sequence[Any]) -> Any:
        return self._kit.VBox(children, layout=self._plain, _dom_classes=("cnb-box",))

    def _button(
        self, name: str, tooltip: str, action: Callable[[], None], *, display: str | None = None
    ) -> Any:
        layout = self._kit.Layout(width="auto", height="26px", display=display)
        button = self._kit.Button(description=name, tooltip=tooltip, layout=layout)
        button.on_click(lambda _: self._do(action))
        return button

    def _do(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as problem:  # noqa: BLE001 - a click has no cell in which it could be shown
            self._say(str(problem) or type(problem).__name__)
        else:
            self._say("")

    def _say(self, text: str) -> None:
        told = f'<div role="alert" style="line-height:1.5">{html.escape(text)}</div>' if text else ""
        if self.trouble.value != look.STYLE + told:
            self.trouble.value = look.STYLE + told

    # -- what moves

    def put(self, parts: Mapping[str, str]) -> int:
        """Sets parts by name; returns how many have changed, each of which is one message."""
        sent = 0
        for name, value in parts.items():
            widget = self._parts[name]
            if widget.value != value:
                widget.value = value
                sent += 1
        return sent

    def offer(self, *, cancel: bool, retry: str, cancelling: bool = False, blocked: bool = False) -> int:
        """Shows the buttons that can do something; returns how many messages that took.

        Args:
            retry: What tasks without a value are called, "" if there are none.
            blocked: Whether no click does anything before the cell has ended that waits for these tasks.
        """
        self._missed = bool(retry)
        sent = self._set(self._row.layout, "display", "none" if blocked else None)
        sent += self._offer_next()
        sent += self._set(self._cancel, "disabled", not cancel or cancelling)
        sent += self._set(self._cancel, "description", "cancelling" if cancel and cancelling else "cancel")
        if retry:
            sent += self._set(self._retry, "description", f"retry {retry}")
        for button, shown in ((self._cancel, cancel), (self._retry, bool(retry))):
            sent += self._set(button.layout, "display", None if shown else "none")
        return sent

    def _offer_next(self) -> int:
        if self._after is None:
            return 0
        return self._set(self._after.layout, "display", None if self._missed else "none")

    @staticmethod
    def _set(widget: Any, name: str, value: Any) -> int:
        if getattr(widget, name) == value:
            return 0
        setattr(widget, name, value)
        return 1

    @property
    def inspected(self) -> int | None:
        """The place of the task whose details are shown; None if none are."""
        return self._number.value if "details" in self._opened else None

    def refresh(self) -> int:
        """Shows the details anew; returns how many messages that took."""
        _, told = self._inspect(self._number.value, False)
        return self._set(self._told, "value", told)

    # -- what is opened by a click

    def _open(self, name: str, widget: Any | None) -> None:
        """Puts a widget below the buttons, after those that are there: none of them is drawn anew."""
        with self._lock:
            if widget is None:
                self._opened.pop(name).close()
            else:
                self._opened[name] = widget
            self.tail.children = (self._row, self.trouble, *self._opened.values())

    def _toggle_id(self) -> None:
        if "id" in self._opened:
            self._open("id", None)
            return
        field = self._kit.Text(
            self._id,
            description="task group",
            tooltip="Select all, then copy",
            layout=self._kit.Layout(width="min(34em, 98%)"),
            style={"description_width": "initial"},
        )
        # Not disabled, which would keep the keyboard out; what is typed over it is put back.
        field.observe(lambda _: setattr(field, "value", self._id), "value")
        self._open("id", field)

    def _toggle_details(self) -> None:
        if "details" in self._opened:
            self._open("details", None)
            return
        kit = self._kit
        self._number = kit.BoundedIntText(
            value=0,
            min=0,
            max=max(self._total - 1, 0),
            description="task",
            tooltip="A task's place, counted from 0",
            layout=kit.Layout(width="11em"),
            style={"description_width": "initial"},
        )
        self._after = self._button("next failed", f"The next task without a value; {_LATER}", self._next)
        self._offer_next()
        self._told = self._html("", "cnb-part")
        chooser = [self._number, self._after] if self._total > 1 else []
        row = kit.HBox(chooser, layout=kit.Layout(flex_flow="row wrap"))
        place, told = self._inspect(-1, True)
        self._number.value, self._told.value = place, told
        self._number.observe(lambda _: self._do(self._show_number), "value")
        self._open("details", self._column([row, self._told]))

    def _show_number(self) -> None:
        self._told.value = self._inspect(self._number.value, False)[1]

    def _next(self) -> None:
        place, told = self._inspect(self._number.value, True)
        self._number.value, self._told.value = place, told

    def close(self) -> None:
        """Lets the widgets go, here and on the page."""
        with contextlib.suppress(Exception):  # a kernel on its way out
            below = [self.trouble, *self._opened.values(), *self._row.children, self._row]
            for widget in (*self._parts.values(), *below, self.tail, self.box):
                widget.close()
