"""This module is the widgets of one panel: core controls, each part that moves on its own.

So the focus stays on a button while all else moves, and a screen reader hears only the part that changed.
What is folded is unfolded by the page alone (`look.STYLE`), also while the kernel is busy. A control is made
when it has something to show: at the prompt there is only the box, which the first drawing fills.
"""

from __future__ import annotations

import contextlib
import html
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from compute_nb.notebook.view import look
from compute_nb.notebook.view.controls import Controls

_LATER = "takes effect when the running cell has ended"
# In the order in which they stand, and are made: a page draws all anew that follows a new one.
_PARTS = ("head", "aside", "squares", "notes", "said", "results", "fold", "printed")
_CLASSES = {
    "said": ("cnb-part",),
    "fold": ("cnb-live", "cnb-fold"),
    "printed": ("cnb-live", "cnb-folded"),
    "results": ("cnb-live", "cnb-results"),
}


@dataclass(frozen=True, slots=True)
class Offer:
    """What the buttons can do.

    Attributes:
        cancel: Whether there are open tasks; `cancelling`: whether that was asked for.
        retry: What tasks without a value are called, "" if there are none.
        instead: What stands in the place of buttons while no click does anything, "" else.
    """

    cancel: bool
    retry: str
    cancelling: bool = False
    instead: str = ""


