"""This module is the REST calls towards a service without our extensions: ids and queues are made there.

Each function blocks and raises what `Connection.get` raises.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from compute_nb.connection import Connection, Repeat
from compute_nb.errors import ComputeError
from compute_nb.routes import Group, Status
from compute_nb.tasks import ErrorCode, Move, Submission, TaskResult, TaskState

MAX_IDS = 128
NO_ID = UUID(int=0)
"""Stands for a task group or endpoint that the service does not name."""

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_OPEN_STATES = {
    "waiting-for-nodes": TaskState.DELIVERED,
    "waiting-for-launch": TaskState.DELIVERED,
    "running": TaskState.RUNNING,
    "execution-start": TaskState.RUNNING,
}
_STATE_OF_CODE = {ErrorCode.CANCELLED: TaskState.CANCELLED, ErrorCode.LOST: TaskState.LOST}


class Accepted(NamedTuple):
    """The answer to a submit: the ids of each function's tasks in their order, or what is wrong with them."""

    task_group_id: UUID
    ids: Mapping[UUID, Sequence[UUID] | ComputeError]


class GroupReader(NamedTuple):
    """Where and as whom results are read."""

    url: str
    queue_prefix: str


def submit(connection: Connection, submission: Submission, user_runtime: Mapping[str, Any]) -> Accepted:
    """Sends one submit; it is repeated only if the service says that it did not take it."""
    tasks: dict[str, list[str]] = {}
    for task in submission.tasks:
        tasks.setdefault(str(task.function_id), []).append(task.args)
    fields = {
        "tasks": tasks,
        "task_group_id": str(submission.task_group_id),
        "create_queue": True,
        "user_runtime": user_runtime,
        **{k: v for k, v in submission.options.items() if k not in ("walltime_s", "context")},
    }
    path = f"/v3/endpoints/{submission.endpoint_id}/submit"
    answer = connection.send("POST", path, _dumps(fields).encode("utf-8", "surrogatepass"), Repeat.UNREAD)
    answered = answer.get("tasks") if isinstance(answer, dict) else None
    if not isinstance(answered, dict):
        raise ComputeError(
            f"the service at {connection.url} answered a submit to group {submission.task_group_id} without "
            "task ids; perhaps it has taken the tasks: reload_tasks of the group finds them then"
        )
    given = answer.get("task_group_id") or str(submission.task_group_id)
    seen: set[UUID] = set()
    ids = {UUID(key): _ids(answered.get(key), key, len(sent), seen) for key, sent in tasks.items()}
    return Accepted(UUID(given), ids)


def _ids(answered: Any, function_id: str, count: int, seen: set[UUID]) -> Sequence[UUID] | ComputeError:
    what = f"the service answered {count} tasks of function {function_id}"
    after = "perhaps it has taken them: reload_tasks of the group finds them then"
    if not isinstance(answered, list):
        return ComputeError(f"{what} with no task ids; {after}")
    if len(answered) != count:
        return ComputeError(f"{what} with {len(answered)} task ids; {after}")
    try:
        ids = [UUID(one) for one in answered]
    except (ValueError, TypeError, AttributeError):
        return ComputeError(f"{what} with ids that are no UUIDs, {str(answered)[:100]}; {after}")
    fresh = set(ids) - seen
    seen |= fresh
    if len(fresh) < count:
        return ComputeError(f"{what} with an id that stands twice; {after}")
    return ids


def group_reader(connection: Connection) -> GroupReader:
    """Returns how the queues of task groups are read; the password in it may change."""
    answer = connection.get("/v2/get_amqp_result_connection_url")
    try:
        return GroupReader(str(answer["connection_url"]), str(answer["queue_prefix"]))
    except (KeyError, TypeError) as error:
        raise ComputeError(
            f"the service at {connection.url} does not say where results are read: {error!r} is missing"
        ) from error


