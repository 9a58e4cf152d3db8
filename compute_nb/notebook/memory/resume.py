"""This module is the resuming: earlier runs are bound again, and their panels live under their cells."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from typing import Any

from compute_nb.config import Settings
from compute_nb.errors import ComputeError
from compute_nb.executor import Executor
from compute_nb.future import ComputeFuture
from compute_nb.home import Home as HomeFolder
from compute_nb.notebook.kit.home import Home
from compute_nb.notebook.memory.memory import Found, Memory, told
from compute_nb.notebook.memory.messages import NotebookSeen
from compute_nb.notebook.memory.reload import recalled
from compute_nb.notebook.runs.group import ComputeGroup
from compute_nb.notebook.runs.record import Entry
from compute_nb.notebook.runs.run import Run

ELSEWHERE = "run elsewhere"
UNREACHABLE = "not reachable from here"

Take = Callable[[Run, Executor], None]


class Resume:
    """Takes up a notebook's earlier runs, once for each; the main thread's alone, but for `heard`.

    Args:
        namespace: Where names are bound; what the user has bound meanwhile stays.
        home: How values are rebuilt here.
        take: Adds a run to the kernel's and follows it.
        unbind: Has a group's panels show what was saved.
        notes: Told why some groups are not taken up.
    """

    def __init__(
        self,
        namespace: MutableMapping[str, Any],
        home: Home,
        memory: Memory,
        take: Take,
        *,
        unbind: Callable[[str], None],
        notes: Callable[[Mapping[str, str]], None],
    ) -> None:
        self._namespace, self._home, self._memory = namespace, home, memory
        self._take, self._unbind, self._notes = take, unbind, notes
        self._taken: dict[str, Run] = {}
        self._provisional: dict[str, ComputeFuture | ComputeGroup] = {}
        self._line = ""
        self._lock = threading.Lock()
        self._seen: NotebookSeen | None = None

    def heard(self, seen: NotebookSeen) -> None:
        """Notes what a page has told, for the next moment between cells; for any thread."""
        with self._lock:
            self._seen = seen

    def recall(self) -> None:
        """Takes up what the saved file and the home folder know."""
        self._line = self._resume(self._memory.recall()) or self._line

    def same(self, cell_id: str, key: str, known: Collection[str]) -> tuple[Run, Executor] | None:
        """Returns a run that the cell has begun with the same key and that still goes on; asks its service.

        Args:
            known: Groups of this kernel, which need not be looked at.
        """
        settings = Settings.load(HomeFolder.default())
        for entry in self._memory.same(cell_id, key):
            if entry.id in known:
                continue
            with contextlib.suppress(ComputeError):
                run, executor = recalled(entry, self._home, settings)
                if not run.ended:
                    self._taken[entry.id] = run
                    return run, executor
        return None

    def line(self) -> str:
        """Returns what was taken up, in one line, if nobody has been told yet; "" else."""
        line, self._line = self._line, ""
        return line

    def reconcile(self) -> None:
        """Sets right what was taken up, if a page tells of another notebook."""
        with self._lock:
            seen, self._seen = self._seen, None
        found = None if seen is None else self._memory.seen(seen)
        if found is None:
            return
        entries = {entry.id for entry in found.entries}
        for name, thing in self._provisional.items():
            if self._namespace.get(name, self) is thing and str(thing.task_group_id) not in entries:
                del self._namespace[name]
        for group_id in [one for one in self._taken if one not in entries]:
            self._unbind(group_id)
            del self._taken[group_id]
        self._line = self._resume(found)

    def _resume(self, found: Found) -> str:
        wanted = [entry for entry in found.to_take_up() if entry.id not in self._taken]
        names = found.names()
        runs: list[Run] = []
        bound: list[str] = []
        missing: list[Entry] = []
        settings = Settings.load(HomeFolder.default())
        for entry in wanted:
            try:
                run, executor = recalled(entry, self._home, settings)
            except ComputeError:
                missing.append(entry)
                continue
            own = (name for name in run.outputs if names.get(name) == entry.id)
            run.outputs = tuple(name for name in own if name not in self._namespace)
            self._take(run, executor)
            if names.get(entry.name) == entry.id:
                bound += self._name(entry.name, run)
            bound += run.outputs
            self._taken[entry.id] = run
            runs.append(run)
        missing += [entry for entry in found.unsure if not _is_configured(settings, entry.service)]
        notes = {entry.id: ELSEWHERE for entry in found.elsewhere}
        self._notes(notes | {entry.id: UNREACHABLE for entry in missing})
        return told(found, runs, bound, missing)

    def _name(self, name: str, run: Run) -> Sequence[str]:
        if name in self._namespace:
            return ()
        self._namespace[name] = self._provisional[name] = run.thing
        return (name,)


def _is_configured(settings: Settings, name: str) -> bool:
    try:
        settings.service(name)
    except ComputeError:
        return False
    return True
