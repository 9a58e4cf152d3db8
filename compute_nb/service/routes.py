"""This module is the table of the web API: every call with its route, its shapes, and who may make it.

Both the routes and `/openapi.json` are drawn from it: a call that is not described is not served.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from compute_nb.service import scopes, shapes
from compute_nb.service.account_routes import AccountRoutes
from compute_nb.service.endpoint_routes import EndpointRoutes
from compute_nb.service.extension_routes import MAX_PAGE, ExtensionRoutes
from compute_nb.service.function_routes import FunctionRoutes
from compute_nb.service.gate import Caller
from compute_nb.service.identity_routes import IdentityRoutes
from compute_nb.service.metrics import MetricsRoute
from compute_nb.service.parts import Parts
from compute_nb.service.shapes import ID, Shape
from compute_nb.service.submit_routes import Submits
from compute_nb.service.task_routes import TaskRoutes

Handler = Callable[[Request, Caller], Awaitable[Any]]
Door = Callable[[Request], Awaitable[Any]]

FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the web API.

    Attributes:
        path: With parameters in braces; all of them are ids, but for `{token_id}`.
        summary: What it does, in a sentence.
        handler: Answers it. None for one that the app answers by itself.
        answer: The shape of its answer; None for text.
        body: The shape of its body; None if it has none.
        query: The shapes of its query's parameters, none of which must be there.
        scopes: Tokens of these scopes may make it, beside those of scope "all".
        admin: True if only an administrator may.
        door: Answers it instead, where no token is asked for.
        form: True if the body is a form instead of JSON.
    """

    method: str
    path: str
    summary: str
    handler: Handler | None
    answer: Shape | None
    body: Shape | None = None
    query: Mapping[str, Shape] = field(default_factory=dict)
    scopes: frozenset[str] = scopes.FOR_ALL_ONLY
    admin: bool = False
    door: Door | None = None
    form: bool = False


def calls(parts: Parts) -> tuple[Call, ...]:
    """Returns all calls that a service answers."""
    ours = ExtensionRoutes(parts)
    served = (*_published(parts, ours), *_of_the_service(parts, ours))
    return served if parts.config.plain else (*served, *_extensions(ours))


