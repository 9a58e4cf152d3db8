"""This module is the web API: requests pass the gate, routes answer, errors get their published form."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import Receive, Scope, Send

from compute_nb.errors import ComputeError
from compute_nb.service import body
from compute_nb.service.endpoint_routes import EndpointRoutes
from compute_nb.service.extension_routes import ExtensionRoutes
from compute_nb.service.function_routes import FunctionRoutes
from compute_nb.service.gate import Caller
from compute_nb.service.parts import Parts
from compute_nb.service.refusal import Refusal
from compute_nb.service.store import Conflict, Forbidden, NotFound, StoreAway, StoreFull, StoreUnusable
from compute_nb.service.submission import read_submission, reply
from compute_nb.service.task_routes import TaskRoutes
from compute_nb.tasks import Submission

_log = logging.getLogger(__name__)

PROOF_PATH = "/v3/compute_nb/proof"

Handler = Callable[[Request, Caller], Awaitable[Any]]


class App:
    """The ASGI application of the service; loop thread only."""

    def __init__(self, parts: Parts) -> None:
        self._gate = parts.gate
        self._router = Router(_routes(parts), redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; called by the web server."""
        request = Request(scope, receive)
        try:
            self._gate.check_host(request)
            if scope["path"] == PROOF_PATH:
                response: Response = JSONResponse({"proof": await self._gate.prove(request)})
                await response(scope, receive, send)
                return
            scope["caller"] = await self._gate.caller(request)
            scope["app"] = self
            await self._router(scope, receive, send)
        except (ComputeError, HTTPException) as error:
            refusal = _refusal(error, scope)
            _log.info("%s %s: %s %s", scope["method"], scope["path"], refusal.status, refusal.message)
            await refusal.response()(scope, receive, send)
        except Exception:  # noqa: BLE001 - the top of a request
            _log.exception("%s %s failed", scope["method"], scope["path"])
            refusal = Refusal(500, "INTERNAL_ERROR", "the service failed; its log says why")
            await refusal.response()(scope, receive, send)


class Submits:
    """The route on which tasks come in."""

    def __init__(self, parts: Parts) -> None:
        self._store = parts.store
        self._plain = bool(parts.config.plain)
        self._publisher = parts.publisher
        self._supervisor = parts.supervisor

    async def submit(self, request: Request, caller: Caller) -> Response:
        """Accepts tasks: committed, on their way to the agent, on disk, and only then answered."""
        endpoint_id = body.as_uuid(request.path_params["endpoint_id"], "the endpoint")
        raw = await body.read_bytes(request)
        submission = read_submission(endpoint_id, body.parse(raw), plain=self._plain)
        digest = None
        if not submission.client_ids:
            digest = hashlib.sha256(endpoint_id.bytes + raw).digest()
        accepted = await self._store.submit(caller.user, submission, digest=digest)
        self._accepted(submission, caller)
        try:
            await self._store.synced()
        except StoreUnusable as error:
            # Committed: a status that clients repeat would make published ones submit twice.
            raise Refusal(507, "STORE_FAILED", str(error)) from error
        _log.debug(
            "group %s: %s tasks for endpoint %s accepted",
            *(submission.task_group_id, len(submission.tasks), endpoint_id),
        )
        response = JSONResponse(reply(submission, accepted.task_group_id, accepted.task_ids))
        if digest is not None:
            written = not await request.is_disconnected()
            response.background = BackgroundTask(self._store.answered, caller.user, digest, written)
        return response

    def _accepted(self, submission: Submission, caller: Caller) -> None:
        self._publisher.accepted(caller.user, submission.task_group_id, submission.endpoint_id)
        if submission.create_queue:
            self._publisher.open_group_queue(caller.user, submission.task_group_id)
        self._supervisor.need(submission.endpoint_id)


def _routes(parts: Parts) -> list[BaseRoute]:
    functions, endpoints, tasks = FunctionRoutes(parts), EndpointRoutes(parts), TaskRoutes(parts)
    ours = ExtensionRoutes(parts)
    published: tuple[tuple[str, str, Handler], ...] = (
        ("POST", "/v3/endpoints/{endpoint_id}/submit", Submits(parts).submit),
        ("GET", "/v2/version", ours.version),
        ("GET", "/v2/get_amqp_result_connection_url", tasks.connection_url),
        ("POST", "/v3/functions", functions.register),
        ("GET", "/v2/functions/{function_id}", functions.get),
        ("DELETE", "/v2/functions/{function_id}", functions.delete),
        ("POST", "/v3/endpoints", endpoints.register),
        ("PUT", "/v3/endpoints/{endpoint_id}", endpoints.register_again),
        ("POST", "/v3/endpoints/{endpoint_id}/lock", endpoints.lock),
        ("GET", "/v2/endpoints", endpoints.all),
        ("GET", "/v2/endpoints/{endpoint_id}", endpoints.get),
        ("GET", "/v2/endpoints/{endpoint_id}/status", endpoints.status),
        ("DELETE", "/v2/endpoints/{endpoint_id}", endpoints.delete),
        ("GET", "/v3/endpoints/{endpoint_id}/allowed_functions", endpoints.allowed_functions),
        ("GET", "/v2/tasks/{task_id}", tasks.get),
        ("POST", "/v2/batch_status", tasks.batch_status),
        ("GET", "/v2/taskgroup/{task_group_id}", tasks.group),
    )
    own_command_line: tuple[tuple[str, str, Handler], ...] = (
        ("POST", "/v3/compute_nb/stop", ours.stop),
        ("GET", "/v3/compute_nb/status", ours.status),
    )
    extensions: tuple[tuple[str, str, Handler], ...] = (
        ("POST", "/v3/compute_nb/watch", ours.watch),
        ("POST", "/v3/compute_nb/cancel", ours.cancel),
        ("POST", "/v3/compute_nb/retry", ours.retry),
        ("POST", "/v3/compute_nb/lose", ours.lose),
        ("POST", "/v3/compute_nb/delete", ours.delete),
        ("GET", "/v3/compute_nb/groups", ours.groups),
        ("GET", "/v3/compute_nb/inputs/{task_id}", ours.inputs),
        ("POST", "/v3/compute_nb/local", ours.local),
        ("GET", "/v3/compute_nb/taskgroup/{task_group_id}", ours.group_page),
    )
    table = published + own_command_line + (() if parts.config.plain else extensions)
    return [Route(path, _answer(handler), methods=[method]) for method, path, handler in table]


def _answer(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        answer = await handler(request, request.scope["caller"])
        return answer if isinstance(answer, Response) else JSONResponse(answer)

    return endpoint


def _refusal(error: ComputeError | HTTPException, scope: Scope) -> Refusal:
    """Returns what a client is told of an error."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, HTTPException):
        what = f"{scope['method']} {scope['path'][:200]}"
        return Refusal(error.status_code, "NO_SUCH_ROUTE", f"{what} is not a call of this service")
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
