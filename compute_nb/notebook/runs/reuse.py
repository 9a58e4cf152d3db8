"""This module is the reuse of results: what each task of a cell is made of, and which have ended before."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compute_nb.errors import ComputeError
from compute_nb.future import ComputeFuture
from compute_nb.notebook.runs.cache import Cache
from compute_nb.notebook.runs.fingerprint import Fingerprint, Unstable
from compute_nb.notebook.runs.results import cell_result
from compute_nb.tasks import TaskResult, TaskState, new_id
from compute_nb.terms import Terms


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the tasks of a cell are made of.

    Attributes:
        shared: What all of them have in common: texts and options.
        values: What the notebook gives to all, by name.
        points: What each gets for itself.
        has_places: Whether a task's place counts as well, as it does for a seed.
    """

    shared: tuple[Any, ...]
    values: Mapping[str, Any]
    points: Sequence[Mapping[str, Any]]
    has_places: bool = False

    def keys(self, secret: bytes) -> tuple[list[str | None], str]:
        """Returns a key for each task, None where it can't be told, and why not."""
        try:
            begin = Fingerprint(secret).add(self.shared).add(dict(self.values))
        except Unstable:
            return [None] * len(self.points), self._culprit(secret)
        keys: list[str | None] = []
        why = ""
        for place, point in enumerate(self.points):
            try:
                whole = begin.copy().add((dict(point), place if self.has_places else None))
                keys.append(whole.hexdigest())
            except Unstable as error:
                keys.append(None)
                why = why or f"value {place} of `--map`: {error}"
        return keys, why

    def _culprit(self, secret: bytes) -> str:
        for name, value in self.values.items():
            try:
                Fingerprint(secret).add(value)
            except Unstable as error:
                return f"`{name}`: {error}"
        return "the inputs together"


@dataclass(slots=True)
class Reuse:
    """The results that a cell need not compute again, and those that are kept for later.

    Attributes:
        futures: Place -> a future that has ended.
        notes: What is said of it, one line each.
    """

    cache: Cache
    keys: Sequence[str | None]
    futures: Mapping[int, ComputeFuture] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def keep(self, place: int, future: ComputeFuture) -> None:
        """Has the result of a task kept once it has one."""
        key = self.keys[place]
        if key is not None:
            future.add_done_callback(self._keeper(key))

    def _keeper(self, key: str) -> Callable[[ComputeFuture], None]:
        def kept(future: ComputeFuture) -> None:
            if future.state is TaskState.SUCCEEDED and future.raw is not None:
                self.cache.put(key, future.raw)

        return kept


def look(cache: Cache, secret: bytes, recipe: Recipe, terms: Terms) -> Reuse:
    """Returns what was computed before, as futures that have ended.

    Args:
        terms: Of the futures: how their results are read.
    """
    keys, why = recipe.keys(secret)
    found = {}
    for place, key in enumerate(keys):
        future = None if key is None else _ended(cache, key, terms)
        if future is not None:
            found[place] = future
    notes = [f"{len(found)} of {len(keys)} reused, computed before"] if found else []
    unknown = keys.count(None)
    if unknown:
        notes.append(f"{unknown} of {len(keys)} can't be compared with what was computed before: {why}")
    return Reuse(cache, keys, found, tuple(notes))


def _ended(cache: Cache, key: str, terms: Terms) -> ComputeFuture | None:
    raw = cache.get(key)
    if raw is None:
        return None
    future = ComputeFuture(new_id(), terms, None)
    future.named = False  # no service has such a task
    now = time.time()
    future.take(TaskResult(future.id, terms.task_group_id, TaskState.SUCCEEDED, raw, None, 0, now, now, now))
    try:
        result = cell_result(future)
    except ComputeError:
        return None
    whole = result is not None and result.is_whole and not result.exit_code
    return future if whole else None
