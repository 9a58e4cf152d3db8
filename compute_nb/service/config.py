"""This module is what the service was asked to be: its folder, ports and habits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compute_nb.config import Home
from compute_nb.service.retention import Retention

VERSION = 1
"""Of docs/extensions.md, as the version answer names it."""

MAX_REQUEST_BYTES = 16 * 1024 * 1024
MAX_REQUEST_TASKS = 1_000
MAX_STATUS_IDS = 1_000
MAX_WATCH_GROUPS = 10_000
WATCH_EXPIRES_S = 600.0
GROUP_QUEUE_EXPIRES_S = 14 * 86_400.0


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """One service.

    Attributes:
        home: Where its state is.
        host: Address to listen on; loopback only.
        port: Of the web API; None keeps the one of last time.
        amqp_port: Of the broker; None keeps the one of last time.
        durability: "power": a reply means on disk; "process": a reply means safe from kill -9.
        auto: True if nobody asked for it by name, so that it ends when it is of no more use.
        idle_s: How long an auto-started one stays without open tasks, watchers or requests.
        plain: True if clients find the published protocol only; agents keep their extensions. None is as
            last time.
        store: "sqlite", or the `postgresql://` URL of a database, without a password; None is as last time.
        retention: How long values are kept; None is as last time.
    """

    home: Home
    host: str = "127.0.0.1"
    port: int | None = None
    amqp_port: int | None = None
    durability: Literal["power", "process"] = "power"
    auto: bool = False
    idle_s: float = 3600.0
    plain: bool | None = None
    store: str | None = None
    retention: Retention | None = None
