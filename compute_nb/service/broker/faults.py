"""This module is the faults of AMQP: a client broke a rule; its channel or connection closes with a code."""

from __future__ import annotations

from enum import IntEnum

from compute_nb.errors import ComputeError

MAX_TEXT_BYTES = 255  # a reply text is a short string


class Code(IntEnum):
    """The reply codes in use, named as in the specification."""

    SUCCESS = 200
    NO_ROUTE = 312
    CONNECTION_FORCED = 320
    ACCESS_REFUSED = 403
    NOT_FOUND = 404
    RESOURCE_LOCKED = 405
    PRECONDITION_FAILED = 406
    FRAME_ERROR = 501
    SYNTAX_ERROR = 502
    COMMAND_INVALID = 503
    CHANNEL_ERROR = 504
    UNEXPECTED_FRAME = 505
    NOT_ALLOWED = 530
    NOT_IMPLEMENTED = 540
    INTERNAL_ERROR = 541


SOFT = frozenset({Code.ACCESS_REFUSED, Code.NOT_FOUND, Code.RESOURCE_LOCKED, Code.PRECONDITION_FAILED})


class Fault(ComputeError):
    """A client broke a rule; never leaves the broker, where it becomes a close.

    Args:
        code: Why; decides whether the channel closes or the whole connection.
        text: What was wrong with what, for people. Begins with the code's name on the wire.
        method: (class id, method id) of the method at fault, (0, 0) if there was none.
    """

    def __init__(self, code: Code, text: str, method: tuple[int, int] = (0, 0)) -> None:
        self.reply_code = code
        self.method = method
        super().__init__(f"{code.name} - {text}")

    @property
    def closes_channel(self) -> bool:
        """True if the connection and its other channels live on."""
        return self.reply_code in SOFT

    @property
    def reply_text(self) -> str:
        """The text cut to what fits on the wire."""
        return str(self).encode()[:MAX_TEXT_BYTES].decode(errors="ignore")


def not_found(kind: str, name: str) -> Fault:
    """Returns the fault for a queue or exchange that doesn't exist."""
    return Fault(Code.NOT_FOUND, f"no {kind} '{name}' in vhost '/'")
