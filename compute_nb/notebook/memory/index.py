"""This module is the index: which notebook submitted which task groups, noted in the home folder.

It serves front ends that can't write a notebook's metadata and notebooks that are not saved yet, and it tells
a notebook that was renamed from a copy. A file for each notebook, named by a hash of its path; nothing but
what the record has stands in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from compute_nb.home import Home
from compute_nb.notebook.runs.record import Entry, Record
from compute_nb.private import write_private

_FOLDER = "notebooks"
_LOCK_TIMEOUT_S = 5.0


class Index:
    """The notes of one home folder. Any thread and process may use it; it reads and writes small files.

    Args:
        home: Need not be there yet; it is made when something is noted.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._folder = home.state / _FOLDER

    def note(self, path: Path, entry: Entry, finished: Callable[[str], bool] = lambda _: False) -> None:
        """Notes a group that was submitted from the notebook at `path`.

        Raises:
            OSError: The home folder can't be written.
            ComputeError: It can't be made.
        """
        self._change(path, lambda record: record.adding(entry, finished))

    def forget(self, path: Path, group_id: str) -> None:
        """Drops a group of a notebook."""
        if self._file(path).exists():
            self._change(path, lambda record: record.without(group_id))

    def of(self, path: Path) -> Record:
        """Returns what was submitted from the notebook at `path`."""
        return Record(self._read(self._file(path)).get("record"))

    def all(self) -> list[tuple[Path, Entry]]:
        """Returns what was submitted from any notebook, and from which, newest first."""
        found = []
        for file in self._files():
            noted = self._read(file)
            if isinstance(path := noted.get("path"), str):
                found += [(Path(path), entry) for entry in Record(noted.get("record"))]
        return sorted(found, key=lambda one: one[1].submitted_at, reverse=True)

    def owner(self, group_id: str) -> Path | None:
        """Returns from which notebook a group was submitted, None if that is not known here."""
        for file in self._files():
            noted = self._read(file)
            path = noted.get("path")
            if isinstance(path, str) and Record(noted.get("record")).get(group_id) is not None:
                return Path(path)
        return None

    def move(self, before: Path, after: Path) -> None:
        """Notes that a notebook has another path now; what was noted at that path is kept too."""
        moved = self.of(before)
        if len(moved):

            def merged(record: Record) -> Record:
                for entry in moved:
                    record = record.adding(entry)
                return record

            self._change(after, merged)
        self._file(before).unlink(missing_ok=True)

    def _files(self) -> Iterator[Path]:
        with contextlib.suppress(OSError):
            yield from self._folder.glob("*.json")

    def _file(self, path: Path) -> Path:
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()
        return self._folder / f"{digest[:32]}.json"

    def _change(self, path: Path, change: Callable[[Record], Record]) -> None:
        from filelock import FileLock

        self._home.prepare()
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with FileLock(self._folder / "lock", mode=0o600, timeout=_LOCK_TIMEOUT_S):
            record = change(self.of(path))
            noted = {"path": str(path), "record": record.to_json()}
            write_private(self._file(path), json.dumps(noted, ensure_ascii=True))

    @staticmethod
    def _read(file: Path) -> dict[str, Any]:
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