def _published(parts: Parts, ours: ExtensionRoutes) -> tuple[Call, ...]:
    functions, endpoints, tasks = FunctionRoutes(parts), EndpointRoutes(parts), TaskRoutes(parts)
    identity = IdentityRoutes(parts)
    return (
        Call(
            *("GET", "/v2/version", "The oldest peers that are served, and our own version"),
            *(ours.version, shapes.VERSION),
            query={"service": {"type": "string"}},
            scopes=scopes.FOR_ANYBODY,
        ),
        Call(
            *("GET", "/v2/get_amqp_result_connection_url", "Where, and as whom, results are read"),
            *(tasks.connection_url, shapes.CONNECTION),
            scopes=scopes.FOR_READERS,
        ),
        Call(
            *("POST", "/v3/functions", "Register a function"),
            *(functions.register, record_of("function_uuid"), shapes.FUNCTION),
            scopes=scopes.FOR_SUBMITS,
        ),
        Call(
            *("GET", "/v2/functions/{function_id}", "A function with its code"),
            *(functions.get, shapes.FUNCTION_KNOWN),
            scopes=scopes.FOR_READERS,
        ),
        Call(
            *("DELETE", "/v2/functions/{function_id}", "Forget a function; accepted tasks still run"),
            *(functions.delete, shapes.DONE),
            scopes=scopes.FOR_SUBMITS,
        ),
        Call(
            *("POST", "/v3/endpoints/{endpoint_id}/submit", "Submit tasks; answered once they are on disk"),
            *(Submits(parts).submit, shapes.SUBMITTED, shapes.SUBMIT),
            scopes=scopes.FOR_SUBMITS,
        ),
        Call(
            *("GET", "/v2/tasks/{task_id}", "How a task stands, with its result"),
            *(tasks.get, shapes.TASK),
            scopes=scopes.FOR_READERS,
        ),
        Call(
            *(
                "POST",
                "/v2/batch_status",
                "How several tasks stand; ids that are not the caller's are left out",
            ),
            *(tasks.batch_status, shapes.TASKS, shapes.TASK_IDS),
            scopes=scopes.FOR_READERS,
        ),
        Call(
            *("GET", "/v2/taskgroup/{task_group_id}", "The ids of all tasks of a group"),
            *(tasks.group, shapes.GROUP),
            scopes=scopes.FOR_READERS,
        ),
        Call(
            *("POST", "/v3/endpoints", "Register a new endpoint"),
            *(endpoints.register, shapes.ENDPOINT_QUEUES, shapes.ENDPOINT),
            scopes=scopes.FOR_ENDPOINTS,
        ),
        Call(
            *("PUT", "/v3/endpoints/{endpoint_id}", "Register an endpoint again, under the id that it had"),
            *(endpoints.register_again, shapes.ENDPOINT_QUEUES, shapes.ENDPOINT),
            scopes=scopes.FOR_ENDPOINTS,
        ),
        Call(
            *("GET", "/v2/endpoints/{endpoint_id}", "What an endpoint said of itself"),
            *(endpoints.get, shapes.ENDPOINT_KNOWN),
            scopes=scopes.FOR_LOOKING,
        ),
        Call(
            *("GET", "/v2/endpoints", "The caller's endpoints; with role=any public ones too"),
            *(endpoints.all, shapes.ENDPOINTS),
            query={"role": {"type": "string"}},
            scopes=scopes.FOR_LOOKING,
        ),
        Call(
            *("GET", "/v2/endpoints/{endpoint_id}/status", "Whether an agent is there"),
            *(endpoints.status, shapes.ENDPOINT_STATUS),
            scopes=scopes.FOR_LOOKING,
        ),
        Call(
            *("DELETE", "/v2/endpoints/{endpoint_id}", "Forget an endpoint: its open tasks end"),
            *(endpoints.delete, shapes.DONE),
            scopes=scopes.FOR_ENDPOINTS,
        ),
        Call(
            *("POST", "/v3/endpoints/{endpoint_id}/lock", "Stop an endpoint's agent"),
            *(endpoints.lock, shapes.ENDPOINT_LOCKED),
            scopes=scopes.FOR_ENDPOINTS,
        ),
        Call(
            *("GET", "/v3/endpoints/{endpoint_id}/allowed_functions", "Which functions an endpoint takes"),
            *(endpoints.allowed_functions, shapes.ALLOWED),
            scopes=scopes.FOR_LOOKING,
        ),
        Call(
            *("GET", "/v2/oauth2/userinfo", "Who the caller is"),
            *(identity.userinfo, shapes.USERINFO),
            scopes=scopes.FOR_ANYBODY,
        ),
        Call(
            *(
                "POST",
                "/v2/oauth2/token",
                "A token for an id and secret that were issued here, shown as Basic",
            ),
            *(None, shapes.GRANTED, shapes.GRANT),
            door=identity.token,
            form=True,
        ),
    )


