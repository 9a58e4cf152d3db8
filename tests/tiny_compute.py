"""Stands in for Globus in tests: takes the tokens of a TinyAuth, before a service of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tiny_auth import COMPUTE, TinyAuth
from wires import Front, serving


class TinyCompute(Front):
    """Passes on what comes with a Globus token, as the user of the service behind it.

    Attributes:
        askers: The token of each request that was passed on, in order.
        wanted: Until somebody logs in anew each request is refused with these `authorization_parameters`.
    """

    def __init__(self, service_url: str, token: str, auth: TinyAuth) -> None:
        super().__init__(service_url)
        self.askers: list[str] = []
        self._token, self._auth = token, auth
        self._wanted: dict[str, Any] = {}
        self._too_old = 0

    def want(self, **parameters: Any) -> None:
        """Takes no token that has been given until now."""
        self._wanted, self._too_old = parameters, self._auth.issued

    def passed(self, headers: dict[str, str]) -> dict[str, str] | tuple[int, Any]:
        token = headers.pop("Authorization", "").removeprefix("Bearer ")
        if self._auth.good.get(token) != COMPUTE:
            return 401, {"code": "AUTHENTICATION_FAILED", "message": f"{token!r} is no token for Compute"}
        if int(token.rpartition("-")[2]) <= self._too_old:
            return 403, {
                "code": "AuthorizationParameters",
                "message": "log in again",
                "authorization_parameters": self._wanted,
            }
        self.askers.append(token)
        return {**headers, "Authorization": f"Bearer {self._token}"}


@contextmanager
def tiny_compute(service_url: str, token: str, auth: TinyAuth) -> Iterator[TinyCompute]:
    """Runs one."""
    front = TinyCompute(service_url, token, auth)
    with serving(front):
        yield front
