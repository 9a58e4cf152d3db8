"""This module is the runs of one kernel: every compute cell that was accepted, and how a line names them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from compute_nb.future import ComputeFuture
from compute_nb.notebook.refusal import CellRefused, kind_of, nearest
from compute_nb.notebook.runs.group import ComputeGroup
from compute_nb.notebook.runs.run import Run

_HEX = re.compile("[0-9a-f]{8,32}")
_INDEXED = re.compile(r"(.+)\[(-?\d+)\]")


@dataclass(frozen=True, slots=True)
class Target:
    """What a line names: a run, or some tasks of it.

    Attributes:
        indices: Places in map order.
        whole: Whether these are all.
    """

    run: Run
    indices: Sequence[int]
    whole: bool

    @property
    def futures(self) -> list[ComputeFuture]:
        """The tasks meant."""
        return [self.run.futures[index] for index in self.indices]

    @property
    def told(self) -> str:
        """What people call it."""
        return self.run.title if self.whole else f"{self.run.title}[{self.indices[0]}]"


class Runs:
    """Accepted runs in the order of their submit; the main thread's alone.

    Args:
        namespace: Where `-n` bound their names.
    """

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self._namespace = namespace
        self.all: list[Run] = []

    def add(self, run: Run) -> None:
        """Takes an accepted run."""
        self.all.append(run)

    def open(self) -> list[Run]:
        """Returns those with tasks that have not ended."""
        return [run for run in self.all if not run.ended]

    def group_id(self, text: str) -> UUID:
        """Returns the task group that an id means, or the beginning of one of this kernel's.

        Raises:
            CellRefused: It means none, or more than one.
        """
        with contextlib.suppress(ValueError):
            return UUID(text)
        begin = text.replace("-", "").lower()
        if len(begin) < 8 or not _HEX.fullmatch(begin):
            raise CellRefused(
                f"`%compute reload {text}`: a task group's id is a UUID, 8-4-4-4-12 hex digits, as the panel "
                "and `%compute tasks` show it; `{name}` takes it from a variable"
            )
        known = {str(run.task_group_id): run for run in self.all if run.futures}
        meant = [one for one in known if one.replace("-", "").startswith(begin)]
        if len(meant) == 1:
            return UUID(meant[0])
        if meant:
            told = ", ".join(f"{one} ({known[one].handle})" for one in meant)
            raise CellRefused(f"`%compute reload {text}`: more than one begins so, give more of it: {told}")
        raise CellRefused(
            f"`%compute reload {text}`: no task group of this kernel begins so; one of another kernel is "
            "found by its whole id, 8-4-4-4-12 hex digits"
        )

    def taken_over_by(self, run: Run) -> list[Run]:
        """Returns the open runs of the same cell or the same name, newest first."""
        return [
            one
            for one in reversed(self.open())
            if one is not run
            and ((run.name and one.name == run.name) or (run.cell_id and one.cell_id == run.cell_id))
        ]

    def find(self, text: str) -> Target:
        """Returns what NAME, NAME[i], a task group's id or In[7] means; "" is the last run.

        Raises:
            CellRefused: It means nothing that was run here.
        """
        if not self.all:
            raise CellRefused(
                "nothing was submitted from this kernel yet; `%compute reload GROUP` finds older runs"
            )
        if not text:
            return _whole(self.all[-1])
        for run in reversed(self.all):
            if text in (run.cell, str(run.task_group_id)) or self._bound(text, run):
                return _whole(run)
        indexed = _INDEXED.fullmatch(text)
        if indexed and indexed[1] != "In":
            return _part(self.find(indexed[1]).run, int(indexed[2]), text)
        if (text.count("-") and _HEX.fullmatch(text.replace("-", ""))) or _HEX.fullmatch(text):
            return self._begun(text)
        raise CellRefused(self._not_found(text))

    def _begun(self, text: str) -> Target:
        """Returns the run whose task group's id begins so."""
        begin = text.replace("-", "")
        meant = [run for run in self.all if str(run.task_group_id).replace("-", "").startswith(begin)]
        if len({run.task_group_id for run in meant}) == 1:
            return _whole(meant[-1])
        if meant:
            told = ", ".join(f"{run.task_group_id} ({run.handle})" for run in meant)
            raise CellRefused(f"`{text}`: more than one task group begins so, give more of it: {told}")
        raise CellRefused(
            f"`{text}`: no task group of this kernel begins so; `%compute reload GROUP` attaches another one"
        )

    def _not_found(self, text: str) -> str:
        told = f"nothing that was submitted here is called `{text}`"
        if text in self._namespace and not isinstance(self._namespace[text], ComputeFuture | ComputeGroup):
            told = f"`{text}` is {kind_of(self._namespace[text])}, nothing that was submitted here"
        known = [name for run in self.all for name in (run.name, run.cell) if name]
        return told + (nearest(text, known) or "; `%compute tasks` lists what is")

    def _bound(self, name: str, run: Run) -> bool:
        thing = self._namespace.get(name)
        if isinstance(thing, ComputeFuture | ComputeGroup):
            return thing is run.thing
        return bool(run.name) and name == run.name


def _whole(run: Run) -> Target:
    return Target(run, range(len(run.futures)), whole=True)


def _part(run: Run, index: int, text: str) -> Target:
    count = len(run.futures)
    if not -count <= index < count:
        raise CellRefused(f"`{text}`: {run.title} has {count} tasks, numbered from 0")
    return Target(run, (index % count,), whole=False)
