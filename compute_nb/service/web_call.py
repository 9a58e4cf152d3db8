"""This module is one call of the web API: its route, its shapes, and who may make it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from compute_nb.service import scopes
from compute_nb.service.gate import Caller
from compute_nb.service.shapes import Shape

Handler = Callable[[Request, Caller], Awaitable[Any]]
Door = Callable[[Request], Awaitable[Any]]

FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the web API.

    Attributes:
        route: Method and path; the path's parameters stand in braces, all of them ids, but for `{token_id}`.
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

    route: str
    summary: str
    handler: Handler | None
    answer: Shape | None
    body: Shape | None = None
    query: Mapping[str, Shape] = field(default_factory=dict)
    scopes: frozenset[str] = scopes.FOR_ALL_ONLY
    admin: bool = False
    door: Door | None = None
    form: bool = False

    @property
    def method(self) -> str:
        """Of HTTP."""
        return self.route.partition(" ")[0]

    @property
    def path(self) -> str:
        """With its parameters."""
        return self.route.partition(" ")[2]
