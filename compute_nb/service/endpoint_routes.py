"""This module is the routes of endpoints: register, describe, stop, delete."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from starlette.requests import Request

from compute_nb.service import body
from compute_nb.service.body import Body
from compute_nb.service.gate import Caller
from compute_nb.service.parts import Parts
from compute_nb.service.queue_info import exchange_info, queue_info
from compute_nb.service.refusal import Refusal, bad_request, too_large, unsupported
from compute_nb.service.store import EndpointRow
from compute_nb.service.tokens import agent_username, commands_queue, tasks_queue

_NAME = re.compile(r"""[^\s/\\'".][^\s/\\'"]{0,127}""")
_TOLD = ("endpoint_config", "user_config_template", "user_config_schema", "hostname", "local_user")
_KEPT = ("multi_user", "authentication_policy", "subscription_uuid", "high_assurance")

_OURS = frozenset({*_KEPT, "allowed_functions", "admins"})

PUBLISHED = "published"
LOCK_S = 10.0
MAX_ALLOWED = 10_000
MAX_ADMINS = 100
MAX_METADATA = 2_000_000


class EndpointRoutes:
    """What `/v3/endpoints` and `/v2/endpoints` answer; loop thread only."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = parts.store

    async def register(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Makes a new endpoint and tells its agent where to read and write."""
        return await self._register(await body.read(request), caller, None)

    async def register_again(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Takes an agent back under the id that it had."""
        return await self._register(await body.read(request), caller, _endpoint_id(request))

    async def get(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Answers with what an endpoint said of itself."""
        row = await self._store.endpoint(caller.user, _endpoint_id(request))
        metadata = row.metadata
        return {
            **_brief(row),
            "description": metadata.get("description"),
            "endpoint_version": metadata.get("endpoint_version"),
            "sdk_version": metadata.get("sdk_version"),
            "ip_address": None,
            "multi_user": bool(metadata.get("multi_user")),
            "public": row.public,
            "subscription_uuid": metadata.get("subscription_uuid"),
            **{name: metadata.get(name) for name in _TOLD},
        }

    async def all(self, request: Request, caller: Caller) -> list[dict[str, Any]]:
        """Answers with the caller's endpoints; `role=any` adds public ones."""
        public = request.query_params.get("role") == "any"
        return [_brief(row) for row in await self._store.endpoints(caller.user, public=public)]

    async def status(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Answers whether an agent is there, and what its last heartbeat said."""
        row = await self._store.endpoint(caller.user, _endpoint_id(request))
        heartbeat = self._parts.collector.heartbeat(row.endpoint_id)
        online = self._parts.collector.present(row.endpoint_id)
        details = dict(heartbeat.state) if heartbeat else {}
        if row.agent and not self._parts.config.plain:
            details["compute_nb"] = row.agent
        if warning := self._parts.steward.warning(row.endpoint_id):
            details["warning"] = warning
        return {"status": "online" if online else "offline", "details": details}

    async def allowed_functions(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Answers which functions an endpoint takes; none listed means that it takes all."""
        row = await self._store.endpoint(caller.user, _endpoint_id(request))
        functions = row.metadata.get("allowed_functions") or []
        return {"endpoint_id": str(row.endpoint_id), "restricted": bool(functions), "functions": functions}

    async def lock(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Stops an endpoint's agent; a local one is not started again before the next submit.

        Answers when a local one has ended, or after a while: its tasks may have longer.
        """
        row = await self._store.endpoint(caller.user, _endpoint_id(request))
        self._own(row, caller)
        await self._parts.supervisor.stop_within(row.endpoint_id, LOCK_S)
        if row.kind == PUBLISHED:
            # It knows no stop: it ends once it is refused, and registers again when it is started.
            await self._parts.shut_out([agent_username(row.endpoint_id)])
        at = datetime.fromtimestamp(time.time(), UTC).replace(tzinfo=None)
        return {
            "endpoint_id": str(row.endpoint_id),
            "lock_expiration_timestamp": at.isoformat("T", "microseconds"),
        }

    async def delete(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Forgets an endpoint: its open tasks end, its agent's password is void."""
        endpoint_id = _endpoint_id(request)
        ended = await self._store.delete_endpoint(caller.user, endpoint_id)
        await self._parts.supervisor.forget(endpoint_id)
        self._parts.publisher.events((), ended.results)
        for one in (endpoint_id, *self._parts.steward.users_of(endpoint_id)):
            await self._shut_out(one)
        self._parts.steward.forget(endpoint_id)
        await self._store.synced()
        return {"result": 302}

    def _own(self, row: EndpointRow, caller: Caller) -> None:
        if not row.managed_by(caller.user):
            raise Refusal(
                403,
                "FORBIDDEN",
                f"endpoint {row.endpoint_id} can be stopped by its owner, and the admins that he named, only",
            )

    async def _shut_out(self, endpoint_id: UUID) -> None:
        await self._parts.shut_out([agent_username(endpoint_id)])
        for queue in (tasks_queue(endpoint_id), commands_queue(endpoint_id)):
            self._parts.broker.delete_queue(queue)

    async def _register(self, fields: Body, caller: Caller, known: UUID | None) -> dict[str, Any]:
        name = fields.take("endpoint_name", str)
        if not _NAME.fullmatch(name):
            raise bad_request(
                f"endpoint name {name[:140]!r}: at most 128 characters, no white space, slashes or quotes, "
                "no dot at the start"
            )
        _refuse_unsupported(fields)
        metadata = _metadata(fields)
        endpoint_id = await self._store.register_endpoint(
            caller.user,
            name,
            metadata,
            known,
            public=fields.take("public", bool, False),
            display_name=fields.take("display_name", str, "") or None,
        )
        self._parts.collector.declare(endpoint_id)
        if "compute_nb" not in metadata:
            self._parts.steward.registered(endpoint_id)
        return await self._queues(endpoint_id)

    async def _queues(self, endpoint_id: UUID) -> dict[str, Any]:
        """Returns where the agent reads and writes, in the published shapes."""
        url = await self._parts.broker_url(agent_username(endpoint_id))
        return {
            "endpoint_id": str(endpoint_id),
            "task_queue_info": queue_info(url, tasks_queue(endpoint_id)),
            "command_queue_info": queue_info(url, commands_queue(endpoint_id)),
            "result_queue_info": exchange_info(url, "results", endpoint_id),
            "heartbeat_queue_info": exchange_info(url, "heartbeats", endpoint_id),
        }


def _refuse_unsupported(fields: Body) -> None:
    """A promise that would not be kept is worse than none: the agent ends and prints why."""
    if "authentication_policy" in fields:
        raise unsupported(
            "this service can't enforce an authentication policy: leave it out, and give tokens only to "
            "those who may use the endpoint"
        )


def _endpoint_id(request: Request) -> UUID:
    return body.as_uuid(request.path_params["endpoint_id"], "the endpoint")


def _metadata(fields: Body) -> dict[str, Any]:
    """Returns what the agent says of itself; what the service goes by comes from its own fields only."""
    told = {key: value for key, value in fields.take("metadata", dict, {}).items() if key not in _OURS}
    metadata = told | fields.given(*_KEPT) | _lists(fields)
    if len(json.dumps(metadata)) > MAX_METADATA:
        raise too_large(f"an endpoint may say {MAX_METADATA:,} characters of itself in 'metadata'")
    return metadata


def _lists(fields: Body) -> dict[str, list[str]]:
    limits = {"allowed_functions": MAX_ALLOWED, "admins": MAX_ADMINS}
    return {name: [str(i) for i in fields.uuids(name, limits[name])] for name in fields.given(*limits)}


def _brief(row: EndpointRow) -> dict[str, Any]:
    return {
        "uuid": str(row.endpoint_id),
        "name": row.name,
        "display_name": row.display_name or row.name,
        "owner": str(row.owner),
    }
