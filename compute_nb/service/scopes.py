"""This module is the scopes of tokens: how much of what its user may do a token is good for."""

from __future__ import annotations

ALL = "all"
READ = "read"
SUBMIT = "submit"
ENDPOINT = "endpoint"
METRICS = "metrics"

SCOPES = {
    ALL: "whatever the user may do",
    SUBMIT: "register functions, submit, follow, cancel and retry tasks",
    READ: "look at functions, endpoints, tasks and their results",
    ENDPOINT: "register and run endpoints",
    METRICS: "read /metrics",
}
"""What a token of each scope is for."""

# What a call asks for: a token of scope "all", or of one of these.
FOR_ANYBODY = frozenset(SCOPES)
FOR_READERS = frozenset({READ, SUBMIT})
FOR_LOOKING = frozenset({READ, SUBMIT, ENDPOINT})
FOR_SUBMITS = frozenset({SUBMIT})
FOR_ENDPOINTS = frozenset({ENDPOINT})
FOR_METRICS = frozenset({METRICS})
FOR_ALL_ONLY: frozenset[str] = frozenset()
