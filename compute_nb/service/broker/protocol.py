"""This module is the AMQP 0-9-1 rules of one connection, without I/O: bytes in, events and bytes out.

    HEADER -> START -> LOGIN -> TUNE -> OPEN -> RUNNING -> CLOSING -> CLOSED

A phase is named after what is awaited: the protocol header, start-ok, the broker's word on the login,
tune-ok, open. Any phase may go to CLOSING (we sent close and await close-ok) or CLOSED (nothing more will
be said). Rules of form live here; what a queue or a permission says lives in `peer` and `methods`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum

from pamqp import base, commands

from compute_nb.service.broker import frames, handshake
from compute_nb.service.broker.content import Content
from compute_nb.service.broker.events import Acked, Called, ChannelEnded, ChannelOpened, Event, Opening
from compute_nb.service.broker.faults import Code, Fault
from compute_nb.service.broker.frames import HEADER, HEARTBEAT, METHOD
from compute_nb.service.broker.handshake import Tuning
from compute_nb.service.broker.limits import Limits


class Phase(Enum):
    """What a connection awaits."""

    HEADER = "protocol header"
    START = "start-ok"
    LOGIN = "word on the login"
    TUNE = "tune-ok"
    OPEN = "open"
    RUNNING = "methods"
    CLOSING = "close-ok"
    CLOSED = "nothing"


CONNECTION_CLOSE, CONNECTION_CLOSE_OK = (10, 50), (10, 51)
CHANNEL_OPEN, CHANNEL_CLOSE, CHANNEL_CLOSE_OK = (20, 10), (20, 40), (20, 41)
OVER = frozenset({Phase.CLOSING, Phase.CLOSED})

CALLABLE: frozenset[type[base.Frame]] = frozenset(
    {
        commands.Channel.Flow,
        commands.Exchange.Declare,
        commands.Exchange.Delete,
        commands.Exchange.Bind,
        commands.Exchange.Unbind,
        commands.Queue.Declare,
        commands.Queue.Bind,
        commands.Queue.Unbind,
        commands.Queue.Purge,
        commands.Queue.Delete,
        commands.Basic.Qos,
        commands.Basic.Consume,
        commands.Basic.Cancel,
        commands.Basic.Get,
        commands.Basic.Nack,
        commands.Basic.Reject,
        commands.Basic.Recover,
        commands.Basic.RecoverAsync,
        commands.Confirm.Select,
        commands.Tx.Select,
        commands.Tx.Commit,
        commands.Tx.Rollback,
    }
)
UNANSWERED = (commands.Channel.FlowOk, commands.Basic.CancelOk)  # answers that need no reaction


class _Channel:
    """How far a channel is with its frames."""

    __slots__ = ("closing", "content")

    def __init__(self) -> None:
        self.content: Content | None = None
        self.closing = False


class Connection:
    """One client's connection, seen from the broker.

    Feed it by `receive` and handle each event before asking for the next; what it has to say waits in
    `take`. Breaking the rules never raises: the connection writes its close, and `phase` says so.

    Args:
        limits: What is offered and enforced.
        wake: Called when there is something to `take` and there was nothing before.

    Attributes:
        phase: What is awaited.
        tuning: What was agreed, None before.
        capabilities: What the client says it can.
        unsent_bytes: How much waits in `take`.
    """

    def __init__(self, limits: Limits, wake: Callable[[], None]) -> None:
        self.phase = Phase.HEADER
        self.tuning: Tuning | None = None
        self.capabilities: frozenset[str] = frozenset()
        self.unsent_bytes = 0
        self._limits = limits
        self._wake = wake
        self._unsent: list[bytes] = []
        self._splitter = frames.Splitter(handshake.INITIAL_FRAME_BYTES)
        self._channels: dict[int, _Channel] = {}
        self._start = b""
        self._deaf = False

    @property
    def over(self) -> bool:
        """True if no more events will come."""
        return self.phase in OVER

    def receive(self, data: bytes) -> Iterator[Event]:
        """Takes what the client sent, and yields what it means.

        Each event is to be handled before the next is asked for: answers keep their order, and a
        close that it leads to already rules the next frame.
        """
        if self.phase is Phase.HEADER:
            data = self._read_protocol_header(data)
        if self._deaf or not data:
            return
        try:
            for kind, number, payload in self._splitter.split(data):
                try:
                    event = self._read(kind, number, payload)
                except Fault as fault:
                    self.fail(fault, number)
                    event = ChannelEnded(number) if not self.over else None
                if event is not None:
                    yield event
                if self.phase is Phase.CLOSED:
                    return
        except Fault as fault:
            self._deaf = True
            self.fail(fault)

    def take(self) -> bytes:
        """Returns what is to be sent, and forgets it."""
        data = b"".join(self._unsent)
        self._unsent.clear()
        self.unsent_bytes = 0
        return data

    def accept_login(self) -> None:
        """The name and password of the last `Login` are good."""
        self.phase = Phase.TUNE
        self.send(0, handshake.offer(self._limits))

    def refuse_login(self, username: str) -> None:
        """They are not. A client too old to be told so is cut off, as the specification wants it."""
        if "authentication_failure_close" in self.capabilities:
            text = f"login was refused using authentication mechanism PLAIN for user '{username}'"
            self.close(Fault(Code.ACCESS_REFUSED, text, handshake.START_OK))
        else:
            self.phase = Phase.CLOSED

    def accept_opening(self) -> None:
        """The virtual host of the last `Opening` may be used."""
        self.phase = Phase.RUNNING
        self.send(0, commands.Connection.OpenOk())

    def send(self, channel: int, method: base.Frame) -> None:
        """Sends a method without content."""
        self._put(frames.write_method(channel, method))

    def send_content(self, channel: int, method: bytes, properties: bytes, body: bytes) -> None:
        """Sends a method, already encoded, with a message."""
        assert self.tuning is not None
        room = self.tuning.max_frame_bytes
        if len(properties) + 12 + frames.OVERHEAD_BYTES > room:
            text = f"a message has properties of {len(properties)} bytes, frames {room} at most"
            self.close(Fault(Code.FRAME_ERROR, text))
            return
        self._put(method)
        self._put(frames.write_content(channel, properties, body, room))

    def send_confirm(self, channel: int, number: int, multiple: bool, ok: bool) -> None:
        """Tells a publisher what became of its message, or of all up to it."""
        self._put(frames.write_confirm(channel, number, multiple, ok))

    def send_heartbeat(self) -> None:
        """Sends a sign of life."""
        self._put(frames.HEARTBEAT_FRAME)

    def fail(self, fault: Fault, channel: int = 0) -> None:
        """Closes the channel or the whole connection, as the fault asks for."""
        known = self._channels.get(channel)
        if known is None or not fault.closes_channel:
            self.close(fault)
        elif not known.closing and not self.over:
            known.closing, known.content = True, None
            self.send(channel, commands.Channel.Close(fault.reply_code, fault.reply_text, *fault.method))

    def close(self, fault: Fault) -> None:
        """Closes the connection; only the client's close-ok is heard from now on."""
        if self.over:
            return
        if self.phase is Phase.HEADER:
            self.phase = Phase.CLOSED
            return
        self.phase = Phase.CLOSING
        self._channels.clear()
        self.send(0, commands.Connection.Close(fault.reply_code, fault.reply_text, *fault.method))

    def _put(self, data: bytes) -> None:
        self._unsent.append(data)
        self.unsent_bytes += len(data)
        if len(self._unsent) == 1:
            self._wake()

    def _read_protocol_header(self, data: bytes) -> bytes:
        """Consumes the header; returns what follows it. Another protocol is told ours, and that's it."""
        self._start += data
        found, rest = self._start[:8], self._start[8:]
        if not frames.PROTOCOL_HEADER.startswith(found):
            self._put(frames.PROTOCOL_HEADER)
            self.phase = Phase.CLOSED
            return b""
        if len(found) == 8:
            self.phase, self._start = Phase.START, b""
            self.send(0, handshake.start())
        return rest

    def _read(self, kind: int, number: int, payload: bytes) -> Event | None:
        if self.over:
            self._read_while_closing(kind, number, payload)
            return None
        channel = self._channels.get(number)
        if channel is None:
            return self._read_elsewhere(kind, number, payload)
        if channel.closing:
            self._read_while_channel_closes(kind, number, payload)
            return None
        if kind == METHOD:
            return self._read_channel_method(number, channel, payload)
        return self._read_content(kind, channel, payload)

    def _read_channel_method(self, number: int, channel: _Channel, payload: bytes) -> Event | None:
        if channel.content is not None:
            text = "a method came where the content of a message was awaited"
            raise Fault(Code.UNEXPECTED_FRAME, text, frames.method_id(payload))
        start = payload[:4]
        if start == frames.PUBLISH_ID:
            publish = frames.read_publish(payload)
            if publish.immediate:
                text = "immediate=true is not known here"
                raise Fault(Code.NOT_IMPLEMENTED, text, frames.method_id(payload))
            channel.content = Content(number, publish, self._limits)
            return None
        if start == frames.ACK_ID:
            return Acked(number, *frames.read_ack(payload))
        return self._call(number, frames.read_method(payload))

    def _call(self, number: int, method: base.Frame) -> Event | None:
        if type(method) in CALLABLE:
            return Called(number, method)
        if isinstance(method, commands.Channel.Close):
            del self._channels[number]
            self.send(number, commands.Channel.CloseOk())
            return ChannelEnded(number)
        if isinstance(method, UNANSWERED):
            return None
        if isinstance(method, commands.Channel.Open):
            text = f"channel {number} is open already"
            raise Fault(Code.CHANNEL_ERROR, text, _id_of(method))
        text = f"{method.name} may not come from a client on channel {number}"
        raise Fault(Code.COMMAND_INVALID, text, _id_of(method))

    def _read_content(self, kind: int, channel: _Channel, payload: bytes) -> Event | None:
        if kind == HEARTBEAT:
            raise Fault(Code.FRAME_ERROR, "a heartbeat belongs on channel 0")
        if channel.content is None:
            raise Fault(Code.UNEXPECTED_FRAME, "the content of a message came without a method")
        content = channel.content
        whole = content.header(payload) if kind == HEADER else content.body(payload)
        if whole is not None:
            channel.content = None
        return whole

    def _read_elsewhere(self, kind: int, number: int, payload: bytes) -> Event | None:
        """Reads a frame on channel 0, or on a channel that is not open."""
        if kind == HEARTBEAT:
            if number or payload:
                raise Fault(Code.FRAME_ERROR, "a heartbeat is empty and on channel 0")
            return None
        if number == 0 and kind != METHOD:
            raise Fault(Code.UNEXPECTED_FRAME, "the content of a message came on channel 0")
        if number == 0:
            return self._control(frames.read_method(payload))
        if kind == METHOD and frames.method_id(payload) == CHANNEL_CLOSE_OK:
            return None  # both sides closed at the same time
        if kind != METHOD or frames.method_id(payload) != CHANNEL_OPEN:
            raise Fault(Code.CHANNEL_ERROR, f"channel {number} is not open")
        return self._open_channel(number, frames.read_method(payload))

    def _open_channel(self, number: int, method: base.Frame) -> Event:
        if self.phase is not Phase.RUNNING:
            text = f"a channel was opened where {self.phase.value} was awaited"
            raise Fault(Code.COMMAND_INVALID, text, _id_of(method))
        assert self.tuning is not None
        if number > self.tuning.max_channels:
            text = f"channel {number} is above the agreed {self.tuning.max_channels}"
            raise Fault(Code.CHANNEL_ERROR, text, _id_of(method))
        self._channels[number] = _Channel()
        self.send(number, commands.Channel.OpenOk())
        return ChannelOpened(number)

    def _control(self, method: base.Frame) -> Event | None:
        """Reads a method of the connection itself."""
        if isinstance(method, commands.Connection.Close):
            self._answer_close()
            return None
        if isinstance(method, commands.Connection.StartOk) and self.phase is Phase.START:
            self.phase = Phase.LOGIN
            self.capabilities = handshake.read_capabilities(method)
            return handshake.read_login(method)
        if isinstance(method, commands.Connection.TuneOk) and self.phase is Phase.TUNE:
            self.tuning = handshake.read_tuning(method, self._limits)
            self._splitter.max_frame_bytes = self.tuning.max_frame_bytes
            self.phase = Phase.OPEN
            return None
        if isinstance(method, commands.Connection.Open) and self.phase is Phase.OPEN:
            return Opening(method.virtual_host)
        if isinstance(method, commands.Connection.UpdateSecret):
            text = "a new secret for a living connection is not taken: connect again"
            raise Fault(Code.NOT_IMPLEMENTED, text, _id_of(method))
        text = f"{method.name} came on channel 0 where {self.phase.value} was awaited"
        raise Fault(Code.COMMAND_INVALID, text, _id_of(method))

    def _read_while_closing(self, kind: int, number: int, payload: bytes) -> None:
        """Looks for nothing but the end; what else was on its way is ignored."""
        if kind != METHOD or number:
            return
        method_id = frames.method_id(payload)
        if method_id == CONNECTION_CLOSE_OK:
            self.phase = Phase.CLOSED
        elif method_id == CONNECTION_CLOSE:
            self._answer_close()

    def _answer_close(self) -> None:
        self.phase = Phase.CLOSED
        self._channels.clear()
        self.send(0, commands.Connection.CloseOk())

    def _read_while_channel_closes(self, kind: int, number: int, payload: bytes) -> None:
        """As above for one channel, whose number may be used again after that."""
        if kind != METHOD:
            return
        method_id = frames.method_id(payload)
        if method_id == CHANNEL_CLOSE:
            self.send(number, commands.Channel.CloseOk())
        if method_id in {CHANNEL_CLOSE, CHANNEL_CLOSE_OK}:
            del self._channels[number]


def _id_of(method: base.Frame) -> tuple[int, int]:
    return method.index >> 16, method.index & 0xFFFF
