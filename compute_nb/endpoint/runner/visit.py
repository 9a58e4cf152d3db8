"""This module is the visit of a task to a worker that is not ours, such as one of Parsl or Dask.

Each thread of such a worker keeps a worker process of ours, so that a task runs there as it runs anywhere.
"""

from __future__ import annotations

import atexit
import os
import threading
from typing import Any

from .keeper import Call, Keeper

HELD = threading.local()
KEEPERS: list[Keeper] = []
PASSED_ON = "PARSL_"  # an engine below tells by such variables which nodes a task has got


def visit(setup: dict[str, Any], call: tuple[Any, ...]) -> tuple[Any, ...]:
    """Runs a task; returns the fields of a `keeper.Answer`."""
    keeper = getattr(HELD, "keeper", None)
    if keeper is None or keeper.setup != setup:
        if keeper is not None:
            leave(keeper)
        keeper = HELD.keeper = Keeper(setup)
        KEEPERS.append(keeper)
    task = Call(*call)
    told = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    options = {**task.options, "environ": {**told, **task.options.get("environ", {})}}
    return tuple(keeper.call(task._replace(options=options)))


def stop(task_id: str) -> bool:
    """Ends a task if it runs in this process; from any thread."""
    return any(keeper.stop(task_id) for keeper in tuple(KEEPERS))


def leave(keeper: Keeper) -> None:
    """Ends a keeper and what it keeps."""
    KEEPERS.remove(keeper)
    keeper.close()


def leave_all() -> None:
    """Leaves nothing behind when the host's process ends."""
    for keeper in tuple(KEEPERS):
        leave(keeper)


atexit.register(leave_all)
