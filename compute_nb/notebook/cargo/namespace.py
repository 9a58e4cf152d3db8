"""This module is the namespace of a notebook as the magic sees it: the names that are the user's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from compute_nb.notebook.kit.home import MAIN, Home
from compute_nb.notebook.kit.ipython import OURS, SOURCE

_RESULT = re.compile(r"_{1,3}|_\d+")
OF_MODULE = frozenset(
    {"__name__", "__doc__", "__builtins__", "__debug__", "__annotations__", "__spec__", "__loader__"}
) | {"__package__", "__build_class__", "__import__"}
NEVER = {
    "In": "the history of this notebook stays here: copy what you need into a name of its own",
    "Out": "the outputs of this notebook stay here: copy what you need into a name of its own",
    "get_ipython": "there is no IPython on a worker: do that in a cell of its own",
}


@dataclass(frozen=True, slots=True)
class Notebook:
    """The namespace of a notebook as the magic sees it.

    Attributes:
        home: Its names and how cells are called.
        hidden: Names that IPython put there, not the user.
    """

    home: Home
    hidden: Mapping[str, Any] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Returns whether the user bound `name`."""
        space = self.home.namespace
        if name not in space or name in OF_MODULE:
            return False
        if _RESULT.fullmatch(name):  # hidden by IPython, and yet the user's values
            return True
        return not self.is_display(name) and not (name in self.hidden and self.hidden[name] is space[name])

    def is_display(self, name: str) -> bool:
        """Returns whether `name` is IPython's function of this name, for which a worker has one of ours."""
        return name in OURS and getattr(self.home.namespace.get(name), "__module__", None) == SOURCE

    def names(self) -> list[str]:
        """Returns what the user could mean, for suggestions."""
        return [name for name in self.home.namespace if not name.startswith("_") and self.has(name)]

    def name_of(self, thing: Any) -> str | None:
        """Returns the name by which the notebook has this function or class, or None."""
        qualname = getattr(thing, "__qualname__", None)
        if getattr(thing, "__module__", None) != MAIN or not isinstance(qualname, str):
            return None
        return qualname if self.home.namespace.get(qualname) is thing else None
