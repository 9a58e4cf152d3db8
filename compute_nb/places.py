"""This module is the places where tasks can go: what an endpoint's name means, and at which service."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from uuid import UUID

from compute_nb import routes
from compute_nb.config import LOCAL, ServiceSettings, Settings
from compute_nb.connection import Connection
from compute_nb.errors import AccessRefused, ComputeError, EndpointNotFound, ServiceUnreachable
from compute_nb.home import Home
from compute_nb.local_endpoint import LocalEndpoint
from compute_nb.login import Login
from compute_nb.reach import Reach


class Place(NamedTuple):
    """An endpoint, and the way to its service; `here` if it is this interpreter's own."""

    reach: Reach
    endpoint_id: UUID
    here: bool


Ask = Callable[[Reach, Callable[[Connection], Any]], Any]


class Places:
    """Finds endpoints by name. Any thread may use it; finding blocks.

    Args:
        home: Whose settings count.
        ask: Puts a question to a service, given the way to it.
        only: The one service that is asked; None for all that are configured.
    """

    def __init__(self, home: Home, ask: Ask, only: Reach | None = None) -> None:
        self._home = home
        self._ask = ask
        self._only = only
        self._settings = Settings.load(home)

    def find(self, name: str | UUID, service: str | None = None, *, start: bool = True) -> Place:
        """Returns the place that is called so: `local`, an alias, an id, an endpoint's own name.

        Args:
            name: Perhaps with a service before a colon.
            service: The service, by name, where `name` has none.
            start: True: the agent of `local` is started if it does not run.

        Raises:
            EndpointNotFound: Nobody knows it; lists what is known and what comes near.
            ComputeError: The service is not configured, can't be reached or refuses.
        """
        text = str(name)
        if ":" in text:
            service, _, text = text.partition(":")
        if text == LOCAL:
            return self._here(service, start)
        alias = self._settings.aliases.get(text)
        if alias is not None and service in (None, alias.service):
            return self._checked(text, alias.endpoint_id, alias.service)
        endpoint_id = _as_uuid(text)
        if endpoint_id is not None:
            return self._checked(text, endpoint_id, service)
        return self._named(text, service)

    def reaches(self) -> Iterator[Reach]:
        """Yields the ways to all services that may be asked without a question to the person."""
        return self._reaches(None)

    def _here(self, service: str | None, start: bool) -> Place:
        reach = next(self._reaches(service or self._settings.default_service.name))
        try:
            endpoint_id = self._ask(reach, lambda c: _local_endpoint(c, start))
        except AccessRefused as error:
            if reach.own or error.http_status != 403:
                raise
            endpoint_id = self._started_here(reach, start)  # it is not this user's, or not on this host
        if endpoint_id is not None:
            return Place(reach, endpoint_id, here=True)
        for own_id, own_name in self._endpoints(reach):
            if own_name == LOCAL:
                return Place(reach, own_id, here=False)
        raise EndpointNotFound(
            f"the service {reach.settings.name!r} speaks the published protocol only and starts no endpoint "
            f"by itself: `compute-nb endpoint run NAME` runs one, and {LOCAL!r} finds it if it is called so"
        )

    def _started_here(self, reach: Reach, start: bool) -> UUID:
        user_id = self._ask(reach, lambda c: c.get("/v2/oauth2/userinfo"))["sub"]
        mine = LocalEndpoint(self._home, reach.settings, user_id)
        known = mine.endpoint_id
        if known is not None and (not start or self._ask(reach, lambda c: _online(c, known))):
            return known
        if not start:
            raise EndpointNotFound(f"{LOCAL!r} has not run for {reach.settings.url} yet: a submit starts it")
        return mine.start()

    def _checked(self, name: str, endpoint_id: UUID, service: str | None) -> Place:
        """Returns the first service that knows this id."""

        def knows(reach: Reach) -> UUID | None:
            try:
                self._ask(reach, lambda c: c.get(f"/v2/endpoints/{endpoint_id}"))
            except ComputeError as error:
                if error.http_status != 404:
                    raise
                return None
            return endpoint_id

        return self._first(name, service, knows)

    def _named(self, name: str, service: str | None) -> Place:
        def knows(reach: Reach) -> UUID | None:
            return next((known for known, own_name in self._endpoints(reach) if own_name == name), None)

        return self._first(name, service, knows)

    def _first(self, name: str, service: str | None, knows: Callable[[Reach], UUID | None]) -> Place:
        """Returns the first service that knows an endpoint; one that can't be asked hides no other."""
        silent: list[ComputeError] = []
        reaches = list(self._reaches(service))
        for reach in reaches:
            try:
                endpoint_id = knows(reach)
            except (ServiceUnreachable, AccessRefused) as error:
                if len(reaches) == 1:
                    raise
                silent.append(error)
                continue
            if endpoint_id is not None:
                return Place(reach, endpoint_id, here=False)
        if silent:
            said = "; ".join(str(error) for error in silent)
            raise ServiceUnreachable(f"endpoint {name!r} is not known where one could ask, but: {said}")
        raise self._unknown(name, service)

    def _reaches(self, service: str | None) -> Iterator[Reach]:
        """Yields the ways to the services that may be asked, in their order."""
        if self._only is not None:
            yield self._only
            return
        settings = self._settings
        if settings.only is not None:
            yield Reach(settings.only, self._home)
            return
        if service is not None:
            yield Reach(settings.service(service), self._home)
            return
        for one in settings.services.values():
            if self._can_be_asked(one):
                yield Reach(one, self._home)

    def _can_be_asked(self, service: ServiceSettings) -> bool:
        if service.needs_login:  # a name alone is no reason to ask a person who they are
            try:
                return Login.of(self._home).there
            except ValueError:  # half of the client credentials: said where Globus is named
                return False
        # Without a file the home's own service has never run, so it knows nothing: no reason to start it.
        return service.url is not None or self._home.service_file.exists()

    def _endpoints(self, reach: Reach) -> list[tuple[UUID, str]]:
        found = self._ask(reach, lambda c: c.get("/v2/endpoints"))
        return [(UUID(one["uuid"]), one["name"]) for one in found]

    def _unknown(self, name: str, service: str | None) -> EndpointNotFound:
        alias = self._settings.aliases.get(name)
        if alias is not None:
            asked = " and ".join(repr(reach.settings.name) for reach in self._reaches(service))
            return EndpointNotFound(
                f"{name!r} is an endpoint of service {alias.service!r}, and {asked} was asked: leave out the "
                "client or service, or name that one"
            )
        known = [LOCAL, *self._settings.aliases]
        for reach in self._reaches(service):
            try:
                known += [own_name for _, own_name in self._endpoints(reach)]
            except (ServiceUnreachable, AccessRefused):
                continue
        known = list(dict.fromkeys(known))
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
        return EndpointNotFound(
            f"no configured service knows an endpoint {name!r}{hint} Known are: {', '.join(known)}; aliases "
            f"are set in {self._home.config_file}"
        )


def _local_endpoint(connection: Connection, start: bool) -> UUID | None:
    """Returns the endpoint of this interpreter, None at a service that does not have such."""
    try:
        return routes.local_endpoint(connection, start=start)
    except ComputeError as error:
        if error.http_status != 404:
            raise
        return None


def _online(connection: Connection, endpoint_id: UUID) -> bool:
    try:
        return bool(connection.get(f"/v2/endpoints/{endpoint_id}/status")["status"] == "online")
    except ComputeError as error:
        if error.http_status != 404:
            raise
        return False


def _as_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
