"""This module is the routes of docs/extensions.md: watch, cancel, retry, local, status and others."""

from __future__ import annotations

import os
from typing import Any
from uuid import UUID

from starlette.requests import Request

from compute_nb.loopback import is_loopback
from compute_nb.service import body
from compute_nb.service.config import MAX_STATUS_IDS, MAX_WATCH_GROUPS, VERSION
from compute_nb.service.gate import Caller
from compute_nb.service.parts import Parts
from compute_nb.service.refusal import Refusal, bad_request, too_large
from compute_nb.service.store import EndpointRow
from compute_nb.service.tokens import client_username

API_VERSION = "2.0.0"
OLDEST_PEER = "2.0.0"
MAX_PAGE = 10_000

# What proxies add: who asks through one is not on this host.
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


class ExtensionRoutes:
    """What only our own clients ask; loop thread only."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = parts.store

    async def version(self, request: Request, _: Caller) -> dict[str, Any] | str:
        """Answers with the oldest peers that are served, and with our own version."""
        if request.query_params.get("service") != "all":
            return API_VERSION
        answer: dict[str, Any] = {
            "api": API_VERSION,
            "min_sdk_version": OLDEST_PEER,
            "min_ep_version": OLDEST_PEER,
        }
        if not self._parts.config.plain:
            answer["compute_nb"] = {"version": VERSION, "service_id": str(self._parts.service_id)}
        return answer

    async def proof(self, request: Request) -> dict[str, str]:
        """Answers with the proof that this service knows a token."""
        return {"proof": await self._parts.gate.prove(request)}

    async def watch(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Makes a watcher's private queue, or finds it again; its groups need not be there yet."""
        fields = await body.read(request)
        watch_id = fields.uuid("watch_id")
        groups = fields.uuids("task_groups", MAX_WATCH_GROUPS)
        queue = self._parts.publisher.open_watch(caller.user, watch_id, groups)
        for row in await self._store.groups_of(caller.user, groups):
            self._parts.publisher.accepted(caller.user, row.task_group_id, row.endpoint_id)
        url = await self._parts.broker_url(client_username(caller.user))
        return {"watch_id": str(watch_id), "queue": queue, "connection_url": url}

    async def cancel(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Ends tasks now; agents hear which of their runs to kill."""
        fields = await body.read(request)
        group, task_ids = _group_or_tasks(fields)
        ended = await self._store.cancel(caller.user, task_ids=task_ids, task_group_id=group)
        self._parts.publisher.ended(ended)
        await self._store.synced()
        return {"cancelled": len(ended.results)}

    async def delete(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Deletes tasks that have ended, with their arguments and values; open ones stay."""
        fields = await body.read(request)
        group, task_ids = _group_or_tasks(fields)
        done = await self._store.delete(caller.user, task_ids=task_ids, task_group_id=group)
        await self._store.synced()
        return {"deleted": done.deleted, "open": done.open}

    async def lose(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Gives up open tasks on the word of their owner; a late value still counts."""
        task_ids = (await body.read(request)).uuids("task_ids", MAX_STATUS_IDS)
        ended = await self._store.lose(caller.user, task_ids)
        self._parts.publisher.ended(ended)
        await self._store.synced()
        return {"lost": len(ended.results)}

    async def groups(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Answers with the caller's task groups, the newest first, and how the tasks of each stand."""
        rows = await self._store.groups(caller.user, _limit(request))
        return {
            "groups": [
                {
                    "task_group_id": str(row.group.task_group_id),
                    "endpoint_id": str(row.group.endpoint_id),
                    "endpoint_name": row.endpoint_name,
                    "created_at": row.group.created_at,
                    "tasks": {state.value: count for state, count in row.tasks.items()},
                }
                for row in rows
            ]
        }

    async def retry(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Has tasks that gave no value run again; answered once the new ones are on disk."""
        pairs = _pairs((await body.read(request)).take("tasks", list))
        done = await self._store.retry(caller.user, pairs)
        for endpoint_id, task_group_id in done.started:
            self._parts.publisher.accepted(caller.user, task_group_id, endpoint_id)
            self._parts.supervisor.need(endpoint_id)
            self._parts.steward.need(endpoint_id)
        await self._store.synced()
        return {"newest": [[str(task_id), str(newest)] for task_id, newest in done.newest]}

    async def inputs(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Answers with what a task was submitted with, to the one who has submitted it."""
        task_id = body.as_uuid(request.path_params["task_id"], "the task")
        found = await self._store.inputs(caller.user, task_id)
        return {
            "task_id": str(task_id),
            "function_id": str(found.function_id),
            "function_code": found.code,
            "args": found.args,
        }

    async def local(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Finds or makes the endpoint of an interpreter on this host; starts its agent unless told not to."""
        self._own(request, caller, "use its local endpoints")
        fields = await body.read(request)
        python, prefix = fields.take("python", str), fields.take("prefix", str)
        if not (os.path.isabs(python) and os.access(python, os.X_OK)):
            raise bad_request(f"'python' {python[:300]!r} is no program with a full path")
        start = fields.take("start", bool, True)
        endpoint_id, name = await self._parts.supervisor.local(caller.user, python, prefix, start=start)
        self._parts.collector.declare(endpoint_id)
        return {"endpoint_id": str(endpoint_id), "name": name}

    async def stop(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Ends the service, its local agents first; `keep_agents` leaves them to the next one."""
        self._own(request, caller, "stop it")
        asked = await body.read(request)
        self._parts.stop(asked.take("keep_agents", bool, False), asked.take("now", bool, False))
        return {"stopping": True}

    async def status(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Answers with what `compute-nb service status --json` prints."""
        self._own(request, caller, "see its state")
        endpoints = await self._store.endpoints(caller.user)
        counts = await self._store.counts()
        home = self._parts.config.home
        return {
            "url": self._parts.address.url,
            "pid": os.getpid(),
            "broker": self._parts.broker_name,
            "store": self._store.url,
            "token_file": str(home.token_file),
            "endpoints": [self._endpoint(row) for row in endpoints],
            "tasks": {state.value: count for state, count in counts.items()},
        }

    async def group_page(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Answers with one page of a group's tasks, ordered by task id."""
        task_group_id = body.as_uuid(request.path_params["task_group_id"], "the task group")
        after = request.query_params.get("after")
        page = await self._store.tasks_of_group(
            caller.user,
            task_group_id,
            None if after is None else body.as_uuid(after, "'after'"),
            _limit(request),
        )
        return {
            "task_group_id": str(task_group_id),
            "endpoint_id": str(page.group.endpoint_id),
            "tasks": [
                [str(task_id), state.value, *rest, *([] if retry_of is None else [str(retry_of)])]
                for task_id, state, *rest, retry_of in page.tasks
            ],
            "more": page.more,
        }

    def _own(self, request: Request, caller: Caller, what: str) -> None:
        self._parts.gate.own(caller, what)
        forwarded = any(name in request.headers for name in _FORWARDED)
        if forwarded or request.client is None or not is_loopback(request.client.host):
            raise Refusal(403, "FORBIDDEN", f"only programs on the service's own host may {what}")

    def _endpoint(self, row: EndpointRow) -> dict[str, Any]:
        agent = row.agent or {}
        return {
            "id": str(row.endpoint_id),
            "name": row.name,
            "state": "online" if self._parts.collector.present(row.endpoint_id) else "offline",
            "workers": agent.get("workers"),
            "python": agent.get("python") or row.metadata.get("python_version"),
        }


def _pairs(given: list[Any]) -> list[tuple[UUID, UUID]]:
    if len(given) > MAX_STATUS_IDS:
        raise too_large(f"{len(given):,} tasks in one request, {MAX_STATUS_IDS:,} are allowed: ask in parts")
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in given):
        raise bad_request("each of 'tasks' must be a list of two ids: of a task and of the one that is to be")
    pairs = [(_id(old), _id(new)) for old, new in given]
    if any(not new.int for _, new in pairs):
        raise bad_request("a new id in 'tasks' is the nil UUID, which names nothing")
    return pairs


def _id(value: object) -> UUID:
    return body.as_uuid(value, "each id in 'tasks'")


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", "1000")
    if not body.is_count(text) or not 1 <= int(text) <= MAX_PAGE:
        raise bad_request(f"'limit' must be between 1 and {MAX_PAGE:,}, not {text[:40]!r}")
    return int(text)


def _group_or_tasks(fields: body.Body) -> tuple[UUID | None, list[UUID]]:
    """Returns which tasks are meant: those of a group, or these."""
    group = fields.uuid_or_none("task_group_id")
    task_ids = fields.uuids("task_ids", MAX_STATUS_IDS) if "task_ids" in fields else []
    if (group is None) != ("task_ids" in fields):
        raise bad_request("the body must have either 'task_ids' or 'task_group_id'")
    return group, task_ids
