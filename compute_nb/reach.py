"""This module is the way to one service: its connection, found at first use and found again when lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import TypeVar

from compute_nb import local
from compute_nb.config import Home, ServiceSettings
from compute_nb.connection import Connection
from compute_nb.errors import ComputeError, ServiceUnreachable

T = TypeVar("T")


class Reach:
    """Knows how to speak to a service and, if it is the home's own, how to start it. Any thread may use it.

    Args:
        settings: Which service.
        home: Whose own service it is, if `settings` gives no address.
    """

    def __init__(self, settings: ServiceSettings, home: Home) -> None:
        self.settings = settings
        self.home = home
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._known: tuple[str, str] | None = None

    def __repr__(self) -> str:
        return f"Reach<{self.settings.name} {self.settings.url or self.home.root}>"

    @property
    def own(self) -> bool:
        """True for the service of the home, which we may start."""
        return self.settings.url is None

    @property
    def key(self) -> Hashable:
        """Equal for two ways to the same service as the same user."""
        if self.settings.url is None:
            return self.home.root
        return self.settings.url, self.settings.token or self.settings.token_file

    @property
    def connection(self) -> Connection:
        """The connection; starts the home's own service if there has never been one.

        Raises:
            ComputeError: It can't be started, or there is no token.
        """
        with self._lock:
            if self._connection is None:
                self._find()
            assert self._connection is not None
            return self._connection

    def call(self, ask: Callable[[Connection], T], *, once: bool = False) -> T:
        """Returns `ask(connection)`; if nobody answers and the service is ours, starts it and asks again.

        Args:
            ask: Harmless to repeat, unless `once`.
            once: True asks again only if nothing was sent.

        Raises:
            ServiceUnreachable: Nobody answers.
            ComputeError: What `ask` raises, or why the service does not start.
        """
        connection = self.connection
        try:
            return ask(connection)
        except ServiceUnreachable as error:
            if not self.own or (once and not error.nothing_sent):
                raise
            nothing_sent = error.nothing_sent
        try:
            self.revive()
        except ServiceUnreachable as error:
            error.nothing_sent = nothing_sent
            raise
        except ComputeError as error:
            # Not a refusal: whether the service had taken what it did not answer is unknown.
            unreachable = ServiceUnreachable(str(error))
            unreachable.nothing_sent = nothing_sent
            raise unreachable from error
        return ask(self.connection)

    def revive(self, *, asked: bool = True) -> None:
        """Starts the home's own service if it does not run; `asked` as in `local.ensure_service`."""
        info = local.ensure_service(self.home, asked=asked)
        with self._lock:
            self._use(info.url, info.token)

    def _find(self) -> None:
        if self.settings.url is not None:
            if self.settings.auth == "globus":
                raise ComputeError(
                    f"service {self.settings.name!r} asks for a Globus login, which this version of "
                    "compute_nb does not have; use a service with a token"
                )
            self._use(self.settings.url, self.settings.read_token())
            return
        info = local.find_service(self.home) or local.ensure_service(self.home)
        self._use(info.url, info.token)

    def _use(self, url: str, token: str) -> None:
        if self._known != (url, token):
            self._known = url, token
            self._connection = Connection(url, token, prove=self.settings.prove)
