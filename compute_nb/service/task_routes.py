"""This module is the published routes of tasks and groups: how they stand, where their results arrive."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from starlette.requests import Request

from compute_nb.service import body
from compute_nb.service.config import MAX_STATUS_IDS
from compute_nb.service.gate import Caller
from compute_nb.service.parts import Parts
from compute_nb.service.refusal import not_found
from compute_nb.service.store import TaskRow
from compute_nb.service.tokens import client_username, group_queue_prefix
from compute_nb.tasks import TaskState

PAGE = 10_000
_PUBLISHED = {
    TaskState.WAITING: "waiting-for-ep",
    TaskState.DELIVERED: "waiting-for-nodes",
    TaskState.RUNNING: "running",
    TaskState.SUCCEEDED: "success",
}


class TaskRoutes:
    """What `/v2/tasks`, `/v2/batch_status` and `/v2/taskgroup` answer; loop thread only."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = parts.store
        self._plain = parts.config.plain

    async def get(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Answers with one task."""
        task_id = body.as_uuid(request.path_params["task_id"], "the task")
        rows = await self._store.task_rows(caller.user, [task_id])
        if not rows:
            raise not_found("task", task_id)
        return self._object(rows[0])

    async def batch_status(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Answers with several tasks; ids that are not the caller's are left out."""
        task_ids = (await body.read(request)).uuids("task_ids", MAX_STATUS_IDS)
        rows = await self._store.task_rows(caller.user, task_ids)
        return {"response": "batch", "results": {str(row.task_id): self._object(row) for row in rows}}

    async def group(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Answers with the ids of a group's tasks, and makes sure that its shared queue is there."""
        task_group_id = body.as_uuid(request.path_params["task_group_id"], "the task group")
        tasks = await self._all(caller.user, task_group_id)
        self._parts.publisher.open_group_queue(caller.user, task_group_id)
        return {"taskgroup_id": str(task_group_id), "create_websockets_queue": True, "tasks": tasks}

    async def connection_url(self, _: Request, caller: Caller) -> dict[str, Any]:
        """Answers where and as whom the caller reads its results."""
        return {
            "queue_prefix": group_queue_prefix(caller.user),
            "connection_url": await self._parts.broker_url(client_username(caller.user)),
        }

    def _object(self, row: TaskRow) -> dict[str, Any]:
        return published_object(row) if self._plain else task_object(row)

    async def _all(self, user: UUID, task_group_id: UUID) -> list[dict[str, Any]]:
        tasks: list[dict[str, Any]] = []
        replaced: set[str] = set()
        after, more = None, True
        while more:
            page = await self._store.tasks_of_group(user, task_group_id, after, PAGE)
            tasks += [{"id": str(row[0]), "created_at": row[2]} for row in page.tasks]
            replaced.update(str(row[6]) for row in page.tasks if row[6] is not None)
            after, more = (page.tasks[-1][0] if page.tasks else after), page.more
        return [task for task in tasks if task["id"] not in replaced] if replaced else tasks


def task_object(row: TaskRow) -> dict[str, Any]:
    """Returns a task in its published form, with our own key beside it."""
    return {
        **published_object(row),
        "compute_nb": {
            "state": row.state.value,
            "task_group_id": str(row.task_group_id),
            "endpoint_id": str(row.endpoint_id),
            "attempt": row.attempt,
            "submitted_at": row.submitted_at,
            "started_at": row.started_at,
            "ended_at": row.ended_at,
            "error_code": row.error_code,
        },
    }


def published_object(row: TaskRow) -> dict[str, Any]:
    """Returns a task in its published form."""
    task: dict[str, Any] = {
        "task_id": str(row.task_id),
        "status": _PUBLISHED.get(row.state, "failed"),
    }
    if row.state.ended:
        text = row.data if row.data is not None else ""
        task["completion_t"] = str(row.ended_at)
        task["result" if row.state is TaskState.SUCCEEDED else "exception"] = text
    return task
