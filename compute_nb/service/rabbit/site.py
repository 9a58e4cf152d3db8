"""This module is where a RabbitMQ is: its AMQP and management addresses, and the service's own login."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, unquote, urlsplit

from compute_nb import trust
from compute_nb.errors import ComputeError
from compute_nb.loopback import is_loopback

if TYPE_CHECKING:
    import pika

HEARTBEAT_S = 30
_AMQP_PORTS = {"amqp": 5672, "amqps": 5671}
_ADMIN_PORTS = {"http": 15672, "https": 15671}


@dataclass(frozen=True, slots=True)
class Place:
    """One address: scheme, host, port."""

    scheme: str
    host: str
    port: int

    @property
    def tls(self) -> bool:
        """True if what goes there is encrypted."""
        return self.scheme in ("amqps", "https")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RabbitSite:
    """One RabbitMQ, as the service uses it.

    Attributes:
        amqp: Where the service connects.
        vhost: The virtual host, which belongs to the service.
        username: Of the service; tagged `administrator` there.
        password: Its password; in no repr.
        admin: Of the management API.
        public: Where agents and clients connect.
        ca: The authorities that alone count for `amqps` and `https`.
    """

    amqp: Place
    vhost: str
    username: str
    password: str = field(repr=False)
    admin: Place
    public: Place
    ca: Path | None = None

    def __str__(self) -> str:
        return f"RabbitMQ at {self.amqp}, virtual host {self.vhost!r}"

    @classmethod
    def read(
        cls,
        broker: str,
        password: str,
        admin: str | None = None,
        public: str | None = None,
        ca: str | None = None,
    ) -> RabbitSite:
        """Returns what the service's options say.

        Args:
            broker: `amqp[s]://USER@HOST[:PORT]/VHOST`; the virtual host `/` is spelled `%2F`, or left out.
            password: Of that user.
            admin: `http[s]://HOST[:PORT]`; by default on the same host, at the usual port.
            public: `amqp[s]://HOST[:PORT]`; by default as `broker`.
            ca: As in `trust.context`.

        Raises:
            ComputeError: One of them can't be meant so, or would send passwords over a network in clear.
        """
        parts = _split("--broker", broker, tuple(_AMQP_PORTS))
        amqp = _place("--broker", parts, _AMQP_PORTS)
        if not parts.username:
            raise ComputeError(f"--broker {amqp} names no user: amqp://USER@HOST:PORT/VHOST")
        if admin is None:
            scheme = "https" if amqp.tls else "http"
            management = Place(scheme, amqp.host, _ADMIN_PORTS[scheme])
        else:
            split = _split("--broker-admin", admin, tuple(_ADMIN_PORTS))
            management = _place("--broker-admin", split, _ADMIN_PORTS)
        outside = amqp
        if public is not None:
            split = _split("--amqp-public-url", public, tuple(_AMQP_PORTS))
            outside = _place("--amqp-public-url", split, _AMQP_PORTS)
        for option, place in (
            ("--broker", amqp),
            ("--broker-admin", management),
            ("--amqp-public-url", outside),
        ):
            if not place.tls and not is_loopback(place.host):
                raise ComputeError(
                    f"{option} {place}: passwords would cross the network in clear; use {place.scheme}s:// "
                    "off this host"
                )
        vhost = unquote(parts.path[1:]) or "/"
        return cls(
            amqp, vhost, unquote(parts.username), password, management, outside, Path(ca) if ca else None
        )

    def tls(self) -> ssl.SSLContext:
        """Returns a context for connections of the service."""
        return trust.context(self.ca)

    def parameters(self) -> pika.ConnectionParameters:
        """Returns how pika connects as the service."""
        import pika

        options = pika.SSLOptions(self.tls(), self.amqp.host) if self.amqp.tls else None
        return pika.ConnectionParameters(
            host=self.amqp.host,
            port=self.amqp.port,
            virtual_host=self.vhost,
            credentials=pika.PlainCredentials(self.username, self.password),
            heartbeat=HEARTBEAT_S,
            ssl_options=options,
            client_properties={"connection_name": "compute_nb service"},
        )

    def url(self, username: str, password: str) -> str:
        """Returns the address, with user and password, under which that user reaches the broker."""
        scheme, _, place = str(self.public).partition("://")
        vhost = quote(self.vhost, safe="")
        return f"{scheme}://{username}:{password}@{place}/{vhost}?heartbeat={HEARTBEAT_S}"


def _split(option: str, url: str, schemes: tuple[str, ...]) -> SplitResult:
    parts = urlsplit(url)
    if parts.password is not None:
        raise ComputeError(
            f"{option}: the password must not stand in the address, where every user of this host sees it; "
            "leave it out, and give it by COMPUTE_NB_BROKER_PASSWORD or --broker-password-file"
        )
    if parts.scheme not in schemes or not parts.hostname:
        raise ComputeError(f"{option} {url!r} is no address: {schemes[0]}://HOST:PORT, or {schemes[1]}")
    return parts


def _place(option: str, parts: SplitResult, ports: dict[str, int]) -> Place:
    try:
        port = parts.port
    except ValueError as error:
        raise ComputeError(f"{option}: {error}") from None
    assert parts.hostname is not None
    return Place(parts.scheme, parts.hostname, port or ports[parts.scheme])
