"""This module is the queue infos that agents get: where each reads and writes, in the published shapes."""

from __future__ import annotations

from typing import Any
from uuid import UUID


def queue_info(url: str, queue: str) -> dict[str, Any]:
    """Returns where a queue is read."""
    return {"connection_url": url, "queue": queue}


def exchange_info(url: str, name: str, endpoint_id: UUID) -> dict[str, Any]:
    """Returns how an endpoint publishes to an exchange; the keyword arguments are those of pika."""
    return {
        "connection_url": url,
        "exchange": name,
        "queue": name,
        "queue_publish_kwargs": {
            "exchange": name,
            "routing_key": f"{endpoint_id}.{name}",
            "mandatory": True,
            "properties": {"delivery_mode": 2},
        },
    }
