"""This module is what the service was asked to be: its folder, ports and habits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from compute_nb.home import Home
from compute_nb.service.retention import Retention

VERSION = 1
"""Of docs/extensions.md, as the version answer names it."""

MAX_REQUEST_BYTES = 16 * 1024 * 1024
MAX_REQUEST_TASKS = 10_000
MAX_STATUS_IDS = 1_000
MAX_WATCH_GROUPS = 10_000
WATCH_EXPIRES_S = 600.0
GROUP_QUEUE_EXPIRES_S = 14 * 86_400.0


EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class RabbitOptions:
    """How the service was told of its broker.

    Attributes:
        broker: `embedded`, or an address without password, as `rabbit.RabbitSite.read` takes it.
        admin: As there.
        password_file: Holds the password; None: it comes by the environment.
        ca: As there.
    """

    broker: str = EMBEDDED
    admin: str | None = None
    password_file: str | None = None
    ca: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one user may have at a time; 0 is no limit. Who runs the service has only the one of a request.

    Attributes:
        open_tasks: Tasks that have not ended.
        requests_per_s: Requests a second, over a while; `burst` more at once.
        burst: See there.
        request_mb: Megabytes (1,000,000 bytes) of one request's body.
        reading_mb: Megabytes of the bodies of all his requests that are being read.
    """

    open_tasks: int = 200_000
    requests_per_s: float = 50.0
    burst: int = 200
    request_mb: float = MAX_REQUEST_BYTES / 1e6
    reading_mb: float = 100.0


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """One service.

    Attributes:
        home: Where its state is.
        host: Address to listen on; any but loopback needs `tls_cert` and `tls_key`.
        port: Of the web API; None keeps the one of last time.
        amqp_port: Of the broker; None keeps the one of last time.
        durability: "power": a reply means on disk; "process": a reply means safe from kill -9.
        auto: True if nobody asked for it by name, so that it ends when it is of no more use.
        idle_s: How long an auto-started one stays without open tasks, watchers or requests.
        plain: True if clients find the published protocol only; agents keep their extensions. None is as
            last time.
        settle_s: How long results of an ended user endpoint of a published agent may still come, once the
            next one has checked in.
        store: "sqlite", or the `postgresql://` URL of a database, without a password; None is as last time.
        retention: How long values are kept; None is as last time.
        expire_s: How long a task may stay open before it is given up; None is as last time.
        rabbit: Which RabbitMQ is its broker. None is as last time.
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
    expire_s: float | None = None
    rabbit: RabbitOptions | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    public_url: str | None = None
    amqp_public_url: str | None = None
    limits: Limits = field(default_factory=Limits)
    log_level: str = "info"
    log_json: bool = False
    settle_s: float = 60.0
