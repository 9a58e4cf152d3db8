"""This module is the refusal: an error that a notebook shows as one clear line, and that stops Run All."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from compute_nb.errors import ComputeError


class CellRefused(ComputeError):
    """A compute cell or line can't be done as written; nothing was submitted and nothing changed."""

    def _render_traceback_(self) -> list[str]:
        """Called by IPython instead of drawing frames, which would all be ours."""
        return [f"{type(self).__name__}: {self}"]


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ", did you mean `x`?" for the known name most like `name`, or "" if none is."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f", did you mean `{close[0]}`?" if close else ""
