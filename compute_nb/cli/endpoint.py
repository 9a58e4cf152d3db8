"""This module is the commands `compute-nb endpoint …`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from compute_nb.cli.way import Way
from compute_nb.config import LOCAL
from compute_nb.errors import ComputeError, ServiceUnreachable
from compute_nb.home import Home

if TYPE_CHECKING:
    from compute_nb.cli.roster import Roster, Row
    from compute_nb.endpoint.folder import Folder
    from compute_nb.endpoint.settings import Settings

STOP_S = 25.0
KILL_S = 5.0
TOLD_S = 3.0
_COUNTS = ("workers", "min_workers", "max_tasks_per_worker")
_LOCAL = re.compile(r"local(-[0-9a-f]{8})?", re.ASCII)
_FILE = click.Path(path_type=Path, dir_okay=False)
_JSON = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.group("endpoint")
def group() -> None:
    """Run, start, stop, list and delete endpoints; `local` is started by the service itself."""


def _service_options(command: Any) -> Any:
    for option in (
        click.option("--token-file", type=_FILE, help="For --service; default: COMPUTE_NB_TOKEN."),
        click.option(
            "--service",
            metavar="URL",
            help="The service, by URL or by its name in config.toml; default: that of the home folder.",
        ),
    ):
        command = option(command)
    return command


def _settings(command: Any) -> Any:
    """Adds what `run` and `start` share."""
    for option in (
        click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False, exists=True, resolve_path=True),
            help="An endpoint.toml, or a Python file with a Parsl `config`; default: that in the endpoint's "
            "folder.",
        ),
        click.option(
            "--preload",
            metavar="MODULES",
            multiple=True,
            callback=lambda _, __, given: ",".join(given) or None,
            help="Modules that workers import before they are up: numpy,pandas; may be repeated.",
        ),
        click.option(
            "--max-tasks-per-worker",
            type=click.IntRange(0),
            help="Replace a worker process that has run so many; default: 0, never.",
        ),
        click.option("--min-workers", type=click.IntRange(0), help="Worker processes kept idle; default: 1."),
        click.option("--workers", type=click.IntRange(1), help="Tasks at a time; default: the usable CPUs."),
        click.option("--python", help="The interpreter that runs tasks; default: this one."),
        click.option("--engine", help="processes (the default), threads, parsl, dask or mpi."),
    ):
        command = option(command)
    return _service_options(command)


@group.command()
@click.argument("name")
@_settings
@click.option("--ready-fd", type=int, hidden=True)
def run(
    name: str, service: str | None, token_file: Path | None, ready_fd: int | None, **options: Any
) -> None:
    """Run the endpoint NAME here, until Ctrl-C; docs/endpoint.md has what its endpoint.toml may say."""
    from compute_nb.endpoint.agent import run_agent
    from compute_nb.endpoint.config import AgentConfig
    from compute_nb.local import ensure_service
    from compute_nb.trust import Own

    home = Home.default().prepare()
    folder, way = _folder(home, name), Way(home, service, token_file)
    settings = _read(folder, options)
    folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    spelled = {key: _spelled(value) for key, value in options.items() if value is not None}
    if way.own:
        info = ensure_service(home)
        config = AgentConfig(
            *(name, folder.path, info.url, info.token, settings, home),
            ca=Own(home.service_certificate),
            options=spelled,
        )
    else:
        named = way.settings()
        config = AgentConfig(
            name,
            folder.path,
            named.url or "",
            named.read_token(),
            settings,
            ca=named.ca,
            prove=named.proving,
            service=way.service,
            token_file=way.token_file,
            options=spelled,
        )
    sys.exit(run_agent(config, None if ready_fd is None else _announcer(ready_fd)))


def _announcer(ready_fd: int) -> Callable[[UUID], None]:
    """Returns what tells whoever started this process, once."""
    pipes = [ready_fd]

    def announce(endpoint_id: UUID) -> None:
        if pipes:
            with os.fdopen(pipes.pop(), "w") as pipe:
                pipe.write(f"{endpoint_id}\n")

    return announce


@group.command()
@click.argument("name")
@_settings
@click.option("--fresh", is_flag=True, help="Without the options of the last time.")
@click.option("--timeout", type=click.FloatRange(1), default=60.0, show_default=True, help="Seconds.")
def start(
    name: str,
    service: str | None,
    token_file: Path | None,
    fresh: bool,
    timeout: float,
    **options: Any,
) -> None:
    """Start the endpoint NAME in the background and return once it is online.

    What is not said is as it was the last time that it ran: service, token file, configuration, engine.
    """
    from compute_nb.cli.detached import launch
    from compute_nb.local import ensure_service

    if _LOCAL.fullmatch(name):
        raise ComputeError(f"{name!r} belongs to the service of the home, which starts it at the next submit")
    home = Home.default().prepare()
    folder = _folder(home, name)
    note = None if fresh else folder.last()
    given = {key: _spelled(value) for key, value in options.items() if value is not None}
    if folder.taken():
        _runs_already(folder, given, service)
        return
    if service is None and note is not None:
        service = note.service
        token_file = token_file or (Path(note.token_file) if note.token_file else None)
    options = {**(note.options if note else {}), **given}
    way = Way(home, service, token_file)
    settings = _read(folder, options)
    if way.own:
        ensure_service(home)
    way.ask("GET", "/v2/version")
    words = [name, *(f"--{key.replace('_', '-')}={value}" for key, value in options.items())]
    if not way.own:
        words.append(f"--service={way.service}")
    if way.token_file is not None:
        words.append(f"--token-file={way.token_file}")
    try:
        endpoint_id = launch(folder, words, timeout)
    except ComputeError:
        if not folder.taken():
            raise
        _runs_already(folder, given, service)  # somebody else has started it meanwhile
        return
    click.echo(
        f"endpoint {name} ({endpoint_id}) is online: {settings.engine}, at {way}; its log is {folder.log}"
    )


def _runs_already(folder: Folder, given: Mapping[str, str], service: str | None) -> None:
    note, process = folder.last(), folder.process()
    who = f"endpoint {folder.name} ({folder.endpoint_id() or 'not registered yet'}) runs already"
    who += f", process {process.pid}" if process else ""
    runs = {**(note.options if note else {}), "service": (note and note.service) or LOCAL}
    wanted = {**given, **({} if service is None else {"service": service})}
    other = [f"--{key} {value}" for key, value in wanted.items() if runs.get(key) != value]
    if other:
        raise ComputeError(
            f"{who}, and not with {' '.join(other)}: `compute-nb endpoint stop {folder.name}` first"
        )
    click.echo(who)


@group.command("list")
@_service_options
@_JSON
def list_endpoints(service: str | None, token_file: Path | None, as_json: bool) -> None:
    """List the endpoints of this home and its service, with what their last heartbeats told."""
    found = _roster(service, token_file)
    if not found.rows and found.silent:
        raise ServiceUnreachable(found.silent[0])
    if as_json:
        click.echo(json.dumps([asdict(row) for row in found.rows], indent=1))
    else:
        from compute_nb.cli.roster_table import show

        show(found)
    for line in found.silent:
        click.echo(line, err=True)


@group.command()
@click.argument("name")
@_service_options
def stop(name: str, service: str | None, token_file: Path | None) -> None:
    """Stop the agent of the endpoint NAME, or of the endpoint with that id.

    Running tasks may go on for `stop_s` of its endpoint.toml; what had not begun begins when it is back.
    """
    home = Home.default()
    folder = _folder_of(home, name)
    if folder is None or (not folder.taken() and service is not None):
        row = _roster(service, token_file).find(name)
        click.echo(_stopped(home, row, token_file))
    else:
        click.echo(_stop_here(home, folder))


@group.command()
@click.argument("name")
@_service_options
@click.option("--force", is_flag=True, help="Also if it runs, or its service does not answer.")
@click.option("--yes", is_flag=True, help="Don't ask.")
def delete(name: str, service: str | None, token_file: Path | None, force: bool, yes: bool) -> None:
    """Delete the endpoint NAME: at its service, where its open tasks end, and its folder with all in it."""
    from compute_nb.cli import deletion

    home = Home.default()
    row = _roster(service, token_file).find(name)
    note = None if row.folder is None else _in(row).last()
    file = token_file or (Path(note.token_file) if note and note.token_file else None)
    way = Way(home, row.service, file)
    if (row.running or row.state == "online") and not force:
        who = f"process {row.pid}" if row.pid else "its agent"
        raise ComputeError(
            f"endpoint {row.name} runs ({who}): `compute-nb endpoint stop {row.name}` first, or --force"
        )
    open_tasks = deletion.open_tasks(way, row)
    what = deletion.what(row, open_tasks)
    if not yes and open_tasks and not sys.stdin.isatty():
        raise ComputeError(f"{what}: nothing is deleted yet, since nobody can be asked; say --yes")
    if not yes and sys.stdin.isatty():
        click.confirm(f"delete {what} for good?", abort=True)
    if row.running:
        click.echo(_stop_here(home, _in(row)))
    if row.id is not None:
        deletion.unregister(way, row, force)
    if row.folder is not None:
        shutil.rmtree(row.folder)
    click.echo(f"{what} deleted")


# -- what the commands share ----------------------------------------------------------------------


def _folder(home: Home, name: str) -> Folder:
    from compute_nb.endpoint.folder import Folder

    return Folder(home.endpoint_dir(name))


def _in(row: Row) -> Folder:
    from compute_nb.endpoint.folder import Folder

    return Folder(Path(row.folder or ""))


def _folder_of(home: Home, name: str) -> Folder | None:
    """Returns the folder of the endpoint with that name or id, if there is one here."""
    from compute_nb.cli.roster import folders

    found = [one for one in folders(home) if name in (one.name, str(one.endpoint_id()))]
    return found[0] if len(found) == 1 else None


def _read(folder: Folder, options: Mapping[str, Any]) -> Settings:
    from compute_nb.endpoint.settings import ELSEWHERE, FILE_NAME, read_settings

    given = dict(options)
    config, own = given.pop("config", None), folder.path / FILE_NAME
    file = Path(config) if config is not None else own if own.exists() else None
    counts = {key: int(given[key]) for key in _COUNTS if given.get(key) is not None}
    if given.get("preload"):
        given["preload"] = [name.strip() for name in given["preload"].split(",")]
    settings = read_settings(file, {**given, **counts})
    if settings.engine not in ELSEWHERE and settings.python and shutil.which(settings.python) is None:
        raise ComputeError(
            f"endpoint {folder.name}: there is no interpreter {settings.python!r} here: give the path of a "
            "Python 3.8 or newer by --python, or `python` in its endpoint.toml"
        )
    return settings


def _spelled(value: Any) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _roster(service: str | None, token_file: Path | None) -> Roster:
    from compute_nb.cli.roster import roster

    home = Home.default()
    return roster(home, asked=None if service is None else Way(home, service, token_file))


def _stop_here(home: Home, folder: Folder) -> str:
    """Stops the agent of a folder of this host and returns what became of its tasks."""
    import psutil

    who = f"endpoint {folder.name} ({folder.endpoint_id() or 'not registered'})"
    if not folder.taken():
        return f"{who} does not run"
    process, note = folder.process(), folder.last()
    if process is None or note is None or _LOCAL.fullmatch(folder.name):
        Way(home).ask("POST", f"/v3/endpoints/{folder.endpoint_id()}/lock")
        stop_s = note.stop_s if note else 0.0
        _tell_waiting(folder, who, stop_s)
        if not folder.free(stop_s + STOP_S):
            raise ComputeError(f"{who} was told to stop, but {folder.lock} is held still; see {folder.log}")
        return f"{who} stopped"
    process.terminate()
    _tell_waiting(folder, who, note.stop_s)
    if not folder.free(note.stop_s + STOP_S):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()  # the second one does not wait
        if not folder.free(KILL_S):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
            raise ComputeError(f"{who} did not end by itself and was killed; its log is {folder.log}")
    told = folder.last()
    return f"{who} stopped: {(told and told.farewell) or f'its log is {folder.log}'}"


def _tell_waiting(folder: Folder, who: str, stop_s: float) -> None:
    if stop_s > TOLD_S and not folder.free(TOLD_S):
        click.echo(f"{who}: its running tasks have {stop_s:g} s", err=True)


def _stopped(home: Home, row: Row, token_file: Path | None) -> str:
    """Asks the service to stop an agent that is not of this host."""
    if row.folder is not None:
        return _stop_here(home, _in(row))
    if row.state == "offline":
        return f"endpoint {row.name} ({row.id}) does not run"
    Way(home, row.service, token_file).ask("POST", f"/v3/endpoints/{row.id}/lock")
    return f"endpoint {row.name} ({row.id}) was told to stop"
