"""This module is the destination of one Executor: what its endpoint's name stands for, and the session."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from uuid import UUID

from compute_nb.client import Client
from compute_nb.config import Settings
from compute_nb.home import Home
from compute_nb.places import Place, Places
from compute_nb.session import Session


class Destination:
    """Found, and the local service started, when something is first asked of it; for any thread, blocks.

    Args:
        name: What the endpoint is called; None for the configured default.
        service: The service, by name, where `name` has none.
        client: The only service that is asked is this one's; made when it is asked for if None.
        amqp_port: Used instead of the port that the service names.

    Attributes:
        given: The client, None as long as there is none.
        session: What is open now; None before it is needed.
    """

    def __init__(
        self, name: UUID | str | None, service: str | None, client: Client | None, amqp_port: int | None
    ) -> None:
        self.given = client
        self.session: Session | None = None
        self._name, self._service = name, service
        self._amqp_port = amqp_port
        self._place: Place | None = None
        self._sessions: list[Session] = []

    def __str__(self) -> str:
        return str(self._name if self._place is None else self._place.endpoint_id)

    @property
    def place(self) -> Place:
        """The place that the name stands for.

        Raises:
            EndpointNotFound: Nobody knows it.
            ComputeError: Its service can't be reached or started.
        """
        if self._place is None:
            home = Home.default()
            only = None if self.given is None else self.given.reach
            name = self._name if self._name is not None else Settings.load(home).default_endpoint
            self._place = Places(home, self._ask, only).find(name, self._service)
            self._use(Session.of(self._place.reach, self._amqp_port))
        return self._place

    @property
    def endpoint_id(self) -> UUID | None:
        """The id of the place, None as long as it has not been looked for."""
        return None if self._place is None else self._place.endpoint_id

    @property
    def amqp_port(self) -> int | None:
        """Used instead of the port that the service names."""
        return self._amqp_port

    @amqp_port.setter
    def amqp_port(self, port: int | None) -> None:
        self._amqp_port, self._place, self.session = port, None, None

    @property
    def client(self) -> Client:
        """The client of the place's service; raises as `place`."""
        if self.given is None:
            self.given = Client(do_version_check=False, service=self.place.reach)
        return self.given

    def rename(self, name: UUID | str | None) -> None:
        """Takes another name; what is open stays open."""
        self._name, self._place = name, None

    def ready(self) -> Session:
        """Returns the session of the place, where somebody is signed in; raises as `place`."""
        if self.session is None or self._place is None:
            _ = self.place
        session = self.session
        assert session is not None
        session.check_process()
        session.reach.sign_in()  # here, where a person can be asked
        return session

    def connected(self) -> Session:
        """Returns the session, also if no endpoint was named: a group is found by its service alone."""
        if self.session is None and self._name is None:
            client = self.given or Client(do_version_check=False)
            self._use(Session.of(client.reach, self._amqp_port))
        return self.ready() if self.session is None else self.session

    def sessions(self) -> list[Session]:
        """Returns all sessions of this process where tasks went."""
        return [session for session in self._sessions if session.process_id == os.getpid()]

    def _use(self, session: Session) -> None:
        self.session = session
        if session not in self._sessions:
            self._sessions.append(session)

    def _ask(self, reach: Any, question: Callable[[Any], Any]) -> Any:
        return Session.of(reach, self._amqp_port).ask(question)
