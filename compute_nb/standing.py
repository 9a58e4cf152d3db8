"""This module is the standing of a task in published words: what `get_task` gives, read from an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compute_nb.errors import TaskExecutionFailed
from compute_nb.failure import failure
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.tasks import ErrorCode, TaskState


def standing(task: Mapping[str, Any], serializer: ComputeSerializer) -> dict[str, Any]:
    """Returns `pending`, `status` and, of a task that has ended, `completion_t` and `result` or `exception`.

    Raises:
        DeserializationError: Its value can't be read here.
    """
    status = str(task.get("status", "unknown"))
    pending = status.lower() not in ("success", "failed")
    found: dict[str, Any] = {"pending": pending, "status": status}
    found |= {name: task[name] for name in ("reason", "details") if task.get(name)}
    if pending:
        return found
    found["completion_t"] = task.get("completion_t", "0")
    if "result" in task:
        found["result"] = serializer.deserialize(task["result"])
    else:
        found["exception"] = _error(task, serializer)
    return found


def _error(task: Mapping[str, Any], serializer: ComputeSerializer) -> TaskExecutionFailed:
    text = task.get("exception") or task.get("reason") or "no reason was given"
    ours = task.get("compute_nb", {})
    error = failure(
        text,
        serializer,
        state=TaskState(ours.get("state", "FAILED")),
        code=ours.get("error_code", ErrorCode.REMOTE),
        ended_at=float(task.get("completion_t", 0)),
    )
    error.task_details = task.get("details")
    return error
