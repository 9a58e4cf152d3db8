"""This module is the table of the calls that the published programs make too."""

from __future__ import annotations

from compute_nb.service import scopes, shapes
from compute_nb.service.endpoint_routes import EndpointRoutes
from compute_nb.service.extension_routes import ExtensionRoutes
from compute_nb.service.function_routes import FunctionRoutes
from compute_nb.service.identity_routes import IdentityRoutes
from compute_nb.service.parts import Parts
from compute_nb.service.shapes import ID
from compute_nb.service.submit_routes import Submits
from compute_nb.service.task_routes import TaskRoutes
from compute_nb.service.web_call import Call


def published(parts: Parts, ours: ExtensionRoutes) -> tuple[Call, ...]:
    """Returns them; `ours` answers the one for the version."""
    functions, endpoints, tasks = FunctionRoutes(parts), EndpointRoutes(parts), TaskRoutes(parts)
    identity = IdentityRoutes(parts)
    return (
        Call(
            "GET /v2/version",
            "The oldest peers that are served, and our own version",
            ours.version,
            answer=shapes.VERSION,
            query={"service": {"type": "string"}},
            scopes=scopes.FOR_ANYBODY,
        ),
        Call(
            "GET /v2/get_amqp_result_connection_url",
            "Where, and as whom, results are read",
            tasks.connection_url,
            answer=shapes.CONNECTION,
            scopes=scopes.FOR_READERS,
        ),
        Call(
            "POST /v3/functions",
            "Register a function",
            functions.register,
            answer=shapes.record({"function_uuid": ID}),
            body=shapes.FUNCTION,
            scopes=scopes.FOR_SUBMITS,
        ),
        Call(
            "GET /v2/functions/{function_id}",
            "A function with its code",
            functions.get,
            answer=shapes.FUNCTION_KNOWN,
            scopes=scopes.FOR_READERS,
        ),
        Call(
            "DELETE /v2/functions/{function_id}",
            "Forget a function; accepted tasks still run",
            functions.delete,
            answer=shapes.DONE,
            scopes=scopes.FOR_SUBMITS,
        ),
        Call(
            "POST /v3/endpoints/{endpoint_id}/submit",
            "Submit tasks; answered once they are on disk",
            Submits(parts).submit,
            answer=shapes.SUBMITTED,
            body=shapes.SUBMIT,
            scopes=scopes.FOR_SUBMITS,
        ),
        Call(
            "GET /v2/tasks/{task_id}",
            "How a task stands, with its result",
            tasks.get,
            answer=shapes.TASK,
            scopes=scopes.FOR_READERS,
        ),
        Call(
            "POST /v2/batch_status",
            "How several tasks stand; ids that are not the caller's are left out",
            tasks.batch_status,
            answer=shapes.TASKS,
            body=shapes.TASK_IDS,
            scopes=scopes.FOR_READERS,
        ),
        Call(
            "GET /v2/taskgroup/{task_group_id}",
            "The ids of all tasks of a group",
            tasks.group,
            answer=shapes.GROUP,
            scopes=scopes.FOR_READERS,
        ),
        Call(
            "POST /v3/endpoints",
            "Register a new endpoint",
            endpoints.register,
            answer=shapes.ENDPOINT_QUEUES,
            body=shapes.ENDPOINT,
            scopes=scopes.FOR_ENDPOINTS,
        ),
        Call(
            "PUT /v3/endpoints/{endpoint_id}",
            "Register an endpoint again, under the id that it had",
            endpoints.register_again,
            answer=shapes.ENDPOINT_QUEUES,
            body=shapes.ENDPOINT,
            scopes=scopes.FOR_ENDPOINTS,
        ),
        Call(
            "GET /v2/endpoints/{endpoint_id}",
            "What an endpoint said of itself",
            endpoints.get,
            answer=shapes.ENDPOINT_KNOWN,
            scopes=scopes.FOR_LOOKING,
        ),
        Call(
            "GET /v2/endpoints",
            "The caller's endpoints; with role=any public ones too",
            endpoints.all,
            answer=shapes.ENDPOINTS,
            query={"role": {"type": "string"}},
            scopes=scopes.FOR_LOOKING,
        ),
        Call(
            "GET /v2/endpoints/{endpoint_id}/status",
            "Whether an agent is there",
            endpoints.status,
            answer=shapes.ENDPOINT_STATUS,
            scopes=scopes.FOR_LOOKING,
        ),
        Call(
            "DELETE /v2/endpoints/{endpoint_id}",
            "Forget an endpoint: its open tasks end",
            endpoints.delete,
            answer=shapes.DONE,
            scopes=scopes.FOR_ENDPOINTS,
        ),
        Call(
            "POST /v3/endpoints/{endpoint_id}/lock",
            "Stop an endpoint's agent",
            endpoints.lock,
            answer=shapes.ENDPOINT_LOCKED,
            scopes=scopes.FOR_ENDPOINTS,
        ),
        Call(
            "GET /v3/endpoints/{endpoint_id}/allowed_functions",
            "Which functions an endpoint takes",
            endpoints.allowed_functions,
            answer=shapes.ALLOWED,
            scopes=scopes.FOR_LOOKING,
        ),
        Call(
            "GET /v2/oauth2/userinfo",
            "Who the caller is",
            identity.userinfo,
            answer=shapes.USERINFO,
            scopes=scopes.FOR_ANYBODY,
        ),
        Call(
            "POST /v2/oauth2/token",
            "A token for an id and secret that were issued here, shown as Basic",
            None,
            answer=shapes.GRANTED,
            body=shapes.GRANT,
            door=identity.token,
            form=True,
        ),
    )
