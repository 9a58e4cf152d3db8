"""This module is the list of limits that the embedded broker sets to its clients."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one broker allows, with the reason where a number has one.

    Attributes:
        max_body_bytes: Of one message. A submit has 16 MiB at most, a result 10 MiB.
        max_properties_bytes: Of one message's properties with its headers. Crafted ones of 16 KiB take
            30 ms to decode, and the time grows with the square.
        max_frame_bytes: Offered at the handshake, as RabbitMQ does.
        max_channels: Of one connection; our clients use one.
        heartbeat_s: Offered at the handshake, as RabbitMQ does; a client may choose another.
        max_connections: In all, those still at their handshake included.
        max_connections_per_user: The published SDK opens one for each task group.
        handshake_timeout_s: From the first byte to the open connection.
        close_timeout_s: How long a client may take to answer a close.
        high_water_bytes: Nothing more is delivered to a client that has so much unread.
        max_unsent_bytes: A client that has left so much unread is cut off.
    """

    max_body_bytes: int = 64 * MIB
    max_properties_bytes: int = 16 * 1024
    max_frame_bytes: int = 131_072
    max_channels: int = 255
    heartbeat_s: int = 60
    max_connections: int = 1_000
    max_connections_per_user: int = 250
    handshake_timeout_s: float = 10.0
    close_timeout_s: float = 3.0
    high_water_bytes: int = MIB
    max_unsent_bytes: int = 128 * MIB
