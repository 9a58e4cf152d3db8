"""This module is the way to one service: its connection, found at first use and found again when lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from compute_nb import local, proof, trust
from compute_nb.bearer import Authorizer, Bearer, Token
from compute_nb.config import GLOBUS, ServiceSettings, Settings
from compute_nb.connection import Connection
from compute_nb.errors import ComputeError, ServiceUnreachable
from compute_nb.home import Home
from compute_nb.login import Login
from compute_nb.pace import Pace

T = TypeVar("T")


class Reach:
    """Knows how to speak to a service and, if it is the home's own, how to start it. Any thread may use it.

    Args:
        settings: Which service.
        home: Whose own service it is, if `settings` gives no address.
        bearer: Whose token is sent, instead of what `settings` says.

    Raises:
        ValueError: The environment has a Globus client secret and no client id.
    """

    def __init__(self, settings: ServiceSettings, home: Home, bearer: Bearer | None = None) -> None:
        self.settings = settings
        self.home = home
        if bearer is None and settings.needs_login:
            bearer = Login.of(home)
        self.bearer = bearer
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._known: tuple[str, str | Bearer] | None = None

    @classmethod
    def chosen(cls, service: str | ServiceSettings | Reach | None, app: Any, authorizer: Any) -> Reach:
        """Returns the way to the service that a caller of `Client` means.

        Args:
            service: By name, by its settings, or the way itself; None for the default one, or Globus if who
                asks can only be Globus's.
            app: A GlobusApp, or None.
            authorizer: One of globus_sdk's, or None.

        Raises:
            ComputeError: The service is not configured.
        """
        home = service.home if isinstance(service, Reach) else Home.default()
        bearer: Bearer | None = None
        if app is not None:
            bearer = Login(home, app)
        elif authorizer is not None:
            bearer = Authorizer(authorizer)
        if isinstance(service, Reach):
            return service if bearer is None else cls(service.settings, home, bearer)
        if not isinstance(service, ServiceSettings):
            settings = Settings.load(home)
            if service is None and bearer is not None and not _is_own(authorizer) and settings.only is None:
                service = GLOBUS
            service = settings.service(service) if service else settings.default_service
        return cls(service, home, bearer)

    def __repr__(self) -> str:
        return f"Reach<{self.settings.name} {self.settings.url or self.home.root}>"

    @property
    def own(self) -> bool:
        """True for the service of the home, which we may start."""
        return self.settings.url is None

    @property
    def ca(self) -> trust.Authorities:
        """Which authorities count for it and its broker."""
        return trust.Own(self.home.service_certificate) if self.own else self.settings.ca

    @property
    def key(self) -> Hashable:
        """Equal for two ways to the same service as the same user."""
        place = self.settings.url or self.home.root
        if self.bearer is not None:
            return place, self.bearer.key, self.settings.ca, self.settings.verified
        if self.own:
            return place
        return (
            place,
            self.settings.token or self.settings.token_file,
            self.settings.ca,
            self.settings.verified,
        )

    @property
    def pace(self) -> Pace | None:
        """Keeps small requests apart where the service limits them: Globus's own; None at all others."""
        return Pace.of(self.key) if self.settings.auth == "globus" else None

    def sign_in(self) -> None:
        """Makes sure that there is a token, on the thread of who wants something: it may ask the person.

        Raises:
            ComputeError: There is none and nobody to ask.
        """
        if self.bearer is not None:
            self.bearer.sign_in()

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
        except (ComputeError, OSError) as error:
            # Not a refusal: whether the service had taken what it did not answer is unknown.
            unreachable = ServiceUnreachable(str(error))
            unreachable.nothing_sent = nothing_sent
            raise unreachable from error
        return ask(self.connection)

    def revive(self, *, asked: bool = True) -> None:
        """Starts the home's own service if it does not run; `asked` as in `local.ensure_service`."""
        info = local.ensure_service(self.home, asked=asked)
        with self._lock:
            self._use(info.url, self.bearer or info.token)

    def _find(self) -> None:
        if self.settings.url is not None:
            self._use(self.settings.url, self.bearer or self.settings.read_token())
            return
        info = local.find_service(self.home) or local.ensure_service(self.home)
        self._use(info.url, self.bearer or info.token)

    def _use(self, url: str, bearer: str | Bearer) -> None:
        if self._known == (url, bearer):
            return
        named = Token(bearer, f"the token of {self.settings.name!r}") if isinstance(bearer, str) else bearer
        self._connection = Connection(
            url,
            named,
            ca=self.ca,
            verified=self.settings.verified,
            prove=self.settings.proving,
        )
        self._known = url, bearer


def _is_own(authorizer: Any) -> bool:
    """True if an authorizer holds a token of our own form, which is none of Globus."""
    return proof.possible(str(getattr(authorizer, "access_token", "")))
