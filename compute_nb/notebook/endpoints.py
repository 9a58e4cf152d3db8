"""This module is the endpoints that a line may name: what their services tell, asked aside and kept."""

from __future__ import annotations

import platform
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from compute_nb.config import LOCAL, Home, Settings
from compute_nb.errors import ComputeError
from compute_nb.local import ended, find_service
from compute_nb.places import Places
from compute_nb.reach import Reach

KEPT_S = 5.0
MAX_ASKED = 30  # endpoints of one service: Globus takes 20 requests in 10 s

_LOCAL = re.compile("local(-[0-9a-f]{8})?")
STARTS = "starts when needed"
_SILENT = "not reached"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as people see it; what nobody has told is "" or None.

    Attributes:
        name: As a line names it.
        service: Who told of it.
        state: "online", "offline", or why that is not known.
        busy: Tasks that workers have, at its last heartbeat.
        queued: Tasks that wait there for a worker, at its last heartbeat.
    """

    name: str
    service: str
    endpoint_id: str = ""
    state: str = ""
    python: str = ""
    workers: int | None = None
    busy: int | None = None
    queued: int | None = None

    @property
    def told(self) -> str:
        """State and Python in short, for where there is little room."""
        python = f"Python {self.python}" if self.python else ""
        return ", ".join(part for part in (self.state, python) if part)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was told in time.

    Attributes:
        silent: For each service that could not be asked a line that says why.
        whole: Whether nobody is still being asked.
    """

    endpoints: Sequence[Endpoint]
    silent: Sequence[str]
    whole: bool


class Endpoints:
    """Asks all services that can be asked without a question to the person; starts none.

    The main thread looks. A thread for each service, `compute_nb endpoints`, asks it and ends; a service
    that does not answer holds nobody up longer than a look says, and is not asked twice at a time.
    """

    def __init__(self) -> None:
        self._asked: _Question | None = None
        self._last: dict[str, Sequence[Endpoint]] = {}

    def look(self, timeout_s: float, *, newest: bool = False) -> Answer:
        """Returns what is known, after at most `timeout_s`.

        Args:
            newest: Whether an answer of the last seconds is too old.
        """
        home = Home.default()
        try:
            settings = Settings.load(home)
        except ComputeError as error:
            return Answer([_idle_local("")], [str(error)], whole=True)
        question = self._asked
        stale = question is None or question.home != home or (question.whole and question.age(newest))
        if stale:
            question = self._asked = _Question(home, settings)
        assert question is not None
        question.wait(timeout_s)
        for service, told in question.told():
            self._last[service] = told
        known = [one for service in question.services for one in self._last.get(service, ())]
        return Answer(_named(known, settings), question.silent(), question.whole)


