"""This module is the recording: what is noted of a run, in the notebook's record and in the home folder."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
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
    """Notes the runs of one kernel, lists and drops what is noted; the main thread's alone.

    The thread `compute_nb note` lives while the home folder is told of one run.
    """

    def __init__(self, page: Page, memory: Memory) -> None:
        self._page, self._memory = page, memory
        self._begun: Entry | None = None
        self._told: Future[str] = Future()

    def begin(self, entry: Entry, source: str = "") -> None:
        """Has the home folder note a run, beside what the caller does: it is on its way to the service.

        Args:
            source: Of its cell, "" if that is not known.
        """
        self._begun, self._told = entry, Future()
        threading.Thread(target=self._note, args=(entry, source, self._told), name="compute_nb note").start()

    def keep(self, entry: Entry, source: str = "") -> str:
        """Notes a run that was accepted; returns why the home folder has no note of it, "" if it has."""
        if self._begun is None or self._begun.id != entry.id:  # of before, or its service has named it
            self.withdraw()
            self.begin(entry, source)
        self._begun = None
        self._page.record(entry)
        return self._told.result()

    def withdraw(self) -> None:
        """Drops what was begun and not kept: the service has not taken it."""
        begun, self._begun = self._begun, None
        if begun is not None and not self._told.result():
            with contextlib.suppress(OSError, ComputeError):
                self._memory.forget(begun.id)

    def _note(self, entry: Entry, source: str, told: Future[str]) -> None:
        try:
            self._memory.note(entry, source)
        except (OSError, ComputeError) as problem:
            told.set_result(f"the home folder has no note of this run: {problem}")
        except BaseException as problem:  # noqa: BLE001 - the top of a thread: whoever waits must hear
            told.set_exception(problem)
        else:
            told.set_result("")

    def noted(self) -> list[Noted]:
        """Returns what is recorded of this notebook's groups, oldest first; asks no service."""
        return [Noted(one.entry, _snapshot(one.entry, one.counts), one.ours) for one in self._memory.listed()]

    def whose(self) -> str:
        """Returns a line that says whose runs are noted here, "" if they are this notebook's."""
        if self._memory.path is not None:
            return ""
        return "which notebook this is was not told: runs of before are those of this folder without one"

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
