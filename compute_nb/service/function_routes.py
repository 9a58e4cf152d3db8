"""This module is the routes of functions: register, get, delete. Their code is text, unread here."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from compute_nb import wire
from compute_nb.service import body
from compute_nb.service.gate import Caller
from compute_nb.service.parts import Parts
from compute_nb.service.refusal import unsupported

SOURCE_STRATEGY = "st"
"""The published id of plain source text; a worker knows how to make a function of it."""


class FunctionRoutes:
    """What `/v3/functions` and `/v2/functions` answer; loop thread only."""

    def __init__(self, parts: Parts) -> None:
        self._store = parts.store

    async def register(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Stores a function."""
        fields = await body.read(request)
        if "ha_endpoint_id" in fields:
            raise unsupported("this service has no high assurance: leave 'ha_endpoint_id' out")
        name, code = fields.take("function_name", str), fields.take("function_code", str)
        if not fields.take("serialized", bool, True):
            code = wire.pack_buffers([f"{SOURCE_STRATEGY}\n{name}:{code}"])
        function_id = await self._store.register_function(
            caller.user,
            name,
            code,
            meta=fields.take("meta", dict, {}),
            description=fields.take("description", str, "") or None,
            public=fields.take("public", bool, False),
            group=fields.uuid_or_none("group"),
        )
        return {"function_uuid": str(function_id)}

    async def get(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Answers with a function's code and what was told of it."""
        function_id = body.as_uuid(request.path_params["function_id"], "the function")
        row = await self._store.function(caller.user, function_id)
        return {
            "function_uuid": str(row.function_id),
            "function_name": row.name,
            "function_code": row.code,
            "description": row.description,
            "metadata": dict(row.meta),
        }

    async def delete(self, request: Request, caller: Caller) -> dict[str, Any]:
        """Forgets a function; tasks that were accepted still run."""
        function_id = body.as_uuid(request.path_params["function_id"], "the function")
        await self._store.delete_function(caller.user, function_id)
        return {"result": 302}
