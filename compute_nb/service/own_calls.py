"""This module is the table of the calls that are ours alone: of the service itself, and our extensions."""

from __future__ import annotations

from compute_nb.service import scopes, shapes
from compute_nb.service.account_routes import AccountRoutes
from compute_nb.service.extension_routes import MAX_PAGE, ExtensionRoutes
from compute_nb.service.metrics import MetricsRoute
from compute_nb.service.parts import Parts
from compute_nb.service.shapes import ID
from compute_nb.service.web_call import Call


def of_the_service(parts: Parts, ours: ExtensionRoutes) -> tuple[Call, ...]:
    """Returns those that a plain service answers too."""
    accounts = AccountRoutes(parts)
    return (
        Call(
            "GET /v3/compute_nb/proof",
            "Proof that this service knows a token, which stays untold",
            None,
            answer=shapes.PROOF,
            query={"token_id": shapes.TEXT, "nonce": shapes.TEXT},
            door=ours.proof,
        ),
        Call(
            "POST /v3/compute_nb/stop",
            "End the service; on its own host only",
            ours.stop,
            answer=shapes.STOPPING,
            body=shapes.STOP,
            admin=True,
        ),
        Call(
            "GET /v3/compute_nb/status",
            "What `compute-nb service status` prints; on its own host only",
            ours.status,
            answer=shapes.STATUS,
            admin=True,
        ),
        Call(
            "GET /openapi.json",
            "This description",
            None,
            answer=shapes.ANY_OBJECT,
            scopes=scopes.FOR_ANYBODY,
        ),
        Call(
            "GET /metrics",
            "Numbers for Prometheus",
            MetricsRoute(parts).metrics,
            answer=None,
            scopes=scopes.FOR_METRICS,
            admin=True,
        ),
        Call(
            "GET /v3/compute_nb/users",
            "All users",
            accounts.users,
            answer=shapes.USERS,
            admin=True,
        ),
        Call(
            "POST /v3/compute_nb/users",
            "Add a user",
            accounts.add_user,
            answer=shapes.USER,
            body=shapes.USER_WISH,
            admin=True,
        ),
        Call(
            "PATCH /v3/compute_nb/users/{user_id}",
            "Change whether a user is an administrator, or his groups",
            accounts.change_user,
            answer=shapes.USER,
            body=shapes.USER_CHANGE,
            admin=True,
        ),
        Call(
            "DELETE /v3/compute_nb/users/{user_id}",
            "Remove a user: his tokens and passwords are void",
            accounts.remove_user,
            answer=shapes.REMOVED,
            admin=True,
        ),
        Call(
            "GET /v3/compute_nb/tokens",
            "The caller's tokens; an administrator names a user, or sees all",
            accounts.tokens,
            answer=shapes.TOKENS,
            query={"user": ID},
        ),
        Call(
            "POST /v3/compute_nb/tokens",
            "Make a token; its text is told this once",
            accounts.add_token,
            answer=shapes.TOKEN_MADE,
            body=shapes.TOKEN_WISH,
        ),
        Call(
            "DELETE /v3/compute_nb/tokens/{token_id}",
            "Revoke a token: AMQP passwords of its user change",
            accounts.revoke_token,
            answer=shapes.REMOVED,
        ),
    )


def extensions(ours: ExtensionRoutes) -> tuple[Call, ...]:
    """Returns those of docs/extensions.md."""
    return (
        Call(
            "POST /v3/compute_nb/watch",
            "Make a watcher's private queue, or find it again",
            ours.watch,
            answer=shapes.WATCHING,
            body=shapes.WATCH,
            scopes=scopes.FOR_READERS,
        ),
        Call(
            "POST /v3/compute_nb/cancel",
            "End tasks",
            ours.cancel,
            answer=shapes.CANCELLED,
            body=shapes.CANCEL,
            scopes=scopes.FOR_SUBMITS,
        ),
        Call(
            "POST /v3/compute_nb/retry",
            "Have tasks that gave no value run again",
            ours.retry,
            answer=shapes.RETRIED,
            body=shapes.RETRY,
            scopes=scopes.FOR_SUBMITS,
        ),
        Call(
            "POST /v3/compute_nb/lose",
            "Give tasks up, on the word of their owner",
            ours.lose,
            answer=shapes.LOST,
            body=shapes.TASK_IDS,
            scopes=scopes.FOR_SUBMITS,
        ),
        Call(
            "POST /v3/compute_nb/delete",
            "Delete tasks that have ended, with arguments and values",
            ours.delete,
            answer=shapes.DELETED,
            body=shapes.CANCEL,
            scopes=scopes.FOR_SUBMITS,
        ),
        Call(
            "GET /v3/compute_nb/groups",
            "The caller's task groups, the newest first",
            ours.groups,
            answer=shapes.GROUPS,
            query={"limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}},
            scopes=scopes.FOR_READERS,
        ),
        Call(
            "GET /v3/compute_nb/inputs/{task_id}",
            "What a task was submitted with",
            ours.inputs,
            answer=shapes.INPUTS,
            scopes=scopes.FOR_READERS,
        ),
        Call(
            "POST /v3/compute_nb/local",
            "The endpoint of an interpreter on the service's own host",
            ours.local,
            answer=shapes.LOCAL_KNOWN,
            body=shapes.LOCAL,
            admin=True,
        ),
        Call(
            "GET /v3/compute_nb/taskgroup/{task_group_id}",
            "A page of a group's tasks, by id",
            ours.group_page,
            answer=shapes.GROUP_PAGE,
            query={"after": ID, "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}},
            scopes=scopes.FOR_READERS,
        ),
    )
