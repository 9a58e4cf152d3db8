"""This module is the answer of a keeper to a call: how a task ended on a host that is not ours."""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple

SUCCESS, ERROR, DIED, CANCELLED, WALLTIME, NO_WORKER, NOT_BEGUN = (
    "success",
    "error",
    "died",
    "cancelled",
    "walltime",
    "no worker",
    "not begun",
)


class Call(NamedTuple):
    """One task; `code` and `args` are packed, `place` is that in the custody file."""

    task_id: str
    function_id: str
    code: str
    args: str
    options: dict[str, Any]
    place: int = -1


class Answer(NamedTuple):
    """How a task ended.

    Attributes:
        kind: SUCCESS, ERROR, DIED, CANCELLED, WALLTIME, NO_WORKER or NOT_BEGUN.
        data: The packed value, the text of the error, or the last words of the worker.
        code: The error's code; of a worker that died its exit code.
        pid: Of that worker.
        host: Where.
    """

    kind: str
    data: str
    code: Any
    started: float
    ended: float
    pid: int
    host: str


def never(kind: str) -> Answer:
    """Returns the end of a task that has not begun."""
    now = time.time()
    return Answer(kind, "", None, now, now, 0, os.uname().nodename)
