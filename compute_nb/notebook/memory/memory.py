"""This module is the memory: what a notebook has run before, found again by a new kernel.

It reads the notebook's saved file first, since it may be asked in the middle of Run All, and sets right what
it did once a page tells its own path and record. Only groups that the home folder knows as submitted from
this notebook are taken up: a copy, and a colleague's notebook, keep what they show.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compute_nb.errors import ComputeError
from compute_nb.home import Home as HomeFolder
from compute_nb.local import find_service
from compute_nb.notebook.memory.drift import Sources, changes
from compute_nb.notebook.memory.index import Index
from compute_nb.notebook.memory.messages import NotebookSeen
from compute_nb.notebook.memory.saved import (
    NO_NOTEBOOK,
    SavedNotebook,
    SavedPanel,
    path_for_now,
    path_seen,
    path_told,
    read_saved,
)
from compute_nb.notebook.runs.record import Entry, Record

if TYPE_CHECKING:
    from compute_nb.notebook.runs.run import Run


@dataclass(frozen=True, slots=True)
class Found:
    """What a notebook's file, record and the home folder say of its runs.

    Attributes:
        entries: Oldest first, after those that the file has no more, though it was saved since.
        cells: Ids of the cells that there are; None if that is not known.
        sources: Hashes of their sources, as far as they were saved.
        shown: Groups whose panel is in an output.
        open_before: Group -> how many of its tasks were open when the notebook was saved.
        elsewhere: Groups in the file that another user's or machine's service has.
        unsure: Groups in the file that were not submitted from here, of whose service only the name is known.
    """

    entries: Sequence[Entry] = ()
    cells: frozenset[str] | None = None
    sources: frozenset[str] = frozenset()
    shown: frozenset[str] = frozenset()
    open_before: Mapping[str, int] = field(default_factory=dict)
    elsewhere: Sequence[Entry] = ()
    unsure: Sequence[Entry] = ()

    def to_take_up(self) -> list[Entry]:
        """Returns the latest group of each cell that still exists, of each name, and all that may be open."""
        cells: dict[str, Entry] = {}
        names: dict[str, Entry] = {}
        for entry in self.entries:
            if not self._exists(entry):
                continue
            if entry.cell_id is not None:
                cells[entry.cell_id] = entry
            if entry.name:
                names[entry.name] = entry
        wanted = {entry.id for entry in (*cells.values(), *names.values())}
        wanted.update(entry.id for entry in self.entries if self.open_before.get(entry.id, 1))
        return [entry for entry in self.entries if entry.id in wanted]

    def names(self) -> dict[str, str]:
        """Returns name of `-n` or `-o` -> id of the group that it means: the latest."""
        return {
            name: entry.id
            for entry in self.entries
            if self._exists(entry)
            for name in (entry.name, *entry.outputs)
            if name
        }

    def _exists(self, entry: Entry) -> bool:
        return (
            entry.cell_id is None
            or self.cells is None
            or entry.cell_id in self.cells
            or entry.source_hash in self.sources
            or entry.id in self.shown
        )


@dataclass(frozen=True, slots=True)
class Listed:
    """A group of a notebook's record.

    Attributes:
        counts: State -> how many tasks had it when the notebook was saved; None if its file does not say.
        ours: Whether it was submitted from this notebook, by this home folder.
    """

    entry: Entry
    counts: Mapping[str, int] | None
    ours: bool


class Memory:
    """The runs of one kernel's notebook, across restarts; the main thread's alone, but for `seen`.

    Where nobody tells the notebook's path (a console, a front end that says nothing), runs are noted for the
    folder: they are listed and can be reloaded there, but never taken up, since whose they are is not known.

    Args:
        namespace: Of the kernel.
        home: Whose index counts.
    """

    def __init__(self, namespace: Mapping[str, Any], home: HomeFolder) -> None:
        self._home, self._index = home, Index(home)
        self._sources = Sources(home.root / "sources")
        self._told = path_told(namespace)
        self._path = self._told
        self._for_now = path_for_now()

    @property
    def path(self) -> Path | None:
        """Where the notebook is, as far as is known now."""
        return self._path

    @property
    def _noted_at(self) -> Path | None:
        return self._path or self._for_now

    def note(self, entry: Entry, source: str = "") -> None:
        """Notes a group that was submitted, and the source of its cell if that is known.

        Raises:
            OSError, ComputeError: The home folder can't be written.
        """
        if (path := self._noted_at) is not None:
            self._index.note(path, entry)
            if source:
                self._sources.keep(source)

    def changes(self, group_id: str, source: str) -> Sequence[str] | None:
        """Returns how a cell's source differs from what a group ran; None if that is not known here."""
        noted = None if self._path is None else self._index.of(self._path).get(group_id)
        before = None if noted is None else self._sources.of(noted.source_hash)
        return None if before is None else changes(before, source)

    def drifted(self) -> dict[str, Sequence[str] | None]:
        """Returns how cells have changed since the runs that they show, as far as the file was saved."""
        saved = None if self._path is None else read_saved(self._path)
        return {
            panel.entry.id: self.changes(panel.entry.id, panel.source)
            for panel in (saved.panels if saved else ())
            if panel.entry.source_hash not in ("", panel.source_hash)
        }

    def forget(self, group_id: str) -> None:
        """Drops a group from the home folder's notes."""
        if (path := self._noted_at) is not None:
            self._index.forget(path, group_id)

    def recall(self) -> Found:
        """Returns what the saved file and the home folder say; asks no service."""
        if self._path is None:
            return Found()
        return self._found(read_saved(self._path), None)

    def same(self, cell_id: str, key: str) -> Sequence[Entry]:
        """Returns the groups that a cell has submitted with the same key, the newest first."""
        noted = () if self._path is None else self._index.of(self._path)
        return [entry for entry in noted if entry.cell_id == cell_id and entry.key == key][::-1]

    def listed(self) -> Sequence[Listed]:
        """Returns the groups of the record, oldest first; asks no service."""
        path = self._noted_at
        if path is None:
            return ()
        saved = read_saved(path)
        counts = {panel.entry.id: _counts(panel) for panel in (saved.panels if saved else ())}
        own = {entry.id: entry for entry in self._index.of(path)}
        entries = {**{entry.id: entry for entry in (saved.record if saved else ())}, **own}
        found = sorted(entries.values(), key=lambda entry: entry.submitted_at)
        return [Listed(entry, counts.get(entry.id), entry.id in own) for entry in found]

    def seen(self, told: NotebookSeen) -> Found | None:
        """Returns what is true of a notebook that a page has told of; None if nothing is new in it."""
        path = path_seen(self._told, told.path)
        if path is None or path == self._path:
            return None
        before, self._path = self._path, path
        if before is not None and not before.exists():
            self._index.move(before, path)
        return self._found(read_saved(path), told)

    def _found(self, saved: SavedNotebook | None, told: NotebookSeen | None) -> Found:
        assert self._path is not None
        entries = {entry.id: entry for entry in self._index.of(self._path)}
        theirs = [*(saved.entries() if saved else ()), *(Record(told.record) if told else ())]
        foreign: dict[str, Entry] = {}
        for entry in theirs:
            if entry.id in entries or self._is_ours(entry):
                entries[entry.id] = entries.get(entry.id, entry)
            else:
                foreign[entry.id] = entry
        cells = frozenset(told.cells) if told else saved.cells if saved else None
        panels = saved.panels if saved else ()
        gone = _gone(saved, entries.values(), {entry.id for entry in theirs})
        return Found(
            sorted(entries.values(), key=lambda entry: (entry.id not in gone, entry.submitted_at)),
            cells,
            saved.sources if saved else frozenset(),
            frozenset(panel.entry.id for panel in panels),
            {panel.entry.id: _open(panel) for panel in panels},
            self._elsewhere(foreign.values()),
            [entry for entry in foreign.values() if entry.service_id is None],
        )

    def _elsewhere(self, foreign: Iterable[Entry]) -> Sequence[Entry]:
        own = None
        with contextlib.suppress(ComputeError):
            own = find_service(self._home)
        here = None if own is None else own.service_id
        return [entry for entry in foreign if entry.service_id not in (None, here)]

    def _is_ours(self, entry: Entry) -> bool:
        """Returns whether a group was submitted from here: from a path at which there is nothing any more."""
        owner = self._index.owner(entry.id)
        if owner is not None and owner.name == NO_NOTEBOOK and self._path is not None:
            self._index.note(self._path, entry)
            self._index.forget(owner, entry.id)
            return True
        if owner is None or owner == self._path or owner.exists() or self._path is None:
            return owner is not None and owner == self._path
        self._index.move(owner, self._path)
        return True


