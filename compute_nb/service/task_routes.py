"""This module is the published routes of tasks and groups: how they stand, where their results arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

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

    async def group(self, request: Request, caller: Caller) -> Response:
        """Answers with the ids of a group's tasks, and makes sure that its shared queue is there.

        Page by page, since there is no bound: nobody waits for a group of a million, and none is in memory.
        """
        task_group_id = body.as_uuid(request.path_params["task_group_id"], "the task group")
        first = await self._store.places_of_group(caller.user, task_group_id, None, PAGE)
        self._parts.publisher.open_group_queue(caller.user, task_group_id)
        pages = self._pages(caller.user, task_group_id, first)
        if len(first) < PAGE:
            return Response("".join([page async for page in pages]), media_type="application/json")
        return StreamingResponse(pages, media_type="application/json")

    async def connection_url(self, _: Request, caller: Caller) -> dict[str, Any]:
        """Answers where and as whom the caller reads its results."""
        return {
            "queue_prefix": group_queue_prefix(caller.user),
            "connection_url": await self._parts.broker_url(client_username(caller.user)),
        }

    def _object(self, row: TaskRow) -> dict[str, Any]:
        return published_object(row) if self._plain else task_object(row)

    async def _pages(
        self, user: UUID, task_group_id: UUID, page: Sequence[tuple[UUID, float]]
    ) -> AsyncIterator[str]:
        yield f'{{"taskgroup_id":"{task_group_id}","create_websockets_queue":true,"tasks":['
        before = ""
        while page:
            yield before + ",".join(f'{{"id":"{task_id}","created_at":{at!r}}}' for task_id, at in page)
            before, last, full = ",", page[-1][0], len(page) == PAGE
            page = await self._store.places_of_group(user, task_group_id, last, PAGE) if full else []
        yield "]}"


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
