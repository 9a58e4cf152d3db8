"""This module is who may speak to the service, and about what: tokens, proofs, passwords of the broker.

Nothing here does any I/O. The store keeps a token's public id and the SHA-256 of its secret; passwords of
the broker are kept nowhere, since they follow from the service's key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from compute_nb.errors import ComputeError
from compute_nb.service.broker.contract import Grants, Operation

NOTHING = "^$"
TOKEN = re.compile(r"cnb_([0-9a-f]{16})_([0-9a-f]{64})", re.ASCII)
_USERNAME = re.compile(r"(u)\.([0-9a-f]{32})|(ep)\.([0-9a-f-]{36})", re.ASCII)


GENERATIONS = "broker_generations"
"""The key in the store under which revoked passwords are counted."""


class MalformedToken(ComputeError):
    """A text that is no token of this service."""


@dataclass(frozen=True, slots=True)
class Token:
    """A REST token, taken apart; its secret never appears in a repr or a log."""

    public_id: str
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> Token:
        """Returns the token in `text`.

        Raises:
            MalformedToken: Another form; the text itself is not repeated.
        """
        match = TOKEN.fullmatch(text)
        if match is None:
            raise MalformedToken("a token has the form cnb_<16 hex digits>_<64 hex digits>")
        return cls(match[1], hashlib.sha256(match[2].encode()).digest())


def new_token() -> str:
    """Returns the text of a fresh token."""
    return f"cnb_{secrets.token_hex(8)}_{secrets.token_hex(32)}"


def proof(digest: bytes, nonce: str, host: str) -> str:
    """Returns what shows that this side knows the token, without telling it.

    Args:
        digest: SHA-256 of the token's secret.
        nonce: As the asker drew it.
        host: `host:port` as the asker spelled it, so that a proof can't be passed on from elsewhere.
    """
    return hmac.new(digest, (nonce + host).encode(), hashlib.sha256).hexdigest()


def client_username(user: UUID) -> str:
    """The broker's name of a user."""
    return f"u.{user.hex}"


def agent_username(endpoint_id: UUID) -> str:
    """The broker's name of an endpoint's agent."""
    return f"ep.{endpoint_id}"


def tasks_queue(endpoint_id: UUID) -> str:
    """The queue that carries tasks to an agent."""
    return f"{endpoint_id}.tasks"


def commands_queue(endpoint_id: UUID) -> str:
    """The queue that carries welcome, stored, cancel and stop to an agent."""
    return f"{endpoint_id}.commands"


def watch_queue(user: UUID, watch_id: UUID) -> str:
    """The private queue of one watcher."""
    return f"w.{user.hex}.{watch_id}"


def group_queue_prefix(user: UUID) -> str:
    """What the published SDK puts before a task group's id to name its queue."""
    return f"r.{user.hex}."


def allowed(username: str, operation: Operation, name: str, routing_key: str | None) -> bool:
    """The table of who may do what on the broker; whatever it does not name is refused.

    Args:
        username: `u.<user>` or `ep.<endpoint id>`.
        operation: "configure", "read" or "write".
        name: The queue, or for "write" the exchange.
        routing_key: Of a message or binding; None where there is none.
    """
    match = _USERNAME.fullmatch(username)
    if match is None or operation == "configure":
        return False
    if match[1]:
        return operation == "read" and name.startswith((f"r.{match[2]}.", f"w.{match[2]}."))
    endpoint_id = match[4]
    if operation == "read":
        return name in (f"{endpoint_id}.tasks", f"{endpoint_id}.commands")
    if name not in ("results", "heartbeats"):
        return False
    return routing_key is None or routing_key == f"{endpoint_id}.{name}"


def grants(username: str) -> Grants | None:
    """The same table as RabbitMQ's permissions; None for a name that is none of ours."""
    match = _USERNAME.fullmatch(username)
    if match is None:
        return None
    if match[1]:
        return Grants(NOTHING, NOTHING, rf"^(r|w)\.{match[2]}\.", {})
    keys = {name: rf"^{match[4]}\.{name}$" for name in ("results", "heartbeats")}
    return Grants(NOTHING, "^(results|heartbeats)$", rf"^{match[4]}\.(tasks|commands)$", keys)


class BrokerKeys:
    """The passwords of the broker, as a Guard of it; loop thread only.

    Args:
        key: The service's own secret.
        generations: How often a user's password was revoked, by user name; absent is 0.
    """

    def __init__(self, key: bytes, generations: Mapping[str, int]) -> None:
        self._key = key
        self._generations = dict(generations)

    def __repr__(self) -> str:
        return f"<BrokerKeys, {len(self._generations)} revoked>"

    def password(self, username: str) -> str:
        """Returns the password of a user: the same at every hand-out."""
        message = f"{username} {self._generations.get(username, 0)}".encode()
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()

    def revoke(self, username: str) -> Mapping[str, int]:
        """Makes a user's password void and returns all generations, to be kept."""
        self._generations[username] = self._generations.get(username, 0) + 1
        return dict(self._generations)

    def authenticate(self, username: str, password: str) -> bool:
        """True if the password is that user's; called by the broker at each login."""
        known = _USERNAME.fullmatch(username) is not None
        right = hmac.compare_digest(self.password(username).encode(), password.encode())
        return known and right

    def allowed(self, username: str, operation: Operation, name: str, routing_key: str | None) -> bool:
        """True if that user may do that; called by the broker at each declare, consume and publish."""
        return allowed(username, operation, name, routing_key)

    def grants(self, username: str) -> Grants | None:
        """What RabbitMQ is to let that user do; None for a name that is none of ours."""
        return grants(username)

    def url(self, username: str, base: str) -> str:
        """Returns the address, with user and password, under which that user reaches the broker.

        Args:
            base: `amqp://host:port`, or `amqps://`.
        """
        scheme, _, place = base.partition("://")
        return f"{scheme}://{username}:{self.password(username)}@{place}/%2F?heartbeat=30"
