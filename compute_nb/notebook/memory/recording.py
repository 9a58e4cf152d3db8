"""This module is the recording: what is noted of a run, in the notebook's record and in the home folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compute_nb.errors import ComputeError
from compute_nb.notebook.memory.memory import Memory
from compute_nb.notebook.memory.page import Page
from compute_nb.notebook.refusal import CellRefused, nearest
from compute_nb.notebook.runs.record import Entry
from compute_nb.notebook.runs.run import Snapshot
from compute_nb.tasks import TaskState

_LEAST_OF_ID = 8


@dataclass(frozen=True, slots=True)
class Noted:
    """A group of the notebook's record.

    Attributes:
        saved: How it stood when the notebook was saved; None if its file does not say.
        ours: Whether it was submitted from this notebook, by this home folder.
    """

    entry: Entry
    saved: Snapshot | None
    ours: bool

    @property
    def told(self) -> str:
        """How it stands as far as the file says."""
        how = "not saved how it stood" if self.saved is None else f"{self.saved.sentence()} when saved"
        return how if self.ours else f"run elsewhere, {how}"


class Recording:
    """Notes the runs of one kernel, lists and drops what is noted; the main thread's alone."""

    def __init__(self, page: Page, memory: Memory) -> None:
        self._page, self._memory = page, memory

    def keep(self, entry: Entry, source: str = "") -> str:
        """Notes a run and its cell's source; returns why the home folder has no note of it, "" if it has."""
        self._page.record(entry)
        try:
            self._memory.note(entry, source)
        except (OSError, ComputeError) as problem:
            return f"the home folder has no note of this run: {problem}"
        return ""

    def noted(self) -> list[Noted]:
        """Returns what is recorded of this notebook's groups, oldest first; asks no service."""
        return [Noted(one.entry, _snapshot(one.entry, one.counts), one.ours) for one in self._memory.listed()]

    def find(self, text: str) -> Entry:
        """Returns the group that an id, the beginning of one, or a name means; of a name the latest.

        Raises:
            CellRefused: The record has none.
        """
        entries = [one.entry for one in self.noted()]
        named = [entry for entry in entries if text in (entry.id, entry.name, entry.label)]
        begun = [entry for entry in entries if len(text) >= _LEAST_OF_ID and entry.id.startswith(text)]
        if named or len(begun) == 1:
            return (named or begun)[-1]
        if begun:
            told = ", ".join(f"{entry.id} ({entry.title})" for entry in begun)
            raise CellRefused(f"`{text}`: more than one task group begins so, give more of it: {told}")
        known = [word for entry in entries for word in (entry.name, entry.label) if word]
        raise CellRefused(
            f"`{text}`: this notebook's record has no such group"
            + (nearest(text, known) or "; `%compute tasks` lists what it has")
        )

    def forget(self, entry: Entry) -> None:
        """Drops a group from the record; its tasks and results stay where they are.

        Raises:
            CellRefused: The home folder can't be written.
        """
        self._page.forget(entry.id)
        try:
            self._memory.forget(entry.id)
        except (OSError, ComputeError) as problem:
            raise CellRefused(f"{entry.title} is still noted in the home folder: {problem}") from problem


def _snapshot(entry: Entry, counts: Mapping[str, int] | None) -> Snapshot | None:
    if counts is None:
        return None
    known: Sequence[TaskState] = [state for state in TaskState if counts.get(state.value)]
    return Snapshot(
        {state: counts[state.value] for state in known}, entry.tasks, entry.submitted_s, None, None
    )
