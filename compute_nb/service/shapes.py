"""This module is the shapes of requests and answers, as JSON Schema, for the description of the web API.

They say what a client may send and can count on; what is checked of a body is in the routes. Bodies may have
more keys than are named: clients newer than this service send them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Shape = Mapping[str, Any]

TEXT: Shape = {"type": "string"}
FLAG: Shape = {"type": "boolean"}
COUNT: Shape = {"type": "integer", "minimum": 0}
NUMBER: Shape = {"type": "number"}
ID: Shape = {"type": "string", "format": "uuid"}
ANY_OBJECT: Shape = {"type": "object"}


def maybe(shape: Shape) -> Shape:
    """Returns the shape of something that may be null."""
    return {"anyOf": [shape, {"type": "null"}]}


def array(shape: Shape, most: int | None = None) -> Shape:
    """Returns the shape of a list."""
    return {"type": "array", "items": shape} | ({} if most is None else {"maxItems": most})


def by_id(shape: Shape) -> Shape:
    """Returns the shape of an object whose keys are ids."""
    return {"type": "object", "propertyNames": {"format": "uuid"}, "additionalProperties": shape}


def record(fields: Mapping[str, Shape], *optional: str) -> Shape:
    """Returns the shape of an object; every field is there unless it is named as optional."""
    return {
        "type": "object",
        "properties": dict(fields),
        "required": [name for name in fields if name not in optional],
    }


def wish(fields: Mapping[str, Shape], *needed: str) -> Shape:
    """Returns the shape of a body: only the named fields have to be there, null counts as absent."""
    return {
        "type": "object",
        "properties": {name: s if name in needed else maybe(s) for name, s in fields.items()},
        "required": list(needed),
    }


REFUSAL = record(
    {
        "code": TEXT,
        "message": TEXT,
        "status": {"const": "Failed"},
        "http_status_code": COUNT,
        "error_args": array({}),
    }
)
DONE = record({"result": {"const": 302}})

FUNCTION = wish(
    {
        "function_name": TEXT,
        "function_code": TEXT,
        "serialized": FLAG,
        "meta": ANY_OBJECT,
        "description": TEXT,
        "public": FLAG,
        "group": ID,
    },
    "function_name",
    "function_code",
)
FUNCTION_KNOWN = record(
    {
        "function_uuid": ID,
        "function_name": TEXT,
        "function_code": TEXT,
        "description": maybe(TEXT),
        "metadata": ANY_OBJECT,
    }
)

ENDPOINT = wish(
    {
        "endpoint_name": {"type": "string", "minLength": 1, "maxLength": 128},
        "display_name": TEXT,
        "multi_user": FLAG,
        "metadata": ANY_OBJECT,
        "allowed_functions": array(ID, 10_000),
        "subscription_uuid": ID,
        "public": FLAG,
        "high_assurance": FLAG,
        "authentication_policy": ID,
        "admins": array(ID, 100),
    },
    "endpoint_name",
)
_QUEUE: dict[str, Shape] = {"connection_url": TEXT, "queue": TEXT}
_EXCHANGE = record({**_QUEUE, "exchange": TEXT, "queue_publish_kwargs": ANY_OBJECT})
ENDPOINT_QUEUES = record(
    {
        "endpoint_id": ID,
        "task_queue_info": record(_QUEUE),
        "command_queue_info": record(_QUEUE),
        "result_queue_info": _EXCHANGE,
        "heartbeat_queue_info": _EXCHANGE,
    }
)
_BRIEF: dict[str, Shape] = {"uuid": ID, "name": TEXT, "display_name": TEXT, "owner": ID}
ENDPOINTS = array(record(_BRIEF))
ENDPOINT_KNOWN = record(
    {
        **_BRIEF,
        "description": {},
        "endpoint_version": {},
        "sdk_version": {},
        "ip_address": {},
        "multi_user": FLAG,
        "public": FLAG,
        "subscription_uuid": {},
        "endpoint_config": {},
        "user_config_template": {},
        "user_config_schema": {},
        "hostname": {},
        "local_user": {},
    }
)
ENDPOINT_STATUS = record({"status": {"enum": ["online", "offline"]}, "details": ANY_OBJECT})
ENDPOINT_LOCKED = record({"endpoint_id": ID, "lock_expiration_timestamp": TEXT})
ALLOWED = record({"endpoint_id": ID, "restricted": FLAG, "functions": array(ID)})

SUBMIT = wish(
    {
        "tasks": by_id(array(TEXT)),
        "task_group_id": ID,
        "create_queue": FLAG,
        "resource_specification": ANY_OBJECT,
        "user_endpoint_config": ANY_OBJECT,
        "user_runtime": ANY_OBJECT,
        "result_serializers": array(TEXT),
        "compute_nb": ANY_OBJECT,
    },
    "tasks",
)
SUBMITTED = record(
    {"tasks": by_id(array(ID)), "task_group_id": ID, "request_id": ID, "endpoint_id": ID},
)
TASK = record(
    {
        "task_id": ID,
        "status": TEXT,
        "completion_t": TEXT,
        "result": TEXT,
        "exception": TEXT,
        "details": ANY_OBJECT,
        "compute_nb": ANY_OBJECT,
    },
    *("completion_t", "result", "exception", "details", "compute_nb"),
)
TASK_IDS = wish({"task_ids": array(ID, 1_000)}, "task_ids")
TASKS = record({"response": {"const": "batch"}, "results": by_id(TASK)})
GROUP = record(
    {
        "taskgroup_id": ID,
        "create_websockets_queue": FLAG,
        "tasks": array(record({"id": ID, "created_at": NUMBER})),
    }
)
CONNECTION = record({"queue_prefix": TEXT, "connection_url": TEXT})
VERSION: Shape = {
    "oneOf": [
        TEXT,
        record(
            {"api": TEXT, "min_sdk_version": TEXT, "min_ep_version": TEXT, "compute_nb": ANY_OBJECT},
            "compute_nb",
        ),
    ]
}

_IDENTITY: dict[str, Shape] = {"sub": ID, "username": TEXT, "name": TEXT}
USERINFO = record(
    {**_IDENTITY, "preferred_username": TEXT, "identity_set": array(record({**_IDENTITY, "id": ID}))}
)
GRANT = wish({"grant_type": {"const": "client_credentials"}, "scope": TEXT}, "grant_type")
GRANTED = record(
    {
        "access_token": TEXT,
        "resource_server": TEXT,
        "scope": TEXT,
        "expires_in": COUNT,
        "token_type": {"const": "Bearer"},
        "other_tokens": array(ANY_OBJECT),
    }
)
PROOF = record({"proof": TEXT})

WATCH = wish({"watch_id": ID, "task_groups": array(ID, 10_000)}, "watch_id", "task_groups")
WATCHING = record({"watch_id": ID, "queue": TEXT, "connection_url": TEXT})
CANCEL = wish({"task_ids": array(ID, 1_000), "task_group_id": ID})
CANCELLED = record({"cancelled": COUNT})
LOST = record({"lost": COUNT})
DELETED = record({"deleted": COUNT, "open": COUNT})
GROUPS = record(
    {
        "groups": array(
            record(
                {
                    "task_group_id": ID,
                    "endpoint_id": ID,
                    "endpoint_name": TEXT,
                    "created_at": NUMBER,
                    "tasks": {"type": "object", "additionalProperties": COUNT},
                }
            )
        )
    }
)
_PAIR: Shape = {**array(ID, 2), "minItems": 2}
RETRY = wish({"tasks": array(_PAIR, 1_000)}, "tasks")
RETRIED = record({"newest": array(_PAIR)})
INPUTS = record({"task_id": ID, "function_id": ID, "function_code": TEXT, "args": TEXT})
LOCAL = wish({"python": TEXT, "prefix": TEXT, "start": FLAG}, "python", "prefix")
LOCAL_KNOWN = record({"endpoint_id": ID, "name": TEXT})
STOP = wish({"keep_agents": FLAG, "now": FLAG})
STOPPING = record({"stopping": FLAG})
STATUS = record(
    {
        "url": TEXT,
        "pid": COUNT,
        "broker": TEXT,
        "store": TEXT,
        "token_file": TEXT,
        "endpoints": array(ANY_OBJECT),
        "tasks": {"type": "object", "additionalProperties": COUNT},
    }
)
GROUP_PAGE = record({"task_group_id": ID, "endpoint_id": ID, "tasks": array({"type": "array"}), "more": FLAG})

USER_NAME: Shape = {"type": "string", "minLength": 1, "maxLength": 64}
USER_WISH = wish({"name": USER_NAME, "admin": FLAG, "groups": array(ID, 1_000)}, "name")
USER_CHANGE = wish({"admin": FLAG, "groups": array(ID, 1_000)})
USER = record({"id": ID, "name": TEXT, "admin": FLAG, "groups": array(ID), "created_at": NUMBER})
USERS = record({"users": array(USER)})
REMOVED = record({"revoked": COUNT})
TOKEN_WISH = wish({"name": USER_NAME, "scope": TEXT, "user": ID})
_TOKEN: dict[str, Shape] = {
    "token_id": TEXT,
    "name": TEXT,
    "user": ID,
    "scope": TEXT,
    "created_at": NUMBER,
}
TOKEN_MADE = record({**_TOKEN, "token": TEXT, "client_id": ID, "client_secret": TEXT})
TOKENS = record({"tokens": array(record({**_TOKEN, "revoked_at": maybe(NUMBER)}))})
