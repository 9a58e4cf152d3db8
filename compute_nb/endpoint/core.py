"""This module is a core endpoint: how an agent of ours serves a service without our extensions.

Such a service sends no tasks to an endpoint but commands: to start a user endpoint, with a queue of its own,
for each user. This one starts no process for it. It gives each a journal, an engine and a link of its own in
this process, and keeps them until it ends.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from compute_nb import wire
from compute_nb.amqp import Incoming, Link, LinkPlan
from compute_nb.endpoint.conversation import Conversation
from compute_nb.endpoint.dialect import Dialect
from compute_nb.endpoint.engine import EngineStatus
from compute_nb.endpoint.figures import LOOK_S, Pulse
from compute_nb.endpoint.folder import Farewell
from compute_nb.endpoint.registration import Places, places_of
from compute_nb.errors import ComputeError, ServiceUnreachable
from compute_nb.private import write_private
from compute_nb.published_messages import StatusReport
from compute_nb.trust import Authorities

USERS = "users"

_log = logging.getLogger(__name__)


class House(Protocol):
    """Makes what a user endpoint needs, in a folder of its own."""

    def __call__(self, folder: Path, register: Callable[[], Places]) -> tuple[Conversation, UUID]:
        """Returns a conversation, with journal and engine, that is not started, and its journal's id."""


@dataclass(slots=True)
class _User:
    """A user endpoint that is served; `places` may be replaced by a newer start command."""

    places: Places
    conversation: Conversation
    dialect: Dialect
    link: Link


