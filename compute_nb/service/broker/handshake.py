"""This module is the beginning of a connection: the broker's offer, and how login and tuning are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pamqp import commands

from compute_nb import __version__
from compute_nb.service.broker.events import Login
from compute_nb.service.broker.faults import Code, Fault
from compute_nb.service.broker.frames import MIN_FRAME_BYTES
from compute_nb.service.broker.limits import Limits

START_OK, TUNE_OK = (10, 11), (10, 31)
INITIAL_FRAME_BYTES = 8192  # before anything is agreed; RabbitMQ allows as much
CAPABILITIES = {
    "publisher_confirms": True,
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "authentication_failure_close": True,
    "per_consumer_qos": True,
    "exchange_exchange_bindings": False,
    "connection.blocked": False,
}


@dataclass(frozen=True, slots=True)
class Tuning:
    """What both sides agreed on.

    Attributes:
        heartbeat_s: 0 if the client wants none.
    """

    max_channels: int
    max_frame_bytes: int
    heartbeat_s: int


def start() -> commands.Connection.Start:
    """Returns the first method of every connection."""
    properties: dict[str, Any] = {
        "product": "compute_nb",
        "version": __version__,
        "platform": "Python",
        "capabilities": CAPABILITIES,
    }
    return commands.Connection.Start(server_properties=properties, mechanisms="PLAIN", locales="en_US")


def read_login(method: commands.Connection.StartOk) -> Login:
    """Reads name and password out of a PLAIN answer.

    Raises:
        Fault: 503 for another mechanism, 502 for an answer that is not PLAIN.
    """
    if method.mechanism != "PLAIN":
        text = f"unknown authentication mechanism '{method.mechanism}', only PLAIN is offered"
        raise Fault(Code.COMMAND_INVALID, text, START_OK)
    answer = method.response
    parts = (answer if isinstance(answer, str) else "").split("\0")
    if len(parts) != 3:
        raise Fault(Code.SYNTAX_ERROR, "the answer to PLAIN is not NUL name NUL password", START_OK)
    return Login(parts[1], parts[2])


def read_capabilities(method: commands.Connection.StartOk) -> frozenset[str]:
    """Returns the names of the capabilities that the client says it has."""
    found = (method.client_properties or {}).get("capabilities")
    if not isinstance(found, dict):
        return frozenset()
    return frozenset(name for name, value in found.items() if value is True)


def offer(limits: Limits) -> commands.Connection.Tune:
    """Returns the limits as the broker proposes them."""
    return commands.Connection.Tune(limits.max_channels, limits.max_frame_bytes, limits.heartbeat_s)


def read_tuning(method: commands.Connection.TuneOk, limits: Limits) -> Tuning:
    """Returns what the client chose within the offer; 0 channels or bytes mean "no limit" and are too many.

    Raises:
        Fault: 530 if it wants more than was offered, or frames smaller than AMQP's smallest.
    """
    channels, frame_bytes = int(method.channel_max), int(method.frame_max)
    if not 0 < channels <= limits.max_channels:
        text = f"channel_max {channels} is not within the {limits.max_channels} offered"
        raise Fault(Code.NOT_ALLOWED, text, TUNE_OK)
    if not MIN_FRAME_BYTES <= frame_bytes <= limits.max_frame_bytes:
        text = f"frame_max {frame_bytes} is not within {MIN_FRAME_BYTES} to {limits.max_frame_bytes}"
        raise Fault(Code.NOT_ALLOWED, text, TUNE_OK)
    return Tuning(channels, frame_bytes, int(method.heartbeat))
