"""This module is the roster of endpoints: what the folders of a home and the services that they name tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compute_nb.cli.way import Way
from compute_nb.endpoint.folder import Folder
from compute_nb.errors import ComputeError, EndpointNotFound
from compute_nb.home import Home

ONLINE, OFFLINE, UNKNOWN = "online", "offline", "unknown"


@dataclass(frozen=True, slots=True)
class Row:
    """One endpoint; what nobody has told is None.

    Attributes:
        state: "online" or "offline" as its service says; "unknown" if that does not answer.
        service: As `--service` names it; None for that of the home.
        running: Whether an agent of it runs on this host; then `pid` says which.
        workers: How many it may have at most; `alive` and `busy` how many there are, and have a task.
        queued: Tasks that it holds and no worker runs.
        memory_bytes: Of the machines of its workers; `available_bytes` are free.
        version: Of compute_nb, or of the published endpoint's program.
        folder: On this host, if it has one.
        trouble: What keeps it from its work now and what to do.
    """

    id: str | None
    name: str
    state: str
    service: str | None = None
    running: bool = False
    pid: int | None = None
    engine: str | None = None
    workers: int | None = None
    alive: int | None = None
    busy: int | None = None
    queued: int | None = None
    cores: int | None = None
    memory_bytes: int | None = None
    available_bytes: int | None = None
    python: str | None = None
    dill: str | None = None
    version: str | None = None
    folder: str | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Roster:
    """All endpoints that are known, and a line for each service that could not be asked."""

    rows: tuple[Row, ...]
    silent: tuple[str, ...]

    def find(self, name: str) -> Row:
        """Returns the endpoint with that name or id.

        Raises:
            EndpointNotFound: None has it, or several have the name.
        """
        found = [row for row in self.rows if name in (row.id, row.name)]
        if not found:
            known = ", ".join(sorted({row.name for row in self.rows})) or "none"
            beside = "".join(f"; {line}" for line in self.silent)
            raise EndpointNotFound(f"no endpoint is called {name!r}; there are: {known}{beside}")
        if len(found) > 1:
            ids = ", ".join(f"{row.id} at {row.service or 'the service of this home'}" for row in found)
            raise EndpointNotFound(f"{len(found)} endpoints are called {name!r}: give one of the ids {ids}")
        return found[0]


def folders(home: Home) -> list[Folder]:
    """Returns the folders of the endpoints of this host."""
    top = home.state / "endpoints"
    return [Folder(path) for path in sorted(top.iterdir()) if path.is_dir()] if top.is_dir() else []


def roster(home: Home, *, asked: Way | None = None) -> Roster:
    """Returns what is known; blocks while services answer.

    Args:
        home: Whose endpoints; its own service is asked if it runs.
        asked: One service more.
    """
    own = [_here(folder) for folder in folders(home)]
    ways: dict[str | None, Way] = {None: Way(home)}
    if asked is not None:
        ways[asked.service] = asked
    for row in own:
        note = Folder(Path(row.folder or "")).last()
        file = Path(note.token_file) if note and note.token_file else None
        ways.setdefault(row.service, Way(home, row.service, file))
    rows: list[Row] = []
    silent: list[str] = []
    for service, way in ways.items():
        here = [row for row in own if row.service == service]
        try:
            rows += _told(way, here)
        except ComputeError as error:
            rows += here
            silent.append(str(error))
    return Roster(tuple(sorted(rows, key=lambda row: (row.name, row.service or ""))), tuple(silent))


def _here(folder: Folder) -> Row:
    """Returns what the folder alone tells."""
    taken, note, endpoint_id = folder.taken(), folder.last(), folder.endpoint_id()
    process = folder.process() if taken else None
    return Row(
        str(endpoint_id) if endpoint_id else None,
        folder.name,
        UNKNOWN if taken else OFFLINE,
        service=note.service if note else None,
        running=taken,
        pid=process.pid if process else None,
        engine=note.engine if note else None,
        workers=note.workers if note else None,
        python=note.python if note else None,
        folder=str(folder.path),
    )


def _told(way: Way, here: list[Row]) -> Iterator[Row]:
    """Yields the endpoints of one service: those that it knows, and those here that it does not."""
    by_id = {row.id: row for row in here if row.id}
    listed = way.ask("GET", "/v2/endpoints")
    for one in listed:
        endpoint_id, name = str(one["uuid"]), str(one["name"])
        base = by_id.pop(endpoint_id, None) or Row(endpoint_id, name, UNKNOWN, service=way.service)
        yield _with(base, way.ask("GET", f"/v2/endpoints/{endpoint_id}/status"))
    known = {str(one["uuid"]) for one in listed}
    for row in here:
        if row.id not in known:
            yield replace(row, state=OFFLINE if not row.running else UNKNOWN)


def _with(row: Row, answer: Mapping[str, Any]) -> Row:
    """Returns a row with what the service says of the endpoint; figures of an absent one are none."""
    details = answer.get("details") or {}
    agent = details.get("compute_nb") or {}
    live = answer.get("status") == "online"
    told = details.get("compute_nb_figures") or {}
    waiting, outstanding = details.get("pending_tasks"), details.get("outstanding_tasks")
    if not told and isinstance(waiting, int) and isinstance(outstanding, int):
        told = {"busy": outstanding - waiting, "queued": waiting}
    figures = told if live else {}
    engine = agent.get("engine") or {}
    return replace(
        row,
        state=ONLINE if live else OFFLINE,
        engine=engine.get("name") or details.get("engine_type") or row.engine,
        workers=told.get("workers") or agent.get("workers") or details.get("total_workers") or row.workers,
        alive=figures.get("alive"),
        busy=figures.get("busy"),
        queued=figures.get("queued"),
        cores=figures.get("cores"),
        memory_bytes=figures.get("memory_bytes"),
        available_bytes=figures.get("available_bytes"),
        python=agent.get("python") or details.get("python_version") or row.python,
        dill=agent.get("dill") or details.get("dill_version"),
        version=agent.get("version") or details.get("endpoint_version"),
        trouble=details.get("compute_nb_trouble") if live else None,
    )
