"""This module is the spelling of AMQP 0-9-1 frames: bytes to frames and back.

Methods go through `pamqp`. What comes with every message (publish, deliver, ack, confirm, content frames) is
spelled here, since pamqp takes many times as long; a test holds both spellings together.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from pamqp import base, commands, frame
from pamqp.exceptions import PAMQPException

from compute_nb.service.broker.faults import Code, Fault

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
KINDS = frozenset({METHOD, HEADER, BODY, HEARTBEAT})
END = b"\xce"
END_OCTET = END[0]
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
HEARTBEAT_FRAME = b"\x08\x00\x00\x00\x00\x00\x00\xce"
OVERHEAD_BYTES = 8
MIN_FRAME_BYTES = 4096
MAX_METHOD_BYTES = 16 * 1024  # longer ones could keep the decoder of tables busy for a second

PUBLISH_ID, DELIVER_ID, ACK_ID = b"\x00\x3c\x00\x28", b"\x00\x3c\x00\x3c", b"\x00\x3c\x00\x50"
BASIC_CLASS = 60

# What pamqp lets out for bytes that are no AMQP; RecursionError for tables in tables in tables.
UNREADABLE = (
    PAMQPException,
    StructError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    OSError,
    RecursionError,
)

_HEAD = Struct(">BHI")
_CONTENT = Struct(">BHIHHQ")
_CONTENT_HEADER = Struct(">HHQ")
_BODY_HEAD = Struct(">cBHI")
_TAG_BITS = Struct(">QB")
_CONFIRM = Struct(">BHI4sQBB")


class _AnyNames:
    """A method that repeats names of a client's choice: pamqp would take few characters in them."""

    def validate(self) -> None:
        """Called by pamqp."""


class DeclareOk(_AnyNames, commands.Queue.DeclareOk):
    """The answer to queue.declare."""


class GetOk(_AnyNames, commands.Basic.GetOk):
    """The answer to basic.get."""


class Return(_AnyNames, commands.Basic.Return):
    """A message that no queue took."""