def _of_the_service(parts: Parts, ours: ExtensionRoutes) -> tuple[Call, ...]:
    accounts = AccountRoutes(parts)
    return (
        Call(
            *("GET", "/v3/compute_nb/proof", "Proof that this service knows a token, which stays untold"),
            *(None, shapes.PROOF),
            query={"token_id": shapes.TEXT, "nonce": shapes.TEXT},
            door=ours.proof,
        ),
        Call(
            *("POST", "/v3/compute_nb/stop", "End the service; on its own host only"),
            *(ours.stop, shapes.STOPPING, shapes.STOP),
            admin=True,
        ),
        Call(
            *(
                "GET",
                "/v3/compute_nb/status",
                "What `compute-nb service status` prints; on its own host only",
            ),
            *(ours.status, shapes.STATUS),
            admin=True,
        ),
        Call(
            *("GET", "/openapi.json", "This description"),
            *(None, shapes.ANY_OBJECT),
            scopes=scopes.FOR_ANYBODY,
        ),
        Call(
            *("GET", "/metrics", "Numbers for Prometheus"),
            *(MetricsRoute(parts).metrics, None),
            scopes=scopes.FOR_METRICS,
            admin=True,
        ),
        Call(
            *("GET", "/v3/compute_nb/users", "All users"),
            *(accounts.users, shapes.USERS),
            admin=True,
        ),
        Call(
            *("POST", "/v3/compute_nb/users", "Add a user"),
            *(accounts.add_user, shapes.USER, shapes.USER_WISH),
            admin=True,
        ),
        Call(
            *(
                "PATCH",
                "/v3/compute_nb/users/{user_id}",
                "Change whether a user is an administrator, or his groups",
            ),
            *(accounts.change_user, shapes.USER, shapes.USER_CHANGE),
            admin=True,
        ),
        Call(
            *("DELETE", "/v3/compute_nb/users/{user_id}", "Remove a user: his tokens and passwords are void"),
            *(accounts.remove_user, shapes.REMOVED),
            admin=True,
        ),
        Call(
            *(
                "GET",
                "/v3/compute_nb/tokens",
                "The caller's tokens; an administrator names a user, or sees all",
            ),
            *(accounts.tokens, shapes.TOKENS),
            query={"user": ID},
        ),
        Call(
            *("POST", "/v3/compute_nb/tokens", "Make a token; its text is told this once"),
            *(accounts.add_token, shapes.TOKEN_MADE, shapes.TOKEN_WISH),
        ),
        Call(
            *(
                "DELETE",
                "/v3/compute_nb/tokens/{token_id}",
                "Revoke a token: AMQP passwords of its user change",
            ),
            *(accounts.revoke_token, shapes.REMOVED),
        ),
    )


def _extensions(ours: ExtensionRoutes) -> tuple[Call, ...]:
    return (
        Call(
            *("POST", "/v3/compute_nb/watch", "Make a watcher's private queue, or find it again"),
            *(ours.watch, shapes.WATCHING, shapes.WATCH),
            scopes=scopes.FOR_READERS,
        ),
        Call(
            *("POST", "/v3/compute_nb/cancel", "End tasks"),
            *(ours.cancel, shapes.CANCELLED, shapes.CANCEL),
            scopes=scopes.FOR_SUBMITS,
        ),
        Call(
            *("POST", "/v3/compute_nb/retry", "Have tasks that gave no value run again"),
            *(ours.retry, shapes.RETRIED, shapes.RETRY),
            scopes=scopes.FOR_SUBMITS,
        ),
        Call(
            *("POST", "/v3/compute_nb/lose", "Give tasks up, on the word of their owner"),
            *(ours.lose, shapes.LOST, shapes.TASK_IDS),
            scopes=scopes.FOR_SUBMITS,
        ),
        Call(
            *("POST", "/v3/compute_nb/delete", "Delete tasks that have ended, with arguments and values"),
            *(ours.delete, shapes.DELETED, shapes.CANCEL),
            scopes=scopes.FOR_SUBMITS,
        ),
        Call(
            *("GET", "/v3/compute_nb/groups", "The caller's task groups, the newest first"),
            *(ours.groups, shapes.GROUPS),
            query={"limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}},
            scopes=scopes.FOR_READERS,
        ),
        Call(
            *("GET", "/v3/compute_nb/inputs/{task_id}", "What a task was submitted with"),
            *(ours.inputs, shapes.INPUTS),
            scopes=scopes.FOR_READERS,
        ),
        Call(
            *("POST", "/v3/compute_nb/local", "The endpoint of an interpreter on the service's own host"),
            *(ours.local, shapes.LOCAL_KNOWN, shapes.LOCAL),
            admin=True,
        ),
        Call(
            *("GET", "/v3/compute_nb/taskgroup/{task_group_id}", "A page of a group's tasks, by id"),
            *(ours.group_page, shapes.GROUP_PAGE),
            query={"after": ID, "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}},
            scopes=scopes.FOR_READERS,
        ),
    )


def record_of(name: str) -> Shape:
    """Returns the shape of an answer that is one id."""
    return shapes.record({name: ID})
