"""This module is the saved notebook: which file this kernel's notebook is in, and what stands in it.

The file is only ever read. It may be missing, half merged by git, or of an older nbformat: what can't be read
counts as none.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from compute_nb.notebook.runs.record import KEY, Entry, Record, source_hash

NO_NOTEBOOK = "no notebook"
PANEL_MIME = "application/vnd.compute-nb.panel+json"
_SESSION = "JPY_SESSION_NAME"
_VS_CODE = "__vsc_ipynb_file__"
_CELL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MAX_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SavedPanel:
    """A panel in an output of a cell.

    Attributes:
        cell: The cell's place in the notebook.
        cell_id: None where the file has none that is valid.
        panel: The panel's JSON.
        source: Of the cell as it was saved.
    """

    entry: Entry
    cell: int
    cell_id: str | None
    panel: Mapping[str, Any]
    source: str

    @property
    def source_hash(self) -> str:
        """Of its source, as the record has such hashes."""
        return source_hash(self.source)


@dataclass(frozen=True, slots=True)
class SavedNotebook:
    """What a notebook's file says of compute_nb.

    Attributes:
        cells: Ids of its cells; those without one are left out.
        sources: Hashes of their sources: a cell is the same when something has given it another id.
        saved_at: When the file was written, seconds since the epoch.
    """

    record: Record
    panels: Sequence[SavedPanel]
    cells: frozenset[str]
    sources: frozenset[str]
    saved_at: float

    def entries(self) -> list[Entry]:
        """Returns the entries of record and panels, oldest first; the record's where both have one."""
        found = {panel.entry.id: panel.entry for panel in self.panels}
        found.update({entry.id: entry for entry in self.record})
        return sorted(found.values(), key=lambda entry: entry.submitted_at)


def path_told(namespace: Mapping[str, Any]) -> Path | None:
    """Returns where the notebook was when this kernel began, as the server or VS Code said; or None."""
    for told in (namespace.get(_VS_CODE), os.environ.get(_SESSION)):
        if isinstance(told, str) and told.endswith(".ipynb"):
            path = Path(told)
            if path.is_absolute():
                return path
    return None


def path_for_now() -> Path | None:
    """Returns under what runs are noted while nobody tells the notebook's path: a name in this folder."""
    try:
        return Path.cwd() / NO_NOTEBOOK
    except OSError:  # it was removed
        return None


def path_seen(told: Path | None, seen: str) -> Path | None:
    """Returns where a notebook is that a page calls by a path from the server's root; or None.

    Args:
        told: Where it was when the kernel started; somewhere above it is the server's root.
    """
    if told is None:
        return None
    parts = PurePosixPath(seen).parts
    if told.parts[-len(parts) :] == parts:
        return told
    found = (parent.joinpath(*parts) for parent in told.parents)
    return next((path for path in found if path.is_file()), None)


def read_saved(path: Path) -> SavedNotebook | None:
    """Returns what a notebook's file says; None if there is no notebook in it."""
    try:
        about = path.stat()
        if about.st_size > _MAX_BYTES:
            return None
        notebook = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(notebook, dict):
        return None
    metadata, cells = notebook.get("metadata"), notebook.get("cells")
    cells = [cell if isinstance(cell, dict) else {} for cell in cells] if isinstance(cells, list) else []
    record = Record(metadata.get(KEY) if isinstance(metadata, dict) else None)
    ids = frozenset(found for cell in cells if (found := _id_of(cell)) is not None)
    sources = frozenset(source_hash(_text(cell.get("source"))) for cell in cells)
    return SavedNotebook(record, tuple(_panels(cells)), ids, sources, about.st_mtime)


def _panels(cells: Sequence[Mapping[str, Any]]) -> Iterator[SavedPanel]:
    for place, cell in enumerate(cells):
        outputs = cell.get("outputs")
        for output in outputs if isinstance(outputs, list) else ():
            data = output.get("data") if isinstance(output, dict) else None
            panel = data.get(PANEL_MIME) if isinstance(data, dict) else None
            if not isinstance(panel, dict):
                continue
            entry = Entry.read(panel.get("entry"))
            if entry is not None:
                yield SavedPanel(entry, place, _id_of(cell), panel, _text(cell.get("source")))


def _id_of(cell: Mapping[str, Any]) -> str | None:
    found = cell.get("id")
    return found if isinstance(found, str) and _CELL_ID.fullmatch(found) else None


def _text(source: object) -> str:
    if isinstance(source, list):
        return "".join(line for line in source if isinstance(line, str))
    return source if isinstance(source, str) else ""
