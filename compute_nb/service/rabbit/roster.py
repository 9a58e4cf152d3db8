"""This module is who may log in at RabbitMQ: admitted, expelled, disconnected, in order, until it is done."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Literal, Protocol

from compute_nb.service.broker.contract import Grants
from compute_nb.service.rabbit.management import Management, ManagementFailed

_log = logging.getLogger(__name__)

PAUSE_S = 1.0
Step = Literal["admit", "expel", "disconnect"]


class Passwords(Protocol):
    """What each user's password is, and what it may do."""

    def password(self, username: str) -> str:
        """The password of a user as of now."""
        ...

    def grants(self, username: str) -> Grants | None:
        """What a user may do; None for a name that is none of ours."""
        ...


class Roster:
    """Has the management API do what the broker was asked for; loop thread only.

    Args:
        management: Asked one request after the other.
        passwords: Asked anew at each admission.
    """

    def __init__(self, management: Management, passwords: Passwords) -> None:
        self._management = management
        self._passwords = passwords
        self._admitted: set[str] = set()
        self._steps: deque[tuple[Step, str]] = deque()
        self._working: asyncio.Task[None] | None = None
        self._warned = False

    def admit(self, username: str) -> None:
        """Makes a user, unless that was done."""
        if username not in self._admitted:
            self._admitted.add(username)
            self._add("admit", username)

    def expel(self, username: str) -> None:
        """Deletes a user, with its connections."""
        self._admitted.discard(username)
        self._add("expel", username)

    def disconnect(self, username: str) -> None:
        """Closes a user's connections."""
        self._add("disconnect", username)

    async def settled(self) -> None:
        """Waits until nothing is left to do."""
        if self._working is not None:
            await asyncio.shield(self._working)

    async def muster(self) -> None:
        """Makes again the users that RabbitMQ has forgotten, and closes the connections of the others.

        So each agent says hello and each watcher asks anew, as when the broker had ended with the service.

        Raises:
            ManagementFailed: The API doesn't do it.
        """
        known = [name for name in await self._management.principals() if self._passwords.grants(name)]
        for username in self._admitted.difference(known):
            await self._do("admit", username)
        for username in known:
            await self._do("disconnect", username)

    async def close(self) -> None:
        """Leaves undone what is left."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait({self._working})

    def _add(self, step: Step, username: str) -> None:
        self._steps.append((step, username))
        if self._working is None:
            self._working = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while self._steps:
            try:
                await self._do(*self._steps[0])
            except ManagementFailed as error:
                (_log.debug if self._warned else _log.warning)("%s; tried again until it works", error)
                self._warned = True
                await asyncio.sleep(PAUSE_S)
                continue
            self._warned = False
            self._steps.popleft()
        self._working = None

    async def _do(self, step: Step, username: str) -> None:
        if step == "expel":
            await self._management.expel(username)
        elif step == "disconnect":
            await self._management.disconnect(username)
        elif (grants := self._passwords.grants(username)) is not None:
            await self._management.admit(username, self._passwords.password(username), grants)
