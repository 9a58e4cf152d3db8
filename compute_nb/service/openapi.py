"""This module is the description of the web API in the form of OpenAPI 3.1, drawn from the table of calls."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from compute_nb.service import shapes
from compute_nb.service.scopes import ALL, SCOPES
from compute_nb.service.web_call import FORM, Call

_PARAMETER = re.compile(r"\{(\w+)\}")
_REFUSALS = {
    "400": "The body, or an id, is not what it must be; the message names the field",
    "401": "No token, a wrong one or a revoked one",
    "403": "Not the caller's to do, or not with this token",
    "404": "Not known here",
    "409": "An id or name is in use with other content",
    "413": "More than one request may carry",
    "421": "Asked under a name that is not one of the service's",
    "422": "Something that this service can't enforce",
    "429": "More than this user may now; `Retry-After` says when to come again",
    "503": "The database does not answer now; `Retry-After` says when to come again",
    "507": "The disk is full, or the store can't be used",
}


def describe(calls: Iterable[Call], version: str) -> dict[str, Any]:
    """Returns the OpenAPI document of these calls."""
    paths: dict[str, Any] = {}
    for call in calls:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "compute_nb service",
            "version": version,
            "description": "The Globus Compute protocol, with the additions of docs/extensions.md.",
        },
        "paths": paths,
        "security": [{"token": []}],
        "components": {
            "schemas": {"Refusal": dict(shapes.REFUSAL)},
            "responses": {
                f"No{status}": {
                    "description": why,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}},
                }
                for status, why in _REFUSALS.items()
            },
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "cnb_<id>_<secret>"},
                "pair": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _operation(call: Call) -> dict[str, Any]:
    kind = "text/plain" if call.answer is None else "application/json"
    operation: dict[str, Any] = {
        "operationId": _name(call),
        "summary": call.summary,
        "parameters": _parameters(call),
        "responses": {
            "200": {"description": "Done", "content": {kind: {"schema": dict(call.answer or shapes.TEXT)}}},
            **{status: {"$ref": f"#/components/responses/No{status}"} for status in _REFUSALS},
        },
    }
    if call.door is not None:
        operation["security"] = [{"pair": []}] if call.form else []
    else:
        operation["x-scopes"] = [name for name in SCOPES if name == ALL or name in call.scopes]
        operation["x-admin"] = call.admin
    if call.body is not None:
        kind = FORM if call.form else "application/json"
        operation["requestBody"] = {"required": True, "content": {kind: {"schema": dict(call.body)}}}
    return operation


def _parameters(call: Call) -> list[dict[str, Any]]:
    found = [
        {"name": name, "in": "path", "required": True, "schema": dict(_SPELLED.get(name, shapes.ID))}
        for name in _PARAMETER.findall(call.path)
    ]
    asked = call.query.items()
    return found + [{"name": name, "in": "query", "schema": dict(shape)} for name, shape in asked]


_SPELLED = {"token_id": {"type": "string", "pattern": "^[0-9a-f]{16}$"}}


def _name(call: Call) -> str:
    words = re.findall(r"\w+", call.path.replace("{", "by_").replace("}", ""))
    return "_".join([call.method.lower(), *words])
