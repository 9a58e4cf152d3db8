"""This module is the endpoints that a line may name: what their services tell, asked aside and kept."""

from __future__ import annotations

import platform
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from compute_nb.config import LOCAL, Settings
from compute_nb.errors import ComputeError
from compute_nb.home import Home
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
        engine: What runs its tasks: "processes", "parsl", a published endpoint's "GlobusComputeEngine".
        workers: How many it has at most.
        busy: Workers that have a task, at its last heartbeat.
        queued: Tasks that wait there for a worker, at its last heartbeat.
        cores: Processors of the machines of its workers; `available_bytes` of their memory are free.
    """

    name: str
    service: str
    endpoint_id: str = ""
    state: str = ""
    python: str = ""
    engine: str = ""
    workers: int | None = None
    busy: int | None = None
    queued: int | None = None
    cores: int | None = None
    available_bytes: int | None = None

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
        self._asked: dict[Hashable, _Question] = {}
        self._last: dict[Hashable, Sequence[Endpoint]] = {}

    def look(self, timeout_s: float, *, newest: bool = False) -> Answer:
        """Returns what is known, after at most `timeout_s`.

        Args:
            newest: Whether an answer of the last seconds is too old.
        """
        home = Home.default()
        try:
            settings = Settings.load(home)
            reaches = list(Places(home, lambda reach, ask: ask(reach.connection)).reaches())
        except ComputeError as error:
            return Answer([_idle_local("")], [str(error)], whole=True)
        questions = [self._question(reach, settings, newest) for reach in reaches]
        until = time.monotonic() + timeout_s
        for question in questions:
            question.ended.wait(max(0.0, until - time.monotonic()))
        known: list[Endpoint] = []
        for question in questions:
            if question.told is not None:
                self._last[question.reach.key] = question.told
            known += self._last.get(question.reach.key, ())
        silent = [line for question in questions if (line := question.silent())]
        return Answer(_named(known, settings), silent, all(q.ended.is_set() for q in questions))

    def _question(self, reach: Reach, settings: Settings, newest: bool) -> _Question:
        """Returns the question that is still open, one that was answered lately, or a new one."""
        known = self._asked.get(reach.key)
        if known is None or (known.ended.is_set() and (newest or known.age_s() > KEPT_S)):
            known = self._asked[reach.key] = _Question(reach, settings)
        return known


class _Question:
    """One question to one service, asked on a thread of its own.

    Attributes:
        told: The answer; None before, and if there was none.
        ended: Set once it is known whether there is one.
    """

    def __init__(self, reach: Reach, settings: Settings) -> None:
        self.reach, self._settings = reach, settings
        self.told: Sequence[Endpoint] | None = None
        self.ended = threading.Event()
        self._why = ""
        self._began = time.monotonic()
        threading.Thread(target=self._ask, name="compute_nb endpoints", daemon=True).start()

    def age_s(self) -> float:
        return time.monotonic() - self._began

    def silent(self) -> str:
        """Returns why there is no answer, "" if there is one."""
        name = self.reach.settings.name
        if not self.ended.is_set():
            return f"service {name!r} has not answered yet"
        return f"service {name!r} can't be asked: {self._why}" if self.told is None else ""

    def _ask(self) -> None:
        try:
            self.told = self._endpoints(self.reach)
        except (ComputeError, OSError, ValueError, KeyError, TypeError) as error:
            self._why = (str(error) or type(error).__name__).splitlines()[0]
        finally:
            self.ended.set()

    def _endpoints(self, reach: Reach) -> Sequence[Endpoint]:
        service = reach.settings.name
        if reach.own and (find_service(reach.home) is None or ended(reach.home)):
            return [_idle_local(service)]
        listed = {str(one["uuid"]): str(one["name"]) for one in reach.connection.get("/v2/endpoints")}
        for alias, target in self._settings.aliases.items():
            if target.service == service:
                listed[str(target.endpoint_id)] = alias
        found = [_asked(reach, *one, number < MAX_ASKED) for number, one in enumerate(listed.items())]
        return (
            found
            if any(one.name == LOCAL for one in found) or not reach.own
            else [_idle_local(service), *found]
        )


def _asked(reach: Reach, endpoint_id: str, name: str, ask: bool) -> Endpoint:
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
    busy, queued = _busy(details) if live else (None, None)
    return Endpoint(
        name,
        service,
        endpoint_id,
        STARTS if name == LOCAL and not live else state,
        str(agent.get("python") or details.get("python_version") or own),
        str((agent.get("engine") or {}).get("name") or details.get("engine_type") or ""),
        _figures(details).get("workers") or agent.get("workers") or details.get("total_workers"),
        busy,
        queued,
        **(_machine(details) if live else {}),
    )


def _figures(details: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the exact figures of the last heartbeat; an agent of another make tells none."""
    told = details.get("compute_nb_figures")
    return told if isinstance(told, Mapping) else {}


def _machine(details: Mapping[str, Any]) -> dict[str, int | None]:
    """Returns what a heartbeat tells of the machines of the workers."""
    told = _figures(details)
    return {"cores": told.get("cores"), "available_bytes": told.get("available_bytes")}


def _busy(details: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Returns how many workers are busy, and how many tasks wait, as far as a heartbeat tells it."""
    if told := _figures(details):
        return told.get("busy"), told.get("queued")
    waiting, outstanding = details.get("pending_tasks"), details.get("outstanding_tasks")
    if not isinstance(waiting, int) or not isinstance(outstanding, int):
        return None, None
    return outstanding - waiting, waiting


def _idle_local(service: str) -> Endpoint:
    return Endpoint(LOCAL, service, state=STARTS, python=platform.python_version(), engine="processes")


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
