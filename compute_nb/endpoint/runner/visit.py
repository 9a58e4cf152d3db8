"""This module is the visit of tasks to a worker that is not ours, such as one of Parsl or Dask.

Each thread of such a worker keeps a worker process of ours, so that a task runs there as it runs anywhere.
"""

from __future__ import annotations

import atexit
import os
import threading
from typing import Any

from .answer import CANCELLED, Call, never
from .keeper import Keeper
from .line import line
from .round import Round

HELD = threading.local()
KEEPERS: list[Keeper] = []
ROUNDS: list[Round] = []
PASSED_ON = "PARSL_"  # an engine below tells by such variables which nodes a task has got
UNWANTED: dict[str, None] = {}  # tasks to be ended that have not come here, and may
MAX_UNWANTED = 10_000
TURN = threading.Lock()


def visit(
    setup: dict[str, Any],
    call: tuple[str, str, dict[str, Any]],
    tasks: list[tuple[str, str, str, int]],
    tell: Any = None,
) -> list[Any]:
    """Runs tasks of one function; returns `[name, *keeper.Answer]` for each.

    Args:
        setup: For the keeper; `line` where the agent may be called.
        call: The function's id, its packed code and the options.
        tasks: Of each a name that no other run has, its id, its packed arguments, its place in custody.
        tell: Sends such a list ahead, where this can be done.
    """
    function_id, code, options = call
    told = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    options = {**options, "environ": {**told, **options.get("environ", {})}}
    if tell is None and setup.get("line"):
        up = line(setup["line"], stop)
        tell = up and up.tell
    calls = {name: Call(task_id, function_id, code, args, options, at) for name, task_id, args, at in tasks}
    with TURN:
        gone = [name for name in calls if name in UNWANTED]
        for name in gone:
            del calls[name], UNWANTED[name]
        one_round = Round(held(setup), calls.items(), tell)
        ROUNDS.append(one_round)
    try:
        return one_round.run() + [[name, *never(CANCELLED)] for name in gone]
    finally:
        ROUNDS.remove(one_round)


def held(setup: dict[str, Any]) -> Keeper:
    """Returns this thread's keeper."""
    keeper: Keeper | None = getattr(HELD, "keeper", None)
    if keeper is None or keeper.setup != setup:
        if keeper is not None:
            leave(keeper)
        keeper = HELD.keeper = Keeper(setup)
        KEEPERS.append(keeper)
    return keeper


def stop(name: str) -> bool:
    """Ends a task if it is in this process, or once it comes here; from any thread."""
    with TURN:
        if any(one.stop(name) for one in ROUNDS):
            return True
        UNWANTED[name] = None
        while len(UNWANTED) > MAX_UNWANTED:
            del UNWANTED[next(iter(UNWANTED))]
        return False


def leave(keeper: Keeper) -> None:
    """Ends a keeper and what it keeps."""
    KEEPERS.remove(keeper)
    keeper.close()


def leave_all() -> None:
    """Leaves nothing behind when the host's process ends."""
    for keeper in tuple(KEEPERS):
        leave(keeper)


atexit.register(leave_all)
