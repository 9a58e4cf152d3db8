"""This module is one message on its way in: a publish, its content header, body frames until it is whole."""

from __future__ import annotations

from compute_nb.service.broker import frames, properties
from compute_nb.service.broker.events import Published
from compute_nb.service.broker.faults import Code, Fault
from compute_nb.service.broker.limits import Limits

BASIC_PUBLISH = (60, 40)


class Content:
    """Collects the frames that follow one basic.publish on a channel."""

    __slots__ = ("_channel", "_limits", "_missing", "_pieces", "_properties", "_publish", "_user_id")

    def __init__(self, channel: int, publish: frames.Publish, limits: Limits) -> None:
        self._channel = channel
        self._publish = publish
        self._limits = limits
        self._properties: bytes | None = None
        self._user_id: str | None = None
        self._missing = 0
        self._pieces: list[bytes] = []

    def header(self, payload: bytes) -> Published | None:
        """Takes the content header; returns the message if it has no body.

        Raises:
            Fault: 505 out of turn, 502 unreadable, 406 more than the limits allow.
        """
        if self._properties is not None:
            raise Fault(Code.UNEXPECTED_FRAME, "a second content header", BASIC_PUBLISH)
        class_id, size, raw = frames.read_content_header(payload)
        if class_id != frames.BASIC_CLASS:
            text = f"a content header of class {class_id} after Basic.Publish"
            raise Fault(Code.UNEXPECTED_FRAME, text, BASIC_PUBLISH)
        self._refuse_large("body", size, self._limits.max_body_bytes)
        self._refuse_large("properties", len(raw), self._limits.max_properties_bytes)
        self._user_id = properties.read(raw).user_id
        self._properties, self._missing = raw, size
        return None if size else self._whole(raw)

    def body(self, payload: bytes) -> Published | None:
        """Takes a body frame; returns the message if it was the last.

        Raises:
            Fault: 505 if no body, or less of it, was announced.
        """
        self._missing -= len(payload)
        if self._properties is None or self._missing < 0:
            raise Fault(Code.UNEXPECTED_FRAME, "more body than announced", BASIC_PUBLISH)
        self._pieces.append(payload)
        return None if self._missing else self._whole(self._properties)

    def _refuse_large(self, what: str, size: int, limit: int) -> None:
        if size > limit:
            text = f"a message with {what} of {size} bytes, at most {limit} are taken"
            raise Fault(Code.PRECONDITION_FAILED, text, BASIC_PUBLISH)

    def _whole(self, raw: bytes) -> Published:
        exchange, key, mandatory, _ = self._publish
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        return Published(self._channel, exchange, key, mandatory, raw, body, self._user_id)
