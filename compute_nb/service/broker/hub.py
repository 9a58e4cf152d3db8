"""This module is what all connections of a broker share: queues, guard and limits, and who is connected."""

from __future__ import annotations

import logging
from typing import Protocol

from compute_nb.service.broker.contract import Guard
from compute_nb.service.broker.faults import Code, Fault
from compute_nb.service.broker.limits import Limits
from compute_nb.service.broker.vhost import Vhost

logger = logging.getLogger(__name__)


class Member(Protocol):
    """A connected client, as the hub knows it."""

    def close(self, fault: Fault) -> None:
        """Ends the connection with a reason."""
        ...


class Hub:
    """Counts the users' connections, and finds them again."""

    def __init__(self, guard: Guard, limits: Limits, vhost: Vhost) -> None:
        self.guard = guard
        self.limits = limits
        self.vhost = vhost
        self._members: dict[str, set[Member]] = {}

    def join(self, username: str, member: Member) -> None:
        """Counts a connection in.

        Raises:
            Fault: 530 if the user has too many.
        """
        members = self._members.setdefault(username, set())
        if len(members) >= self.limits.max_connections_per_user:
            logger.warning("user %s has %d connections: refused one more", username, len(members))
            text = f"user '{username}' has {len(members)} connections, which is the limit"
            raise Fault(Code.NOT_ALLOWED, text)
        members.add(member)

    def leave(self, username: str, member: Member) -> None:
        """Counts it out; harmless if it never came in."""
        members = self._members.get(username, set())
        members.discard(member)
        if not members:
            self._members.pop(username, None)

    def count(self, username: str) -> int:
        """Returns how many connections a user has."""
        return len(self._members.get(username, ()))

    def disconnect(self, username: str) -> None:
        """Closes all connections of a user."""
        for member in tuple(self._members.get(username, ())):
            member.close(Fault(Code.CONNECTION_FORCED, "the service has ended this connection"))
