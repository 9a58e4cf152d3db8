"""This module is the heartbeat of one connection: how often to send one, when the client counts as gone."""

from __future__ import annotations


class Pulse:
    """Watches for signs of life from one client.

    Args:
        heartbeat_s: As agreed; two of them without a byte from the other side end the connection.
        now_s: By the clock that all later times come from.

    Attributes:
        period_s: How often to send one and to look if the other side is `gone`.
    """

    def __init__(self, heartbeat_s: float, now_s: float) -> None:
        self.period_s = heartbeat_s / 2
        self._limit_s = heartbeat_s * 2
        self._received_s = now_s

    def received(self, now_s: float) -> None:
        """Something came; any byte counts."""
        self._received_s = now_s

    def gone(self, now_s: float) -> bool:
        """Says if the other side has been silent for too long."""
        return now_s - self._received_s >= self._limit_s
