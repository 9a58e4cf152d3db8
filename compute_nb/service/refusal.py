"""This module is the service's "no": status, code and text, in the form that published clients read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from compute_nb.errors import ComputeError

RETRY_AFTER_S = 4
_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": str(RETRY_AFTER_S)}}


class Refusal(ComputeError):
    """A request that is not carried out.

    Args:
        status: HTTP status. Only 4xx and 507 once anything was committed: clients repeat other 5xx.
        code: For programs, upper case.
        message: For people: what was tried, which id, what to do next.
        headers: What the answer says beside.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.headers = _HEADERS.get(status, {}) | dict(headers or {})
        self.status = status
        self.code = code
        self.message = message
        super().__init__(message)

    def response(self) -> JSONResponse:
        """Returns the answer that says so."""
        body: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "status": "Failed",
            "http_status_code": self.status,
            "error_args": [],
        }
        return JSONResponse(body, self.status, self.headers)


def bad_request(message: str) -> Refusal:
    """A body or path that does not say what it must."""
    return Refusal(400, "BAD_REQUEST", message)


def not_found(kind: str, value: object) -> Refusal:
    """Something that this service does not have, or that is somebody else's."""
    code = f"{kind.upper().replace(' ', '_')}_NOT_FOUND"
    return Refusal(404, code, f"{kind} {value} is not known to this service")


def too_large(message: str) -> Refusal:
    """More in one request than it may carry."""
    return Refusal(413, "TASK_PAYLOAD_TOO_LARGE", f"TASK_PAYLOAD_TOO_LARGE: {message}")


def too_many(message: str, again_s: float) -> Refusal:
    """More than this user may now; clients come again by themselves after `again_s` seconds."""
    return Refusal(429, "TOO_MANY_REQUESTS", message, {"Retry-After": str(max(1, math.ceil(again_s)))})


def unsupported(message: str) -> Refusal:
    """Something asked for that this service can't see to; published agents end on it and print why."""
    return Refusal(422, "NOT_SUPPORTED", message)
