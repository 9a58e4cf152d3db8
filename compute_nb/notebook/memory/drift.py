"""This module is the drift: how a cell's source differs from what ran, and the sources that ran.

Sources are kept in the home folder of whoever submitted them, never in the notebook; the oldest go when they
get too large.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from compute_nb.notebook.runs.cache import Cache
from compute_nb.notebook.runs.record import source_hash

MAX_LINES = 200
MAX_BYTES = 20_000_000
_LARGEST = 500_000  # characters of one source: comparing more takes long
_MOST_OF_LINE = 400
_AROUND = 2
_FIRST = ("@@ -1,", "@@ -1 ", "@@ -0,")
_PREFIX = "sha256:"


class Sources:
    """The sources of cells that were submitted, by their hash. For any thread; `keep` does not block.

    Args:
        folder: Made if need be; the one above it is there.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._cache = Cache(folder, max_bytes)

    def keep(self, source: str) -> None:
        """Has a source written, soon."""
        if len(source) <= _LARGEST:
            self._cache.put(source_hash(source).removeprefix(_PREFIX), source)

    def of(self, hashed: str) -> str | None:
        """Returns the source with a hash as the record has it; None if it is not kept."""
        key = hashed.removeprefix(_PREFIX)
        source = self._cache.get(key) if key.isalnum() and key.isascii() else None
        return source if source is not None and source_hash(source) == hashed else None

    def flush(self) -> None:
        """Blocks until all that was given is written."""
        self._cache.flush()


def changes(before: str, now: str) -> Sequence[str]:
    """Returns how a source has changed, as lines that begin with "-", "+" or " "; 200 at most."""
    if len(now) > _LARGEST:
        return ["[... the source is too large to be compared ...]"]
    old, new = before.rstrip().splitlines(), now.rstrip().splitlines()
    compared = difflib.unified_diff(old, new, n=_AROUND, lineterm="")
    hunks = [line for line in list(compared)[2:] if not line.startswith(_FIRST)]
    lines = [_short("[...]" if line.startswith("@@") else line) for line in hunks]
    if len(lines) <= MAX_LINES:
        return lines
    left = len(lines) - MAX_LINES + 1
    return [*lines[: MAX_LINES - 1], f"[... {left:,} lines left out ...]"]


def _short(line: str) -> str:
    return line if len(line) <= _MOST_OF_LINE else f"{line[:_MOST_OF_LINE]}…"