class Splitter:
    """Cuts a stream of bytes into frames.

    Attributes:
        max_frame_bytes: Of the whole frame; larger ones are refused before they have arrived.
    """

    def __init__(self, max_frame_bytes: int) -> None:
        self.max_frame_bytes = max_frame_bytes
        self._buffer = b""

    def split(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Yields kind, channel and payload of each frame that is complete.

        Raises:
            Fault: 501; after that the stream has no meaning any more.
        """
        buffer = self._buffer + data if self._buffer else data
        position, length = 0, len(buffer)
        while length - position >= OVERHEAD_BYTES - 1:
            kind, channel, size = _HEAD.unpack_from(buffer, position)
            self._check(kind, size)
            end = position + 7 + size
            if end >= length:
                break
            if buffer[end] != END_OCTET:
                raise Fault(Code.FRAME_ERROR, f"a frame of type {kind} has no end octet")
            yield kind, channel, buffer[position + 7 : end]
            position = end + 1
        self._buffer = buffer[position:]

    def _check(self, kind: int, size: int) -> None:
        if kind not in KINDS:
            raise Fault(Code.FRAME_ERROR, f"there is no frame of type {kind}")
        if size > self.max_frame_bytes - OVERHEAD_BYTES:
            raise Fault(
                Code.FRAME_ERROR,
                f"a frame of {size + OVERHEAD_BYTES} bytes, at most {self.max_frame_bytes} are agreed",
            )


class Publish(NamedTuple):
    """The arguments of basic.publish."""

    exchange: str
    routing_key: str
    mandatory: bool
    immediate: bool


def method_id(payload: bytes) -> tuple[int, int]:
    """The class and method id at the start of a method's payload, for the close that names them."""
    return int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")


def read_method(payload: bytes) -> base.Frame:
    """Decodes any method.

    Raises:
        Fault: 502 if the bytes can't be read, 503 if there is no such method.
    """
    if not 4 <= len(payload) <= MAX_METHOD_BYTES:
        raise Fault(Code.SYNTAX_ERROR, f"a method frame of {len(payload)} bytes")
    kind = commands.INDEX_MAPPING.get(int.from_bytes(payload[:4], "big"))
    if kind is None:
        raise Fault(Code.COMMAND_INVALID, f"there is no method {method_id(payload)}", method_id(payload))
    method: base.Frame = object.__new__(kind)  # its constructor warns of methods that are out of fashion
    try:
        method.unmarshal(payload[4:])
    except UNREADABLE as error:
        text = f"the arguments of {method.name} can't be read: {error}"
        raise Fault(Code.SYNTAX_ERROR, text, method_id(payload)) from error
    return method


@lru_cache(maxsize=4096)
def read_publish(payload: bytes) -> Publish:
    """Decodes basic.publish.

    Raises:
        Fault: 502 if the bytes can't be read.
    """
    try:
        middle = 7 + payload[6]
        end = middle + 1 + payload[middle]
        bits = payload[end]
        exchange, key = payload[7:middle].decode(), payload[middle + 1 : end].decode()
    except (IndexError, UnicodeDecodeError) as error:
        text = f"the arguments of Basic.Publish can't be read: {error}"
        raise Fault(Code.SYNTAX_ERROR, text, method_id(payload)) from error
    if len(payload) != end + 1:
        raise Fault(Code.SYNTAX_ERROR, "Basic.Publish has bytes after its arguments", method_id(payload))
    return Publish(exchange, key, bool(bits & 1), bool(bits & 2))


def read_ack(payload: bytes) -> tuple[int, bool]:
    """Decodes basic.ack to delivery tag and `multiple`.

    Raises:
        Fault: 502 if the bytes can't be read.
    """
    if len(payload) != 13:
        raise Fault(Code.SYNTAX_ERROR, "the arguments of Basic.Ack can't be read", method_id(payload))
    tag, bits = _TAG_BITS.unpack_from(payload, 4)
    return tag, bool(bits & 1)


def read_content_header(payload: bytes) -> tuple[int, int, bytes]:
    """Decodes a content header to class id, body size and the bytes of the properties.

    Raises:
        Fault: 502 if it is too short to be one.
    """
    if len(payload) < 14:
        raise Fault(Code.SYNTAX_ERROR, f"a content header of {len(payload)} bytes")
    class_id, _, size = _CONTENT_HEADER.unpack_from(payload)
    return class_id, size, payload[12:]


def write_method(channel: int, method: base.Frame) -> bytes:
    """Encodes any method."""
    return frame.marshal(method, channel)


def write_content(channel: int, properties: bytes, body: bytes, max_frame_bytes: int) -> bytes:
    """Encodes a content header and the body in as many frames as it takes."""
    size = len(body)
    head = _CONTENT.pack(HEADER, channel, 12 + len(properties), BASIC_CLASS, 0, size) + properties
    step = max_frame_bytes - OVERHEAD_BYTES
    if size <= step:
        if not size:
            return head + END
        return b"".join((head, _BODY_HEAD.pack(END, BODY, channel, size), body, END))
    pieces = [head]
    for start in range(0, size, step):
        pieces.append(_BODY_HEAD.pack(END, BODY, channel, min(step, size - start)))
        pieces.append(body[start : start + step])
    pieces.append(END)
    return b"".join(pieces)


def write_deliver(
    channel: int, consumer_tag: str, delivery_tag: int, *, redelivered: bool, exchange: str, key: str
) -> bytes:
    """Encodes basic.deliver."""
    before, after = _deliver_parts(channel, consumer_tag, exchange, key)
    return before + _TAG_BITS.pack(delivery_tag, redelivered) + after


def write_confirm(channel: int, number: int, multiple: bool, ok: bool) -> bytes:
    """Encodes basic.ack or basic.nack to a publisher."""
    method = ACK_ID if ok else b"\x00\x3c\x00\x78"
    return _CONFIRM.pack(METHOD, channel, 13, method, number, multiple, END_OCTET)


@lru_cache(maxsize=4096)
def _deliver_parts(channel: int, consumer_tag: str, exchange: str, key: str) -> tuple[bytes, bytes]:
    tag, after = _short(consumer_tag), _short(exchange) + _short(key)
    size = 4 + len(tag) + _TAG_BITS.size + len(after)
    return _HEAD.pack(METHOD, channel, size) + DELIVER_ID + tag, after + END


def _short(text: str) -> bytes:
    raw = text.encode()
    return bytes((len(raw),)) + raw
