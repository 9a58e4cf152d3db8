"""This module is the heartbeat of one connection: when to send one, when the other side counts as gone."""

from __future__ import annotations

from enum import Enum


class Beat(Enum):
    """What is to be done at a tick."""

    NOTHING = "nothing"
    SEND = "send"
    GIVE_UP = "give up"


class Pulse:
    """Watches the traffic of a connection; `tick` it every `period_s`.

    Args:
        heartbeat_s: As agreed; two of them without a byte from the other side end the connection.
        now_s: By the clock that all later times come from.
    """

    def __init__(self, heartbeat_s: float, now_s: float) -> None:
        self.period_s = heartbeat_s / 2
        self._limit_s = heartbeat_s * 2
        self._received_s = now_s
        self._sent = False

    def received(self, now_s: float) -> None:
        """Something came."""
        self._received_s = now_s

    def sent(self) -> None:
        """Something went out."""
        self._sent = True

    def tick(self, now_s: float) -> Beat:
        """Says what is to be done; a heartbeat only if nothing else went out since the last tick."""
        if now_s - self._received_s >= self._limit_s:
            return Beat.GIVE_UP
        sent, self._sent = self._sent, False
        return Beat.NOTHING if sent else Beat.SEND
