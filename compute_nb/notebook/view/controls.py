"""This module is the controls: ipywidgets that panels are made of, with layouts and styles that all share.

Each model is a message to the page and a millisecond of the kernel, and each control brings two more of its
own. Shared, they are made once in a kernel; again, if somebody has closed all widgets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

_LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {"margin": "0", "width": "auto", "min_width": "0"},
    "row": {"flex_flow": "row wrap", "margin": "2px 0"},
    "no row": {"display": "none"},
    "button": {"width": "auto", "height": "26px"},
    "no button": {"display": "none"},
}

_shared: dict[str, Any] = {}


class Controls:
    """Makes controls of one kind of ipywidgets.

    Args:
        kit: The package.
    """

    def __init__(self, kit: Any) -> None:
        self.kit = kit

    def html(self, value: str, *classes: str) -> Any:
        """Returns HTML."""
        return self._styled(self.kit.HTML, value, layout=self.layout("plain"), _dom_classes=classes)

    def sheet(self, style: str) -> Any:
        """Returns the style sheet of all panels; whoever shows it must not close it."""
        found = _usable("sheet")
        if found is None:
            found = _shared["sheet"] = self.html(style)
        return found

    def column(self, children: Sequence[Any], *classes: str) -> Any:
        """Returns a box of controls, one below the other."""
        return self.kit.VBox(children, layout=self.layout("plain"), _dom_classes=("cnb-box", *classes))

    def row(self, children: Sequence[Any], *, shown: bool = True) -> Any:
        """Returns a box of controls, side by side."""
        return self.kit.HBox(children, layout=self.layout("row", shown=shown))

    def button(self, text: str, tooltip: str, action: Callable[[], None], **traits: Any) -> Any:
        """Returns a button, shown if `traits` don't say otherwise."""
        traits = {"description": text, "tooltip": tooltip, "layout": self.layout("button"), **traits}
        made = self._styled(self.kit.Button, **traits)
        made.on_click(lambda _: action())
        return made

    def change(self, control: Any, **traits: Any) -> int:
        """Sets traits; returns how many messages that took: one, or none if all had these values."""
        changed = {name: value for name, value in traits.items() if getattr(control, name) != value}
        if not changed:
            return 0
        with control.hold_sync():
            for name, value in changed.items():
                setattr(control, name, value)
        return 1

    def layout(self, kind: str, *, shown: bool = True) -> Any:
        """Returns the layout of "plain" HTML, a "row" or a "button", or one in which it is not shown."""
        name = kind if shown else f"no {kind}"
        found = _usable(name)
        if found is None:
            found = _shared[name] = self.kit.Layout(**_LAYOUTS[name])
        return found

    def _styled(self, kind: Callable[..., Any], *args: Any, **traits: Any) -> Any:
        """Returns a control with the style that the first one of its kind was given."""
        name = kind.__name__
        if (style := _usable(name)) is not None:
            return kind(*args, style=style, **traits)
        made = kind(*args, **traits)
        _shared[name] = made.style
        return made


def _usable(name: str) -> Any:
    """Returns what is shared by that name, None if nobody has made it or somebody has closed it."""
    found = _shared.get(name)
    return None if found is None or found.comm is None else found