def group(connection: Connection, task_group_id: UUID) -> Group:
    """Returns the tasks of a group; their states are asked by `status`.

    Raises:
        ComputeError: The service does not know the group, or answers with another one.
    """
    try:
        answer = connection.get(f"/v2/taskgroup/{task_group_id}")
    except ComputeError as error:
        if error.http_status != 404:
            raise
        unknown = ComputeError(
            f"the service at {connection.url} knows no task group {task_group_id}, or it is somebody else's: "
            f"{error}"
        )
        unknown.code, unknown.http_status = error.code, error.http_status
        raise unknown from error
    try:
        named, tasks = UUID(answer["taskgroup_id"]), answer["tasks"]
        ids = [UUID(task["id"]) for task in tasks]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ComputeError(f"the tasks of group {task_group_id} can't be read: {error!r}") from error
    if named != task_group_id:
        raise ComputeError(f"task group {task_group_id} was asked for and {named} was answered")
    return group_of(ids)


def group_of(task_ids: Iterable[UUID]) -> Group:
    """Returns a group of these tasks, of which no more is known."""
    found = Group()
    found.add((str(task_id), TaskState.WAITING.value, None, None, None, 0) for task_id in sorted(task_ids))
    return found


def status(connection: Connection, task_ids: Sequence[UUID]) -> Status:
    """Returns how tasks stand, with the results of those that have ended."""
    found = Status([], [], {})
    for part in _parts(task_ids):
        answer = connection.post("/v2/batch_status", {"task_ids": [str(i) for i in part]}, Repeat.ALWAYS)
        for task_id in part:
            task = answer.get("results", {}).get(str(task_id))
            if isinstance(task, dict):
                _sort_in(task_id, task, found)
    return found


def _parts(task_ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(task_ids), MAX_IDS):
        yield task_ids[start : start + MAX_IDS]


def _sort_in(task_id: UUID, task: Mapping[str, Any], found: Status) -> None:
    said = str(task.get("status", "")).lower()
    ended_at = _seconds(task.get("completion_t"))
    if ended_at is None:
        state = _OPEN_STATES.get(said, TaskState.WAITING)
        found.moves.append(Move(task_id, NO_ID, state, 0, time.time()))
        return
    value = task.get("result") if said == "success" else None
    details = task.get("details")
    if isinstance(value, str):
        found.results.append(result(task_id, value, None, ended_at, details))
        return
    reason = task.get("exception") or task.get("reason") or f"it ended as {said!r} and no reason was given"
    found.results.append(result(task_id, str(reason), ErrorCode.REMOTE, ended_at, details))


def _seconds(completion_t: Any) -> float | None:
    """Returns when a task ended; what has none has not ended, whatever its status is called."""
    try:
        return float(completion_t) if completion_t else None
    except (TypeError, ValueError):
        return time.time()


def result(task_id: UUID, data: str, code: str | None, ended_at: float, details: Any = None) -> TaskResult:
    """Returns the end of a task, of which such a service tells no other times.

    Args:
        task_id: Of the task.
        data: The packed value, or the text of the error.
        code: Of the error; None for a value.
        ended_at: Seconds since the epoch.
        details: What the worker tells of itself, if anything.
    """
    state = TaskState.SUCCEEDED if code is None else _STATE_OF_CODE.get(code, TaskState.FAILED)
    return TaskResult(task_id, NO_ID, state, data, code, 0, None, None, ended_at, _worker(details))


_OUR_NAMES = {"python_version": "python", "dill_version": "dill", "os": "platform"}


def _worker(details: Any) -> Mapping[str, Any] | None:
    """Returns what a worker tells of itself, under the names that our agents use."""
    if not isinstance(details, Mapping):
        return None
    return {ours: details[theirs] for theirs, ours in _OUR_NAMES.items() if details.get(theirs)} or None


def workers(details: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns what the last heartbeat of an endpoint tells of its workers; {} if it has none now."""
    nodes = details.get("node_info")
    managers = [one for job in nodes.values() for one in job or ()] if isinstance(nodes, Mapping) else []
    return next((found for one in managers if (found := _worker(one))), {})
