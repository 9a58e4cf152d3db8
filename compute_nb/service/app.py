"""This module is the web API: requests pass the gate, routes answer, errors get their published form."""

from __future__ import annotations

import logging
import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

import compute_nb
from compute_nb.errors import ComputeError
from compute_nb.service import body, openapi
from compute_nb.service.parts import Parts
from compute_nb.service.refusal import Refusal
from compute_nb.service.routes import calls
from compute_nb.service.store import Conflict, Forbidden, NotFound, StoreAway, StoreFull
from compute_nb.service.web_call import Call

_log = logging.getLogger(__name__)

OTHER = "other"
"""The route of requests that have none, in the numbers."""


class App:
    """The ASGI application of the service; loop thread only."""

    def __init__(self, parts: Parts) -> None:
        self._gate, self._limits, self._meter = parts.gate, parts.limits, parts.meter
        table = calls(parts)
        self._doors = {(call.method, call.path): call for call in table if call.door is not None}
        self._description = openapi.describe(table, compute_nb.__version__)
        paths = dict.fromkeys(call.path for call in table)
        routes = [self._route(path, [call for call in table if call.path == path]) for path in paths]
        self._router = Router(routes, redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; called by the web server."""
        begun_at, status = time.perf_counter(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        await self._answer(scope, receive, noting)
        route = scope.get("call", OTHER)
        self._meter.answered(
            _METHODS.get(scope["method"], OTHER), route, status, time.perf_counter() - begun_at
        )

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            self._gate.check_host(request)
            scope["max_bytes"] = self._limits.request_bytes
            if (scope["method"], scope["path"]) not in self._doors:
                scope["caller"] = await self._gate.caller(request)
                self._limits.request(scope["caller"].user)
            scope["app"] = self
            await self._router(scope, receive, send)
        except (ComputeError, HTTPException) as error:
            refusal = _refusal(error, scope)
            _log.info("%s %s: %s %s", scope["method"], scope["path"], refusal.status, refusal.message)
            await refusal.response()(scope, receive, send)
        except ClientDisconnect:
            _log.info("%s %s: the client went away before its end", scope["method"], scope["path"])
        except Exception:  # noqa: BLE001 - the top of a request
            _log.exception("%s %s failed", scope["method"], scope["path"])
            refusal = Refusal(500, "INTERNAL_ERROR", "the service failed; its log says why")
            await refusal.response()(scope, receive, send)

    def _route(self, path: str, calls: list[Call]) -> Route:
        """Returns one route for all methods of a path, so that a 405 names them all."""
        by_method = {call.method: call for call in calls}

        async def endpoint(request: Request) -> Response:
            request.scope["call"] = path
            call = by_method["GET" if request.method == "HEAD" else request.method]
            answer = await self._handle(call, request)
            return answer if isinstance(answer, Response) else JSONResponse(answer)

        return Route(path, endpoint, methods=list(by_method))

    async def _handle(self, call: Call, request: Request) -> Any:
        if call.door is not None:
            return await call.door(request)
        caller = request.scope["caller"]
        self._gate.permit(caller, call.scopes, admin=call.admin)
        if call.handler is None:
            return self._description
        with self._limits.reading(caller.user, _declared(request)):
            return await call.handler(request, caller)


def _declared(request: Request) -> int | None:
    """Returns how long a body says that it is; None if it has a length that is not told."""
    length = request.headers.get("content-length", "")
    if body.is_count(length):
        return int(length)
    return None if "transfer-encoding" in request.headers else 0


def _refusal(error: ComputeError | HTTPException, scope: Scope) -> Refusal:
    """Returns what a client is told of an error."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, HTTPException):
        what = f"{scope['method']} {scope['path'][:200]}"
        told = f"{what} is not a call of this service; /openapi.json lists those that are"
        return Refusal(error.status_code, "NO_SUCH_ROUTE", told, error.headers)
    for kind, status, code in _STATUS:
        if isinstance(error, kind):
            return Refusal(status, code, str(error))
    return Refusal(500, "INTERNAL_ERROR", str(error))


_STATUS: tuple[tuple[type[ComputeError], int, str], ...] = (
    (NotFound, 404, "NOT_FOUND"),
    (Forbidden, 403, "FORBIDDEN"),
    (Conflict, 409, "CONFLICT"),
    (StoreFull, 507, "STORE_FULL"),
    (StoreAway, 503, "STORE_AWAY"),
)
# Others are anybody's invention, and there may be many.
_METHODS = {method: method for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")}
