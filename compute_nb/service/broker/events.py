"""This module is the events of a connection: what a client has just said, after all checks of form."""

from __future__ import annotations

from typing import NamedTuple

from pamqp import base


class Login(NamedTuple):
    """The client gave its name and password; accept or refuse it."""

    username: str
    password: str


class Opening(NamedTuple):
    """The client asks for a virtual host; accept it or fail the connection."""

    vhost: str


class ChannelOpened(NamedTuple):
    """A channel begins; the client has its answer."""

    channel: int


class ChannelEnded(NamedTuple):
    """A channel is over: closed by the client, or broken by content that the rules forbid."""

    channel: int


class Called(NamedTuple):
    """The client called a method that the broker's rules must answer."""

    channel: int
    method: base.Frame


class Acked(NamedTuple):
    """The client acknowledged deliveries."""

    channel: int
    delivery_tag: int
    multiple: bool


class Published(NamedTuple):
    """A message has arrived completely.

    Attributes:
        properties: As bytes, flags first; found readable.
        user_id: The property of that name, which must not be somebody else's.
    """

    channel: int
    exchange: str
    routing_key: str
    mandatory: bool
    properties: bytes
    body: bytes
    user_id: str | None


Event = Login | Opening | ChannelOpened | ChannelEnded | Called | Acked | Published