def _gone(saved: SavedNotebook | None, entries: Iterable[Entry], said: Collection[str]) -> frozenset[str]:
    """Returns groups that a file has no more: another branch was checked out, or a merge dropped them.

    A file that was not saved since, or has no record, says nothing of that.
    """
    if saved is None or not len(saved.record):
        return frozenset()
    return frozenset(one.id for one in entries if one.id not in said and one.submitted_s + 1 < saved.saved_at)


def _counts(panel: SavedPanel) -> Mapping[str, int]:
    """Returns how many tasks of a saved panel had which state."""
    counts = panel.panel.get("counts")
    found = counts.items() if isinstance(counts, dict) else ()
    return {str(state): count for state, count in found if isinstance(count, int) and count > 0}


def _open(panel: SavedPanel) -> int:
    """Returns how many tasks of a saved panel had not ended."""
    ended = sum(_counts(panel).get(state, 0) for state in ("SUCCEEDED", "FAILED", "CANCELLED", "LOST"))
    return max(panel.entry.tasks - ended, 0)


def remembered(namespace: Mapping[str, Any]) -> Found:
    """Returns what is known of earlier runs of this kernel's notebook; looks at files only."""
    return Memory(namespace, HomeFolder.default()).recall()


def listed(found: Found) -> str:
    """Returns the one line on earlier runs that nobody takes up, "" if there are none."""
    count = len(found.entries)
    runs = "1 earlier run" if count == 1 else f"{count} earlier runs"
    told = f"{runs} of this notebook: `%compute tasks` lists them, `%compute reload GROUP` attaches one"
    return told if count else ""