class _Question:
    """One round of asking."""

    def __init__(self, home: Home, settings: Settings) -> None:
        self.home = home
        self.services: list[str] = []
        self._settings = settings
        self._told: dict[str, Sequence[Endpoint] | str] = {}
        self._lock = threading.Condition()
        self._began = time.monotonic()
        for reach in Places(home, lambda reach, ask: ask(reach.connection)).reaches():
            self.services.append(reach.settings.name)
            threading.Thread(
                target=self._ask, args=(reach,), name="compute_nb endpoints", daemon=True
            ).start()

    @property
    def whole(self) -> bool:
        return len(self._told) == len(self.services)

    def age(self, newest: bool) -> bool:
        return newest or time.monotonic() - self._began > KEPT_S

    def wait(self, timeout_s: float) -> None:
        with self._lock:
            self._lock.wait_for(lambda: self.whole, timeout_s)

    def told(self) -> list[tuple[str, Sequence[Endpoint]]]:
        with self._lock:
            return [(name, told) for name, told in self._told.items() if not isinstance(told, str)]

    def silent(self) -> list[str]:
        with self._lock:
            said = {name: told for name, told in self._told.items() if isinstance(told, str)}
            late = [name for name in self.services if name not in self._told]
        return [
            *(f"service {name!r} can't be asked: {why}" for name, why in said.items()),
            *(f"service {name!r} has not answered yet" for name in late),
        ]

    def _ask(self, reach: Reach) -> None:
        told: Sequence[Endpoint] | str
        try:
            told = self._endpoints(reach)
        except (ComputeError, OSError, ValueError, KeyError, TypeError) as error:
            told = (str(error) or type(error).__name__).splitlines()[0]
        with self._lock:
            self._told[reach.settings.name] = told
            self._lock.notify_all()

    def _endpoints(self, reach: Reach) -> Sequence[Endpoint]:
        service = reach.settings.name
        if reach.own and (find_service(reach.home) is None or ended(reach.home)):
            return [_idle_local(service)]
        listed = {str(one["uuid"]): str(one["name"]) for one in reach.connection.get("/v2/endpoints")}
        for alias, target in self._settings.aliases.items():
            if target.service == service:
                listed[str(target.endpoint_id)] = alias
        found = [self._asked(reach, *one, number < MAX_ASKED) for number, one in enumerate(listed.items())]
        return (
            found
            if any(one.name == LOCAL for one in found) or not reach.own
            else [_idle_local(service), *found]
        )

    def _asked(self, reach: Reach, endpoint_id: str, name: str, ask: bool) -> Endpoint:
        service = reach.settings.name
        if not ask:
            return Endpoint(name, service, endpoint_id)
        try:
            answer = reach.connection.get(f"/v2/endpoints/{endpoint_id}/status")
        except ComputeError as error:
            known = "not known there" if error.http_status == 404 else _SILENT
            return Endpoint(name, service, endpoint_id, known)
        return _read(name, service, endpoint_id, answer)


def _read(name: str, service: str, endpoint_id: str, answer: Mapping[str, Any]) -> Endpoint:
    details = answer.get("details") or {}
    agent = details.get("compute_nb") or {}
    if _LOCAL.fullmatch(name) and agent.get("prefix"):  # one for each Python, and `local` means this one's
        ours = agent["prefix"] == sys.prefix and agent.get("hostname") == platform.node()
        name = LOCAL if ours else endpoint_id
    state = str(answer.get("status") or "")
    live = state == "online"
    own = platform.python_version() if name == LOCAL else ""
    waiting, outstanding = details.get("pending_tasks"), details.get("outstanding_tasks")
    counted = live and isinstance(waiting, int) and isinstance(outstanding, int)
    return Endpoint(
        name,
        service,
        endpoint_id,
        STARTS if name == LOCAL and not live else state,
        str(agent.get("python") or details.get("python_version") or own),
        agent.get("workers") or details.get("total_workers"),
        outstanding - waiting if counted and outstanding is not None and waiting is not None else None,
        waiting if counted else None,
    )


def _idle_local(service: str) -> Endpoint:
    return Endpoint(LOCAL, service, state=STARTS, python=platform.python_version())


def _named(known: Iterable[Endpoint], settings: Settings) -> list[Endpoint]:
    """Returns each under a name that finds it: of two with one name the later needs its service's."""
    found = list(known)
    ids = {one.endpoint_id for one in found}
    found += [
        Endpoint(alias, target.service, str(target.endpoint_id), _SILENT)
        for alias, target in settings.aliases.items()
        if str(target.endpoint_id) not in ids
    ]
    if not any(one.name == LOCAL for one in found):
        found.append(_idle_local(settings.default_service.name))
    counts: Counter[str] = Counter()
    for number, one in enumerate(found):
        counts[one.name] += 1
        if counts[one.name] > 1 or (
            one.name in settings.aliases and one.service != settings.aliases[one.name].service
        ):
            found[number] = replace(one, name=f"{one.service}:{one.name}")
    return sorted(found, key=lambda one: (one.name != LOCAL, one.name not in settings.aliases, one.name))
