"""This module is what stands for IPython's display functions on a worker, where no IPython runs.

`from IPython.display import display, HTML` in a body gives ours for the functions, if IPython is installed
there; its objects are good as they are, since they say what they look like.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from .display import clear_output, display, publish_display_data, update_display

SOURCE = "IPython.core.display_functions"
USERS = ("IPython.core.display", "IPython.display")
OURS = {
    "display": display,
    "update_display": update_display,
    "clear_output": clear_output,
    "publish_display_data": publish_display_data,
}


class Stand:
    """Puts our functions in the place of IPython's, and those back."""

    def __init__(self) -> None:
        self._theirs: dict[str, Any] = {}

    def begin(self) -> None:
        """Does so in what is loaded, and in what will be."""
        if SOURCE in sys.modules:
            self._replace()
        else:
            sys.meta_path.insert(0, self)

    def end(self) -> None:
        """Undoes it."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        if self._theirs:
            _put(self._theirs, OURS)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Called by Python for each module that is not loaded yet; finds none, but learns of IPython's."""
        if name not in USERS or self._theirs:
            return
        try:
            importlib.import_module(SOURCE)
        except ImportError:  # one that is too old
            return
        self._replace()

    def _replace(self) -> None:
        theirs = sys.modules[SOURCE].__dict__
        self._theirs = {name: theirs[name] for name in OURS if name in theirs}
        _put(OURS, self._theirs)


def _put(new: dict[str, Any], old: dict[str, Any]) -> None:
    for module in (SOURCE, *USERS):
        names = getattr(sys.modules.get(module), "__dict__", {})
        for name, one in old.items():
            if names.get(name) is one:
                names[name] = new[name]