def told(found: Found, runs: Sequence[Run], bound: Sequence[str], missing: Sequence[Entry]) -> str:
    """Returns the one line on what was found, "" if it is nothing.

    Args:
        runs: Taken up.
        bound: Names that have their group again.
        missing: Whose service does not know them, or can't be asked.
    """
    parts = []
    before = {str(run.task_group_id): found.open_before.get(str(run.task_group_id), 0) for run in runs}
    if was_open := sum(before.values()):
        still = {str(run.task_group_id): _still_open(run) for run in runs if before[str(run.task_group_id)]}
        finished = was_open - sum(still.values())
        failed = sum(run.snapshot().failed for run in runs if before[str(run.task_group_id)])
        parts.append(f"{max(finished, 0):,} of {was_open:,} tasks finished while you were away")
        if failed:
            parts.append(f"{failed:,} failed")
    if bound:
        parts.append(f"bound again: {', '.join(bound)}")
    if missing:
        parts.append(f"not reachable from here: {', '.join(entry.title for entry in missing)}")
    if found.elsewhere:
        parts.append(f"run elsewhere: {', '.join(entry.title for entry in found.elsewhere)}")
    return ", ".join(parts)


def _still_open(run: Run) -> int:
    snapshot = run.snapshot()
    return snapshot.total - snapshot.done
