"""This module is the REST calls that the Executor needs: records of `compute_nb.tasks` to requests and back.

Each function blocks and raises what `Connection.get` raises.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from compute_nb.connection import Connection, Repeat
from compute_nb.errors import ComputeError, VersionMismatch
from compute_nb.tasks import Move, Submission, TaskResult, TaskState

EXTENSION_VERSION = 1
MAX_IDS = 1_000
PAGE = 10_000

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class WatchQueue(NamedTuple):
    """Where a watcher reads: an AMQP URL with its password, and the name of the queue."""

    url: str
    queue: str


class GroupRow(NamedTuple):
    """One task of a group, without its result."""

    task_id: UUID
    state: TaskState
    submitted_at: float | None


class Group(NamedTuple):
    """A whole task group, its tasks ordered by id."""

    endpoint_id: UUID
    tasks: list[GroupRow]


class Status(NamedTuple):
    """What the service says of some tasks: those open, those ended, and nothing of those it does not know."""

    moves: list[Move]
    results: list[TaskResult]
    endpoints: Mapping[UUID, UUID]


def extensions(connection: Connection) -> Mapping[str, Any] | None:
    """Returns what the service says of its extensions, None if it speaks the published protocol only.

    Raises:
        VersionMismatch: It speaks another version of them.
    """
    answer = connection.get("/v2/version?service=all")
    found = answer.get("compute_nb") if isinstance(answer, dict) else None
    if not isinstance(found, dict):
        return None
    if found.get("version") != EXTENSION_VERSION:
        raise VersionMismatch(
            f"the service at {connection.url} speaks version {found.get('version')} of the extensions, this "
            f"package version {EXTENSION_VERSION}: install the same compute_nb on both sides"
        )
    return found


def submit(connection: Connection, submission: Submission, user_runtime: Mapping[str, Any]) -> Sequence[UUID]:
    """Sends one submit with client-made ids; returns the ids as the service confirms them."""
    tasks: dict[str, list[str]] = {}
    ids: dict[str, list[str]] = {}
    for task in submission.tasks:
        function_id = str(task.function_id)
        tasks.setdefault(function_id, []).append(task.args)
        ids.setdefault(function_id, []).append(str(task.task_id))
    options = dict(submission.options)
    ours = {
        "task_ids": ids,
        "retries": submission.retries,
        "walltime_s": options.pop("walltime_s", None),
        "hold": submission.hold,
    }
    if "context" in options:
        ours["context"] = options.pop("context")
    fields = {
        "tasks": tasks,
        "task_group_id": str(submission.task_group_id),
        "create_queue": submission.create_queue,
        "user_runtime": user_runtime,
        **options,
        "compute_nb": ours,
    }
    path = f"/v3/endpoints/{submission.endpoint_id}/submit"
    answer = connection.send("POST", path, _dumps(fields).encode("utf-8", "surrogatepass"), Repeat.ALWAYS)
    return _confirmed(answer, ids)


def _confirmed(answer: Any, ids: Mapping[str, list[str]]) -> Sequence[UUID]:
    if not isinstance(answer, dict) or answer.get("tasks") != ids:
        raise ComputeError("the service answered a submit with other task ids than it was sent")
    return [UUID(task_id) for group in ids.values() for task_id in group]


def watch(connection: Connection, watch_id: UUID, groups: Iterable[UUID]) -> WatchQueue:
    """Has all that happens in `groups` from now on sent to the queue of this watcher."""
    fields = {"watch_id": str(watch_id), "task_groups": [str(group) for group in groups]}
    answer = connection.post("/v3/compute_nb/watch", fields, Repeat.ALWAYS)
    return WatchQueue(answer["connection_url"], answer["queue"])


def cancel(connection: Connection, task_ids: Sequence[UUID]) -> int:
    """Ends tasks; returns how many were still open."""
    ended = 0
    for start in range(0, len(task_ids), MAX_IDS):
        fields = {"task_ids": [str(i) for i in task_ids[start : start + MAX_IDS]]}
        ended += connection.post("/v3/compute_nb/cancel", fields, Repeat.ALWAYS)["cancelled"]
    return ended


def local_endpoint(connection: Connection) -> UUID:
    """Returns the endpoint of this interpreter at a service on this host, started if need be."""
    fields = {"python": sys.executable, "prefix": sys.prefix}
    answer = connection.post("/v3/compute_nb/local", fields, Repeat.ALWAYS)
    return UUID(answer["endpoint_id"])


def group(connection: Connection, task_group_id: UUID) -> Group:
    """Returns all tasks of a group."""
    rows: list[GroupRow] = []
    more, after = True, ""
    while more:
        answer = connection.get(f"/v3/compute_nb/taskgroup/{task_group_id}?limit={PAGE}{after}")
        page = [GroupRow(UUID(i), TaskState(state), at) for i, state, at in answer["tasks"]]
        rows += page
        more = answer["more"] and bool(page)
        after = f"&after={page[-1].task_id}" if page else ""
    return Group(UUID(answer["endpoint_id"]), rows)


def status(connection: Connection, task_ids: Sequence[UUID]) -> Status:
    """Returns how tasks stand, with the results of those that have ended."""
    found = Status([], [], {})
    endpoints: dict[UUID, UUID] = {}
    for start in range(0, len(task_ids), MAX_IDS):
        fields = {"task_ids": [str(i) for i in task_ids[start : start + MAX_IDS]]}
        answer = connection.post("/v2/batch_status", fields, Repeat.ALWAYS)
        for task in answer["results"].values():
            _sort_in(task, found, endpoints)
    return found._replace(endpoints=endpoints)


def _sort_in(task: dict[str, Any], found: Status, endpoints: dict[UUID, UUID]) -> None:
    ours = task["compute_nb"]
    task_id, group_id = UUID(task["task_id"]), UUID(ours["task_group_id"])
    state, attempt = TaskState(ours["state"]), ours["attempt"]
    endpoints[task_id] = UUID(ours["endpoint_id"])
    if not state.ended:
        at = ours["started_at"] or ours["submitted_at"]
        found.moves.append(Move(task_id, group_id, state, attempt, at))
        return
    data = task.get("result") if "result" in task else task.get("exception", "")
    times = ours["submitted_at"], ours["started_at"], ours["ended_at"]
    found.results.append(
        TaskResult(task_id, group_id, state, data or "", ours["error_code"], attempt, *times)
    )
