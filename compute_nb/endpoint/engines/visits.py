"""This module is the visits of tasks to workers that are not ours: who waits for the end of which.

Ends come on threads of Parsl or Dask, some of them twice: ahead, and with those of their whole chunk.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from compute_nb.endpoint.engines.pool import NotBegun
from compute_nb.endpoint.runner.answer import NOT_BEGUN, Answer, Call


@dataclass(frozen=True, slots=True)
class Visit:
    """A chunk on its way; `names` are those of its tasks, of which a task gets a new one each time."""

    chunk: Sequence[Call]
    names: Sequence[str]
    futures: Sequence[Future[Answer]]

    def arguments(self, options: dict[str, Any]) -> tuple[Any, ...]:
        """Returns what `runner.visit` takes behind its setup."""
        first = self.chunk[0]
        tasks = [
            (name, call.task_id, call.args, call.place)
            for name, call in zip(self.names, self.chunk, strict=True)
        ]
        return (first.function_id, first.code, options), tasks


class Visits:
    """Futures by name; whoever takes one out sets it, so every method may be called on any thread."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[Future[Answer], str]] = {}
        self._names: dict[str, str] = {}
        self._mark, self._serials = uuid4().hex[:12], itertools.count()

    def begin(self, chunk: Sequence[Call]) -> Visit:
        """Notes tasks that go out; their futures are set by what is told of them."""
        names = [f"{self._mark}-{next(self._serials)}" for _ in chunk]
        visit = Visit(chunk, names, [Future() for _ in chunk])
        for name, call, future in zip(names, chunk, visit.futures, strict=True):
            self._open[name] = future, call.task_id
            self._names[call.task_id] = name
        return visit

    def name(self, task_id: str) -> str | None:
        """Returns the name under which a task is out, the last time that it went."""
        return self._names.get(task_id)

    def tell(self, ends: Iterable[Sequence[Any]]) -> None:
        """Takes what `runner.visit` has sent or returned."""
        for name, *fields in ends:
            future = self._take(name)
            if future is not None:
                answer = Answer(*fields)
                if answer.kind == NOT_BEGUN:
                    future.set_exception(NotBegun())
                else:
                    future.set_result(answer)

    def fail(self, names: Iterable[str], error: BaseException) -> None:
        """Ends those of these that are still out."""
        for name in names:
            future = self._take(name)
            if future is not None:
                future.set_exception(error)

    def fail_all(self, error: BaseException) -> None:
        """Ends all that are still out."""
        self.fail(tuple(self._open), error)

    def _take(self, name: str) -> Future[Answer] | None:
        future, task_id = self._open.pop(name, (None, ""))
        if self._names.get(task_id) == name:
            self._names.pop(task_id, None)
        return future
