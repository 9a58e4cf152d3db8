"""This module is the recent runs: task groups that a line may name, those of this notebook first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from compute_nb.home import Home
from compute_nb.notebook.memory.index import Index
from compute_nb.notebook.memory.saved import path_for_now, path_told
from compute_nb.notebook.runs.record import Entry

MOST = 20


class Recent(NamedTuple):
    """A group that was submitted some time ago.

    Attributes:
        notebook: The name of its file, "" for this one.
    """

    entry: Entry
    notebook: str

    @property
    def told(self) -> str:
        """What it is, in a few words: "sims on local, 40 tasks, other.ipynb"."""
        entry = self.entry
        count = f"{entry.tasks:,} task{'s' * (entry.tasks != 1)}"
        name = entry.label or entry.name
        parts = [f"{name} on {entry.endpoint}" if name else entry.endpoint, count, self.notebook]
        return ", ".join(part for part in parts if part)


def recent(namespace: Mapping[str, Any], home: Home) -> list[Recent]:
    """Returns the last groups that the home folder knows, this notebook's first; looks at small files only.

    Args:
        namespace: Of the kernel, which may tell where its notebook is.
    """
    told = path_told(namespace)
    noted = Index(home).all()
    noted.sort(key=lambda one: one[0] != (told or path_for_now()))  # stable: the newest stay first
    return [Recent(entry, _named(path, told)) for path, entry in noted[:MOST]]


def _named(path: Path, here: Path | None) -> str:
    return "" if path == here else path.name