class Widgets:
    """The ipywidgets of one panel. What moves is set under its lock, what a click opens takes it.

    Args:
        lock: The panel's.
        cancel, retry, inspect: What the buttons do; `inspect` is given a task's place and whether the next
            one without a value after it is meant, and returns (place, HTML).
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
        total: int,
        task_group_id: str,
    ) -> None:
        self._controls, self._lock = Controls(ipywidgets), lock
        self._does, self._inspect = (cancel, retry), inspect
        self._total, self._id = total, task_group_id
        self._parts: dict[str, Any] = {}
        self._upper: Any = None
        self.tail: Any = None
        self._opened: dict[str, Any] = {}
        self._missed = False
        self._after: Any = None
        self.box = self._controls.column(())

    # -- what moves

    def draw(self, parts: Mapping[str, str], offer: Offer) -> int:
        """Shows parts by name, and the buttons that can do something; returns how many messages that took."""
        self._missed = bool(offer.retry)
        if self.tail is None:
            return self._fill(parts, offer)
        return self._offer(offer) + self.put(parts)

    def put(self, parts: Mapping[str, str]) -> int:
        """Sets parts by name, once it was drawn; returns how many messages that took."""
        change, known = self._controls.change, self._parts
        sent = sum(change(known[name], value=value) for name, value in parts.items() if name in known)
        made = self._make(parts)
        if made:
            self._upper.children = tuple(known.values())
        return sent + made + bool(made)

    def _fill(self, parts: Mapping[str, str], offer: Offer) -> int:
        """Draws for the first time: all is made as it is to be, and one message puts it into the box."""
        controls, button = self._controls, self._button
        self._make(parts)
        self._upper = controls.column(tuple(self._parts.values()))
        cancel, retry = self._does
        ends, again = self._cancelling(offer), self._retrying(offer)  # each later change is a message
        self._cancel = button("cancel", f"Ends all open tasks of this run; {_LATER}", cancel, **ends)
        resends = f"Submits the tasks without a value again, with the same inputs; {_LATER}"
        self._retry = button("retry failed", resends, retry, **again)
        details = button("details", f"Shows all of one task; {_LATER}", self._toggle_details)
        copy = button("id", f"Shows the task group's id, to be copied; {_LATER}", self._toggle_id)
        self._row = controls.row((self._cancel, self._retry, details, copy))
        self.tail = controls.column((self._row,))
        self.box.children = (controls.sheet(look.STYLE), self._upper, self.tail)
        return 1 + self._offer(offer)

    def _make(self, parts: Mapping[str, str]) -> int:
        """Makes the parts that have something to show, and those above them; returns how many."""
        wanted = max((1 + _PARTS.index(name) for name, value in parts.items() if value), default=0)
        missing = _PARTS[len(self._parts) : wanted]
        for name in missing:
            classes = _CLASSES.get(name, ("cnb-live",))
            self._parts[name] = self._controls.html(parts.get(name, ""), *classes)
        return len(missing)

    def _offer(self, offer: Offer) -> int:
        controls = self._controls
        change = controls.change
        sent = change(self._row, layout=controls.layout("row", shown=not offer.instead))
        sent += self._tell("blocked", offer.instead, "cnb-live")
        sent += self._offer_next()
        sent += change(self._cancel, **self._cancelling(offer))
        return sent + change(self._retry, **self._retrying(offer))

    def _cancelling(self, offer: Offer) -> dict[str, Any]:
        return {
            "layout": self._controls.layout("button", shown=offer.cancel),
            "disabled": not offer.cancel or offer.cancelling,
            "description": "cancelling" if offer.cancel and offer.cancelling else "cancel",
        }

    def _retrying(self, offer: Offer) -> dict[str, Any]:
        name = {"description": f"retry {offer.retry}"} if offer.retry else {}
        return {"layout": self._controls.layout("button", shown=bool(offer.retry)), **name}

    def _offer_next(self) -> int:
        if self._after is None:
            return 0
        return self._controls.change(self._after, layout=self._controls.layout("button", shown=self._missed))

    @property
    def inspected(self) -> int | None:
        """The place of the task whose details are shown; None if none are."""
        return self._number.value if "details" in self._opened else None

    def refresh(self) -> int:
        """Shows the details anew; returns how many messages that took."""
        _, told = self._inspect(self._number.value, False)
        return self._controls.change(self._told, value=told)

    # -- what stands below the buttons

    def _tell(self, name: str, markup: str, *classes: str) -> int:
        """Sets a line; returns how many messages that took. It is made when it first has something to say."""
        if name in self._opened:
            return self._controls.change(self._opened[name], value=markup)
        if not markup:
            return 0
        self._open(name, self._controls.html(markup, *classes))
        return 2

    def _do(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as problem:  # noqa: BLE001 - a click has no cell in which it could be shown
            self._say(str(problem) or type(problem).__name__)
        else:
            self._say("")

    def _say(self, text: str) -> None:
        told = f'<div role="alert" style="line-height:1.5">{html.escape(text)}</div>' if text else ""
        with self._lock:
            self._tell("trouble", told, "cnb-part")

    def _button(self, name: str, tooltip: str, action: Callable[[], None], **traits: Any) -> Any:
        return self._controls.button(name, tooltip, lambda: self._do(action), **traits)

    def _open(self, name: str, widget: Any | None) -> None:
        """Puts a widget below the buttons, after those that are there: none of them is drawn anew."""
        with self._lock:
            if widget is None:
                self._opened.pop(name).close()
            else:
                self._opened[name] = widget
            self.tail.children = (self._row, *self._opened.values())

    def _toggle_id(self) -> None:
        if "id" in self._opened:
            self._open("id", None)
            return
        kit = self._controls.kit
        field = kit.Text(
            self._id,
            description="task group",
            tooltip="Select all, then copy",
            layout=kit.Layout(width="min(34em, 98%)"),
            style={"description_width": "initial"},
        )
        # Not disabled, which would keep the keyboard out; what is typed over it is put back.
        field.observe(lambda _: setattr(field, "value", self._id), "value")
        self._open("id", field)

    def _toggle_details(self) -> None:
        if "details" in self._opened:
            self._open("details", None)
            return
        kit = self._controls.kit
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
        self._told = self._controls.html("", "cnb-part")
        chooser = [self._number, self._after] if self._total > 1 else []
        row = kit.HBox(chooser, layout=kit.Layout(flex_flow="row wrap"))
        place, told = self._inspect(-1, True)
        self._number.value, self._told.value = place, told
        self._number.observe(lambda _: self._do(self._show_number), "value")
        self._open("details", self._controls.column((row, self._told)))

    def _show_number(self) -> None:
        self._told.value = self._inspect(self._number.value, False)[1]

    def _next(self) -> None:
        place, told = self._inspect(self._number.value, True)
        self._number.value, self._told.value = place, told

    def close(self) -> None:
        """Lets the widgets go, here and on the page; what others share stays."""
        with contextlib.suppress(Exception):  # a kernel on its way out
            buttons = () if self.tail is None else (*self._row.children, self._row, self._upper, self.tail)
            for widget in (*self._parts.values(), *self._opened.values(), *buttons, self.box):
                widget.close()
