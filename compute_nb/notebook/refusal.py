"""This module is the refusal: an error that a notebook shows as one clear line, and that stops Run All."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from compute_nb.errors import ComputeError

_IPYTHONS = frozenset({"In", "Out", "get_ipython", "display", "exit", "quit", "copyright", "credits"})


class CellRefused(ComputeError):
    """A compute cell or line can't be done as written; nothing was submitted and nothing changed."""

    def _render_traceback_(self) -> list[str]:
        """Called by IPython instead of drawing frames, which would all be ours."""
        return [f"{type(self).__name__}: {self}"]


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ", did you mean `x`?" for the known name most like `name`, or "" if none is."""
    meant = [one for one in known if not one.startswith("_") and one not in _IPYTHONS]
    close = difflib.get_close_matches(name, meant, n=1, cutoff=0.75)
    return f", did you mean `{close[0]}`?" if close else ""


def kind_of(value: Any) -> str:
    """Returns "an int"."""
    name = type(value).__name__
    return f"an {name}" if name.lstrip("_")[:1].lower() in tuple("aeio") else f"a {name}"
