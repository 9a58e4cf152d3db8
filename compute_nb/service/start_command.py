"""This module is what the service and a published agent say to each other about user endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

from compute_nb.service.queue_info import exchange_info, queue_info
from compute_nb.service.rows import UserEndpointRow
from compute_nb.service.tokens import tasks_queue

PERIOD_S = 30.0
MIN_PERIOD_S, MAX_PERIOD_S = 1.0, 3600.0
MAX_TEXT = 4_000
TOO_LATE = "too old or skew"
"""In the agent's words, why it did not start one: its clock, or it was away when the command came."""
TOO_EARLY = "Another instance of this endpoint is running"
"""In the agent's words: the process before left a file behind."""


def period_of(value: object) -> float:
    """Returns seconds between heartbeats; 0 says that none will follow."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return PERIOD_S
    return 0.0 if value == 0 else min(max(float(value), MIN_PERIOD_S), MAX_PERIOD_S)


def process_of(endpoint_id: UUID, state: Mapping[str, Any]) -> UUID:
    """Returns what tells this process of a user endpoint from the ones before and after it."""
    return uuid5(endpoint_id, f"{state.get('posix_pid')} {state.get('start_unix')}")


def start_command(core_id: UUID, row: UserEndpointRow, url: str) -> dict[str, Any]:
    """Returns what has an agent start a user endpoint."""
    user = str(row.owner)
    return {
        "command": "cmd_start_endpoint",
        "globus_effective_identity": user,
        "globus_username": user,
        "globus_identity_set": [{"sub": user, "id": user, "username": user}],
        "args": [],
        "kwargs": {
            "name": f"uep.{core_id}.{row.endpoint_id}",
            "amqp_creds": {
                "endpoint_id": str(row.endpoint_id),
                "task_queue_info": queue_info(url, tasks_queue(row.endpoint_id)),
                "result_queue_info": exchange_info(url, "results", row.endpoint_id),
                "heartbeat_queue_info": exchange_info(url, "heartbeats", row.endpoint_id),
            },
            "user_opts": dict(row.config),
            "user_runtime": dict(row.runtime),
        },
    }
