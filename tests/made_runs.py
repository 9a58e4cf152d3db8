"""Runs whose futures a test moves by hand, as the watcher would."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from compute_nb.future import ComputeFuture
from compute_nb.notebook.kit.home import Home
from compute_nb.notebook.runs.group import ComputeGroup
from compute_nb.notebook.runs.run import Run
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.tasks import Move, TaskResult, TaskState, new_id, new_ids

GROUP = new_id()
BEGAN = time.time() - 100
_WRITTEN = ComputeSerializer().serialize(None)


def run_of(count: int, **settings: Any) -> Run:
    """Returns a run of so many waiting tasks of a sweep over `s`, submitted 100 s ago."""
    futures = [ComputeFuture(task_id) for task_id in new_ids(count)]
    for future in futures:
        future.submitted_at = BEGAN
    given = {"cell": "In[7]", "name": "sims", "endpoint": "local", "label": "", **settings}
    points = [{"s": place} for place in range(count)]
    group = ComputeGroup(futures, points, "sims") if count != 1 else None
    return Run(futures=futures, home=Home({}, str), group=group, submitted_at=BEGAN, **given)


def start(future: ComputeFuture, after_s: float) -> None:
    """A worker begins it so long after its submit."""
    future.follow(Move(future.id, GROUP, TaskState.RUNNING, 0, BEGAN + after_s))


def end(
    future: ComputeFuture,
    state: TaskState,
    after_s: float = 2.0,
    ran_s: float = 1.0,
    data: str = "",
) -> None:
    """It ends so long after its submit."""
    text = data or (_WRITTEN if state is TaskState.SUCCEEDED else f"{state.word} for a reason")
    until = BEGAN + after_s
    future.take(TaskResult(future.id, GROUP, state, text, None, 0, BEGAN, until - ran_s, until))


def published() -> tuple[list[Any], Callable[[Any, Any, str, bool], None]]:
    """Returns a list, and what puts display data into it as a front end would get them."""
    got: list[Any] = []
    return got, lambda data, metadata, display_id, update: got.append((data, metadata, display_id, update))