class Core:
    """The handler of a core endpoint's link; all methods but `leave` run on the link's thread.

    Args:
        register: Registers the endpoint and says where to read commands; may block.
        folder: Of the endpoint.
        house: Makes what user endpoints need.
        pulse: Makes one that tells of all of them, given what they all do.
        details: What each result tells of the workers.
        on_welcome: Called with the endpoint's id each time that the service has it online.
    """

    def __init__(
        self,
        register: Callable[[], Places],
        folder: Path,
        house: House,
        pulse: Callable[[Callable[[], EngineStatus]], Pulse],
        details: Mapping[str, Any],
        *,
        on_welcome: Callable[[UUID], object] | None = None,
        ca: Authorities = None,
    ) -> None:
        self._register, self._folder, self._house = register, folder / USERS, house
        self._details, self._tell_welcome, self._ca = details, on_welcome, ca
        self._pulse = pulse(self._status)
        self._users: dict[UUID, _User] = {}
        self._places: Places | None = None
        self._connections = 0
        self._welcome: int | None = None
        self._link: Link | None = None
        self._leaving = False
        self.failure: Exception | None = None
        self.overdue = False
        self.farewell = Farewell()

    def start(self, link: Link) -> None:
        """Called once, before the link runs."""
        self._link = link

    def leave(self) -> None:
        """Has all user endpoints end as `Conversation.leave` says, on a thread of its own, then the link."""
        if self._leaving:
            return
        self._leaving = True
        threading.Thread(target=self._leave, name="leaving", daemon=True).start()

    def _leave(self) -> None:
        self._end_users(lambda user: user.link.call_soon(user.conversation.leave))
        assert self._link is not None
        self._link.call_soon(self._say_farewell)

    def _say_farewell(self) -> None:
        assert self._link is not None
        self._report({"heartbeat_period": 0})
        self._link.stop(0)

    def _end_users(self, ask: Callable[[_User], object]) -> None:
        users = list(self._users.values())
        for user in users:
            ask(user)
        for user in users:
            user.link.join()
        self.overdue = any(user.conversation.leaving.overdue for user in users)
        told = [user.conversation.farewell for user in users]
        self.farewell = Farewell(
            *(sum(getattr(one, name) for one in told) for name in ("ended", "killed", "kept", "unsent"))
        )

    # hooks of the link

    def plan(self) -> LinkPlan:
        """Registers the endpoint."""
        self._places = self._register()
        return LinkPlan(self._places.url, (self._places.commands,), ca=self._ca)

    def on_open(self, link: Link) -> None:
        """Nothing is said before commands can be read."""
        self._connections += 1

    def on_ready(self, link: Link) -> None:
        """The agent is there: heartbeats begin."""
        assert self._places is not None
        _log.info("endpoint %s is connected, as a core endpoint", self._places.endpoint_id)
        self._pulse.again()
        self._welcome = self._report(self._pulse.due() or {})
        self._beat_later(link, self._connections)

    def on_message(self, link: Link, message: Incoming) -> None:
        """Does what a command says; one that can't be read is set aside."""
        try:
            command = json.loads(message.body)
            if command["command"] != "cmd_start_endpoint":
                raise ValueError(f"there is no command {str(command['command'])[:100]!r}")
            given = command["kwargs"]
            places = places_of(given["amqp_creds"])
        except (ComputeError, ValueError, KeyError, TypeError) as error:
            _log.warning("a command is set aside: %s: %s", type(error).__name__, error)
            link.reject(message.tag)
            return
        if given.get("user_opts"):
            _log.warning("user endpoint %s: `user_endpoint_config` has no effect here", places.endpoint_id)
        self._serve(places)
        link.ack(message.tag)

    def on_confirm(self, link: Link, number: int, ok: bool) -> None:
        """The service has the first heartbeat."""
        if number == self._welcome and ok:
            self._welcome = None
            if self._tell_welcome is not None and self._places is not None:
                self._tell_welcome(self._places.endpoint_id)

    def on_down(self, error: Exception) -> None:
        """The service is away: user endpoints go on."""
        self._connections += 1
        _log.warning("no connection to the service (%s); tasks go on, and it is tried again", error)

    def on_end(self, error: Exception | None) -> None:
        """The link is over: so are all user endpoints."""
        self.failure = error
        if error is not None:
            _log.error("the endpoint ends: %s", error)
        if not self._leaving:
            self._end_users(lambda user: user.link.stop(0))

    # user endpoints

    def _serve(self, places: Places) -> None:
        """Starts a user endpoint; one that is served gets its new address, and tells that it is there."""
        user = self._users.get(places.endpoint_id)
        if user is not None and user.conversation.failure is None:
            user.places = places
            user.link.call_soon(user.conversation.beat)
            return
        if self._leaving:
            return
        folder = self._folder / str(places.endpoint_id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._users[places.endpoint_id] = self._started(folder, places)
        except (ComputeError, OSError, sqlite3.Error) as error:  # the service orders it again
            _log.error("user endpoint %s can't be served: %s", places.endpoint_id, error)

    def _started(self, folder: Path, places: Places) -> _User:
        def where() -> Places:
            return self._users[places.endpoint_id].places

        conversation, journal_id = self._house(folder, where)
        dialect = Dialect(
            places.endpoint_id,
            places.results,
            places.heartbeats,
            _began_at(folder, journal_id),
            {**self._details, "endpoint_id": str(places.endpoint_id)},
        )
        link = Link(dialect, f"user {places.endpoint_id}")
        dialect.join(conversation, link)
        user = self._users[places.endpoint_id] = _User(places, conversation, dialect, link)
        conversation.start(dialect, dialect.end)
        link.start()
        return user

    # heartbeats

    def _beat(self, link: Link, connection: int) -> None:
        """Tells how all is, as long as the connection lasts."""
        if connection == self._connections:
            state = self._pulse.due()
            if state is not None:
                self._report(state)
            self._beat_later(link, connection)

    def _beat_later(self, link: Link, connection: int) -> None:
        link.call_later(LOOK_S, lambda: self._beat(link, connection))

    def _report(self, state: Mapping[str, Any]) -> int | None:
        if self._places is None or self._link is None:
            return None
        address = self._places.heartbeats
        report = StatusReport(self._places.endpoint_id, state)
        try:
            return self._link.publish(address.exchange, address.routing_key, wire.encode(report))
        except ServiceUnreachable:  # `on_down` follows
            return None

    def _status(self) -> EngineStatus:
        """Returns what all user endpoints do together."""
        told = [user.conversation.status() for user in tuple(self._users.values())]
        if not told:
            return EngineStatus(0, 0, 0, 0)
        counts = [sum(column) for column in zip(*(one.counts for one in told), strict=True)]
        trouble = next((one.trouble for one in told if one.trouble), "")
        return EngineStatus._make((*counts, told[0].resources, told[0].elsewhere, trouble))


def _began_at(folder: Path, journal_id: UUID) -> float:
    """Returns when the user endpoint began that this journal belongs to."""
    path = folder / "began.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["journal_id"] == str(journal_id):
            return float(told["began_at"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    now = time.time()
    write_private(path, json.dumps({"journal_id": str(journal_id), "began_at": now}))
    return now
