"""This module is the published messages: task, result and heartbeat of an endpoint that speaks no extension.

Their data follow globus-compute-common 1.0; `compute_nb.wire` puts them into the envelope.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class StatusReport:
    """A heartbeat: the published ep_status_report."""

    endpoint_id: UUID
    global_state: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PublishedTask:
    """The published task message, one task to a user endpoint."""

    task_id: UUID
    task_buffer: str


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """The published result message; it is an error exactly if `error` is not None.

    Attributes:
        error: (code, user message) or None.
        started_at: When the worker began, seconds since the epoch.
        ended_at: When it was done.
    """

    task_id: UUID
    data: str
    details: Mapping[str, Any] | None = None
    error: tuple[str, str] | None = None
    started_at: float | None = None
    ended_at: float | None = None


def _status_out(report: StatusReport) -> dict[str, Any]:
    return {
        "endpoint_id": str(report.endpoint_id),
        "global_state": dict(report.global_state),
        "task_statuses": {},
    }


def _status_in(data: dict[str, Any]) -> StatusReport:
    state = data["global_state"] if "global_state" in data else data["ep_status_report"]
    return StatusReport(UUID(data["endpoint_id"]), dict(state))


def _task_out(task: PublishedTask) -> dict[str, Any]:
    return {
        "task_id": str(task.task_id),
        "container_id": None,
        "container": None,
        "task_buffer": task.task_buffer,
    }


def _task_in(data: dict[str, Any]) -> PublishedTask:
    return PublishedTask(UUID(data["task_id"]), as_text(data["task_buffer"]))


def _result_out(result: PublishedResult) -> dict[str, Any]:
    error = result.error and {"code": result.error[0], "user_message": result.error[1]}
    return {
        "task_id": str(result.task_id),
        "data": result.data,
        "details": None if result.details is None else dict(result.details),
        "error_details": error,
        "task_statuses": _transitions(result),
    }


def _transitions(result: PublishedResult) -> list[dict[str, Any]] | None:
    """Returns when a worker began and was done, in nanoseconds, as one of a published agent tells."""
    times = {"execution-start": result.started_at, "execution-end": result.ended_at}
    found = [
        {"timestamp": round(at * 1e9), "state": state, "actor": "worker"}
        for state, at in times.items()
        if at is not None
    ]
    return found or None


def _result_in(data: dict[str, Any]) -> PublishedResult:
    error = data.get("error_details")
    return PublishedResult(
        task_id=UUID(data["task_id"]),
        data=as_text(data["data"]),
        details=data.get("details"),
        error=error and (str(error["code"]), str(error["user_message"])),
        started_at=_transition(data, "execution-start"),
        ended_at=_transition(data, "execution-end"),
    )


def _transition(data: dict[str, Any], state: str) -> float | None:
    """Returns when a worker of a published agent came to a state; it counts in nanoseconds."""
    for transition in data.get("task_statuses") or ():
        if transition["state"] == state:
            return float(transition["timestamp"]) / 1e9
    return None


def as_text(value: Any) -> str:
    """Returns a value of a message that must be text.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"text expected, not {type(value).__name__}")
    return value


# class -> name, spelling, reading
TYPES: tuple[tuple[type, str, Any, Any], ...] = (
    (StatusReport, "ep_status_report", _status_out, _status_in),
    (PublishedTask, "task", _task_out, _task_in),
    (PublishedResult, "result", _result_out, _result_in),
)
