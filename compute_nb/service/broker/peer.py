"""This module is one connected client: its events, answered by the hub, its permissions and its channels."""

from __future__ import annotations

import logging
from collections.abc import Callable

from compute_nb.service.broker import events
from compute_nb.service.broker.channel import Channel
from compute_nb.service.broker.contract import Operation
from compute_nb.service.broker.faults import Code, Fault
from compute_nb.service.broker.hub import Hub
from compute_nb.service.broker.methods import METHODS
from compute_nb.service.broker.protocol import Connection

logger = logging.getLogger(__name__)

MAX_KNOWN_GRANTS = 1_000
OPEN, PUBLISH, ACK = (10, 40), (60, 40), (60, 80)


class Peer:
    """One client; needs a transport that calls `receive`, `flush`, `resume` and `end`.

    Args:
        hub: What it shares with the others.
        wake: Called when `flush` has something to give.

    Attributes:
        username: Who logged in; empty before.
        reading: False while the transport can't get rid of what it has.
        held: Exclusive queues, which end with the connection.
    """

    def __init__(self, hub: Hub, wake: Callable[[], None]) -> None:
        self.hub = hub
        self.connection = Connection(hub.limits, wake)
        self.username = ""
        self.reading = True
        self.held: set[str] = set()
        self._wake = wake
        self._channels: dict[int, Channel] = {}
        self._unconfirmed: dict[Channel, None] = {}
        self._granted: set[tuple[Operation, str, str | None]] = set()
        self._starved = False
        self._ended = False

    def __repr__(self) -> str:
        phase = self.connection.phase.name
        return f"<Peer {self.username or '?'}: {phase}, {len(self._channels)} channels>"

    def receive(self, data: bytes) -> None:
        """Takes what the client sent."""
        for event in self.connection.receive(data):
            try:
                self._handle(event)
            except Fault as fault:
                self._fail(event, fault)
        if self.connection.over:
            self.end()

    def flush(self) -> bytes:
        """Returns what the client is to be sent now."""
        if not self.connection.over:
            for channel in self._unconfirmed:
                channel.send_confirms()
        self._unconfirmed.clear()
        return self.connection.take()

    def resume(self) -> None:
        """The client has read: its queues may deliver again."""
        if self._starved and self.has_room():
            self._starved = False
            for channel in tuple(self._channels.values()):
                channel.pump()

    def close(self, fault: Fault) -> None:
        """Ends the connection with a reason, and gives back what the client holds."""
        self.connection.close(fault)
        self._wake()
        self.end()

    def end(self) -> None:
        """The connection is over: consumers go first, so that nothing comes back to this client."""
        if self._ended:
            return
        self._ended = True
        self.hub.leave(self.username, self)
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            channel.cancel_all()
        for channel in channels:
            channel.end()
        for name in self.held:
            self.hub.vhost.delete_queue(name)
        logger.debug("connection of %s is over", self.username or "nobody")

    def has_room(self) -> bool:
        """Says if the client reads fast enough to be sent more; if not, `resume` follows."""
        room = (
            self.reading
            and self.connection.unsent_bytes < self.hub.limits.high_water_bytes
            and not self.connection.over
        )
        self._starved = self._starved or not room
        return room

    def confirm_soon(self, channel: Channel) -> None:
        """A channel has confirms for the next `flush`."""
        self._unconfirmed[channel] = None
        self._wake()

    def require(self, operation: Operation, kind: str, name: str, routing_key: str | None = None) -> None:
        """Asks the guard, whose yes is remembered.

        Raises:
            Fault: 403.
        """
        grant = (operation, name, routing_key)
        if grant in self._granted:
            return
        if not self.hub.guard.allowed(self.username, operation, name, routing_key):
            logger.warning("%s may not %s %s %s", self.username, operation, kind, name)
            key = "" if routing_key is None else f" with routing key '{routing_key}'"
            text = (
                f"{operation} access to {kind} '{name}' in vhost '/'{key} refused for user '{self.username}'"
            )
            raise Fault(Code.ACCESS_REFUSED, text)
        if len(self._granted) >= MAX_KNOWN_GRANTS:
            self._granted.clear()
        self._granted.add(grant)

    def _handle(self, event: events.Event) -> None:
        match event:
            case events.Published():
                self._channels[event.channel].publish(event)
            case events.Acked():
                self._channels[event.channel].ack(event.delivery_tag, event.multiple)
            case events.Called():
                METHODS[type(event.method)](self._channels[event.channel], event.method)
            case events.ChannelOpened():
                self._channels[event.channel] = Channel(self, event.channel)
            case events.ChannelEnded():
                self._end_channel(event.channel)
            case events.Login():
                self._log_in(event)
            case events.Opening():
                self._open(event)

    def _log_in(self, login: events.Login) -> None:
        if self.hub.guard.authenticate(login.username, login.password):
            self.username = login.username
            self.connection.accept_login()
        else:
            logger.warning("wrong name or password for AMQP user %r", login.username)
            self.connection.refuse_login(login.username)

    def _open(self, opening: events.Opening) -> None:
        if opening.vhost != "/":
            raise Fault(Code.NOT_ALLOWED, f"vhost '{opening.vhost}' not found, there is only '/'")
        self.hub.join(self.username, self)
        self.connection.accept_opening()
        logger.debug("connection of %s is open", self.username)

    def _fail(self, event: events.Event, fault: Fault) -> None:
        if fault.method == (0, 0):
            fault.method = _method_of(event)
        logger.debug("%s: %s", self.username, fault)
        number = getattr(event, "channel", 0)
        self.connection.fail(fault, number)
        self._end_channel(number)

    def _end_channel(self, number: int) -> None:
        channel = self._channels.pop(number, None)
        if channel is not None:
            channel.end()


def _method_of(event: events.Event) -> tuple[int, int]:
    """The class and method id that a close names."""
    match event:
        case events.Called():
            return event.method.index >> 16, event.method.index & 0xFFFF
        case events.Published():
            return PUBLISH
        case events.Acked():
            return ACK
        case _:
            return OPEN
