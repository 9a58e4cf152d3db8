"""This module is the commands `compute-nb service …`."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from compute_nb import logline
from compute_nb.cli import broker
from compute_nb.config import Home
from compute_nb.errors import ComputeError
from compute_nb.service.config import Limits
from compute_nb.service.lock import locked, running
from compute_nb.service.logfile import append

STOP_S = 15.0
KILL_S = 5.0
STARTER_S = 30.0
_TIMES = re.compile(r"(\d{1,6})([dh]?)(?:,(\d{1,6})([dh]?))?")
_UNITS = {"d": 86_400.0, "h": 3_600.0}


@click.group("service")
def group() -> None:
    """Start, stop and look at the service of a home folder."""


def _home(_: click.Context, __: click.Parameter, value: Path | None) -> Home:
    return Home(value.expanduser().absolute()) if value else Home.default()


_HOME = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    callback=_home,
    help="Home folder; default: COMPUTE_NB_HOME, else the platform's user data folder.",
)


_PEM = click.Path(path_type=Path, exists=True, dir_okay=False, readable=True, resolve_path=True)
_DEFAULT_LIMITS = asdict(Limits())
_KINDS: dict[str, Callable[[str], float]] = {
    name: int if isinstance(default, int) else float for name, default in _DEFAULT_LIMITS.items()
}


def _limits(_: click.Context, param: click.Parameter, values: tuple[str, ...]) -> Limits:
    given: dict[str, Any] = {}
    for text in values:
        name, *number = text.split("=", 1)
        try:
            given[name] = _KINDS[name]("".join(number))
            if not 0 <= given[name] < math.inf:
                raise ValueError(text)
        except (KeyError, ValueError):
            known = ", ".join(f"{name}={default:g}" for name, default in _DEFAULT_LIMITS.items())
            raise click.BadParameter(
                f"{text!r}: say NAME=NUMBER; the defaults are {known}", param=param
            ) from None
    if given.get("request_mb") == 0:
        raise click.BadParameter("request_mb=0: a request must have some limit", param=param)
    return Limits(**given)


def _retention(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """Checks it here, since a service in the background could not show how it is written."""
    if value is not None:
        _kept(value)
    return value


def _expiry(_: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _expire_s(value):
        raise click.BadParameter(f"{value!r}: write it like 14d or 12h, more than nothing", param=param)
    return value


def _expire_s(text: str) -> float:
    """Returns what `14d` says in seconds, 0 if that is no time."""
    match = _TIMES.fullmatch(text)
    return 0.0 if match is None or match[3] else float(match[1]) * _UNITS[match[2] or "d"]


def _kept(text: str) -> Any:
    """Returns what `30d,180d` says; hours are `12h`, and a number alone is days."""
    from compute_nb.service.retention import Retention

    match = _TIMES.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r}: write it like 30d or 12h, or two of them like 30d,180d")
    fetched, unit, unfetched, second = match.groups()
    kept = Retention(float(fetched) * _UNITS[unit or "d"])
    if unfetched is None:
        return replace(kept, unfetched_s=max(kept.unfetched_s, kept.fetched_s))
    return replace(kept, unfetched_s=float(unfetched) * _UNITS[second or "d"])


def _settings(command: Any) -> Any:
    """Adds the options that `run`, `start` and `restart` share."""
    for option in (
        click.option(
            "--host",
            default="127.0.0.1",
            show_default=True,
            help="Any but loopback needs --tls-cert, --tls-key.",
        ),
        click.option(
            "--port", type=click.IntRange(0, 65535), help="Of the web API; default: that of last time."
        ),
        click.option("--amqp-port", type=click.IntRange(0, 65535), help="Of the broker; likewise."),
        click.option(
            "--durability",
            type=click.Choice(["power", "process"]),
            default="power",
            show_default=True,
            help="What an accepted task survives: a power cut, or kill -9 only (faster).",
        ),
        click.option(
            "--plain/--no-plain",
            default=None,
            help="Speak the published protocol only, without our extensions; default: as last time.",
        ),
        click.option("--tls-cert", type=_PEM, help="Certificate, with those above it: https and amqps."),
        click.option("--tls-key", type=_PEM, help="Its key, without a password."),
        click.option("--public-url", help="Where clients reach the web API: https://NAME[:PORT]."),
        click.option(
            "--limit",
            "limits",
            multiple=True,
            metavar="NAME=N",
            callback=_limits,
            help=f"Of each user, 0 for none: {', '.join(_DEFAULT_LIMITS)}.",
        ),
        click.option(
            "--log-level",
            type=click.Choice(logline.LEVELS),
            default=lambda: logline.chosen()[0],
            show_default=f"that of {logline.VARIABLE}, else info",
            help="debug follows each task.",
        ),
        click.option(
            "--log-json/--no-log-json",
            default=lambda: logline.chosen()[1],
            show_default=f"if {logline.VARIABLE} says so",
            help="A JSON object a line in the log.",
        ),
        click.option(
            "--store",
            metavar="URL",
            help="postgresql://USER@HOST/DATABASE, its password in ~/.pgpass or PGPASSWORD; or sqlite; "
            "default: as last time.",
        ),
        click.option(
            "--retention",
            metavar="D[,D]",
            callback=_retention,
            help="How long values are kept once fetched, and if never; at first 30d,180d, then as last time.",
        ),
        click.option(
            "--expire",
            metavar="D",
            callback=_expiry,
            help="How long a task may stay open before it is given up; at first 14d, then as last time.",
        ),
        *broker.OPTIONS,
        _HOME,
    ):
        command = option(command)
    return command


@group.command()
@_settings
@click.option("--auto", is_flag=True, help="End when nobody has needed it for --idle-s.")
@click.option("--idle-s", type=float, default=3600.0, show_default=True, help="Seconds; for --auto.")
@click.option("--ready-fd", type=int, help="Pipe that gets `ready <url>` or `error <text>`.")
def run(ready_fd: int | None, **settings: Any) -> None:
    """Run the service here, until Ctrl-C."""
    from compute_nb.service.config import ServiceConfig
    from compute_nb.service.process import run_service

    if settings["retention"] is not None:
        settings["retention"] = _kept(settings["retention"])
    if (expire := settings.pop("expire")) is not None:
        settings["expire_s"] = _expire_s(expire)
    config = ServiceConfig(rabbit=broker.rabbit(settings), **settings)
    sys.exit(run_service(config, ready_fd, quiet=ready_fd is not None))


@group.command()
@_settings
def start(home: Home, **settings: Any) -> None:
    """Start the service in the background and print its URL; one that runs already stays."""
    wanted_broker = broker.check(settings)
    service = running(home)
    if service is None:
        click.echo(launch(home, settings))
        return
    plain = settings["plain"]
    if plain is not None and plain != service.plain:
        wanted = "--plain" if plain else "--no-plain"
        raise ComputeError(
            f"the service runs already, at {service.url}, {'plain' if service.plain else 'with extensions'}: "
            f"`compute-nb service restart {wanted}` changes that"
        )
    _refuse_other_store(home, service.url, settings["store"])
    if wanted_broker not in {None, service.broker}:
        raise ComputeError(
            f"the service runs already, at {service.url}, broker: {service.broker}; "
            "`compute-nb service restart --broker …` changes that"
        )
    port = settings["port"]
    if port and urlsplit(service.asked_at).port != port:
        raise ComputeError(
            f"the service runs already, at {service.url}: `compute-nb service restart --port {port}` moves it"
        )
    click.echo(service.url)


def _refuse_other_store(home: Home, url: str, asked: str | None) -> None:
    from compute_nb.service.place import address, place_of

    if asked is None:
        return
    kept, wanted = json.loads(home.service_file.read_text("utf-8"))["store"], address(place_of(home, asked))
    if kept != wanted:
        raise ComputeError(
            f"the service runs already, at {url}, with its state in {kept}: `compute-nb service restart "
            f"--store {asked}` changes that; what is stored stays where it is"
        )


@group.command()
@_HOME
def stop(home: Home) -> None:
    """Stop the service and its local endpoints; nobody starts it again before the next submit or start."""
    with _nobody_starting(home):
        _stop(home)


@contextlib.contextmanager
def _nobody_starting(home: Home) -> Iterator[None]:
    """Waits for whoever is starting the service, which would come up after it was stopped."""
    from filelock import FileLock, Timeout

    if not home.state.exists():
        yield
        return
    home.stopped_mark.touch(mode=0o600)
    lock = FileLock(home.start_lock, mode=0o600)
    with contextlib.suppress(Timeout):
        lock.acquire(timeout=STARTER_S)
    try:
        yield
    finally:
        lock.release()


def _stop(home: Home) -> None:
    from compute_nb.service.local_agent import end_orphans

    left = _open_tasks(home)
    if stop_service(home):
        click.echo("; ".join(["stopped", *left]))
    elif orphans := end_orphans(home):
        click.echo(f"not running; {_count(orphans, 'local endpoint')} of a killed service stopped")
    else:
        click.echo("not running")


def _open_tasks(home: Home) -> list[str]:
    """Says what becomes of the tasks that the service holds; nothing if it has none, or does not answer."""
    from compute_nb.cli.control import ask

    try:
        tasks = ask(home, "GET", "/v3/compute_nb/status")["tasks"] if running(home) else {}
    except ComputeError:
        return []
    waiting, begun = tasks.get("WAITING", 0) + tasks.get("DELIVERED", 0), tasks.get("RUNNING", 0)
    text = []
    if waiting:
        they = "it goes on" if waiting == 1 else "they go on"
        again = f"{they} after `compute-nb service start` or the next submit"
        text.append(f"{_count(waiting, 'open task')} stay{'s' * (waiting == 1)}: {again}")
    if begun:
        text.append(f"{begun} that had begun end{'s' * (begun == 1)} as LOST where no retries are left")
    return text


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@group.command()
@_settings
def restart(home: Home, **settings: Any) -> None:
    """Stop the service and start it again; local endpoints go on with their tasks meanwhile."""
    from filelock import FileLock

    broker.check(settings)
    home.prepare()
    with FileLock(home.start_lock, mode=0o600):  # who misses it meanwhile waits here, and finds the new one
        stop_service(home, keep_agents=True)
        url = launch(home, settings)
    click.echo(url)


@group.command()
@_HOME
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(home: Home, as_json: bool) -> None:
    """Say what runs; exit status 1 if no service does."""
    from compute_nb.cli.control import ask

    answer = ask(home, "GET", "/v3/compute_nb/status") if running(home) else None
    if as_json:
        click.echo(json.dumps(answer or NOT_RUNNING, indent=1))
    elif answer:
        _show(answer)
    else:
        click.echo(f"no service runs for {home.root}: `compute-nb service start` starts one", err=True)
    sys.exit(0 if answer else 1)


NOT_RUNNING: dict[str, Any] = {
    "url": None,
    "pid": None,
    "broker": None,
    "store": None,
    "token_file": None,
    "endpoints": [],
    "tasks": {},
}


def launch(home: Home, settings: dict[str, Any]) -> str:
    """Starts a service in a session of its own and returns its URL once it listens.

    Raises:
        ComputeError: It could not begin; the text is what it said.
    """
    home.prepare()
    reader, writer = os.pipe()
    words = [sys.executable, "-m", "compute_nb.cli", "service", "run", f"--home={home.root}"]
    for name, value in settings.items():
        words += _options(name, value)
    with os.fdopen(reader, encoding="utf-8") as pipe, append(home.service_log) as log:
        try:
            process = subprocess.Popen(
                [*words, f"--ready-fd={writer}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[writer],
            )
        finally:
            os.close(writer)
        word, _, text = pipe.readline().rstrip("\n").partition(" ")
    if word == "ready":
        process.returncode = 0  # it lives on: nobody here waits for it
        return text
    process.wait()
    raise ComputeError(text or f"the service ended before it listened; its log is {home.service_log}")


def _options(name: str, value: object) -> list[str]:
    words = name.replace("_", "-")
    if value is None:
        return []
    if isinstance(value, Limits):
        changed = asdict(value).items() - _DEFAULT_LIMITS.items()
        return [f"--limit={key}={number}" for key, number in sorted(changed)]
    if isinstance(value, bool):
        return [f"--{words}" if value else f"--no-{words}"]
    return [f"--{words}={value}"]


def stop_service(home: Home, keep_agents: bool = False) -> bool:
    """Stops the service of a home and waits for its end; False if none runs.

    Raises:
        ComputeError: It does not end; the text names the process.
    """
    from filelock import FileLock, Timeout

    if not keep_agents and home.state.exists():
        home.stopped_mark.touch(mode=0o600)
    if not locked(home):
        return False
    pid = _ask_to_stop(home, keep_agents)
    for wait_s in (STOP_S, KILL_S):
        try:
            FileLock(home.service_lock).acquire(timeout=wait_s, poll_interval=0.02).lock.release()
        except Timeout:
            _terminate(home, pid)
        else:
            return True
    raise ComputeError(
        f"the service (process {pid}) does not end: its log is {home.service_log}; `kill -9 {pid}` loses "
        "no accepted task"
    )


def _ask_to_stop(home: Home, keep_agents: bool) -> int | None:
    """Asks over REST, else by signal; returns the pid if it is known."""
    from compute_nb.cli.control import ask

    service = running(home)
    pid = service.pid if service else None
    try:
        ask(home, "POST", "/v3/compute_nb/stop", {"keep_agents": keep_agents}, timeout_s=5.0)
    except ComputeError as error:
        click.echo(f"the service did not take the request to stop ({error}): sending SIGTERM", err=True)
        _terminate(home, pid)
    return pid


def _terminate(home: Home, pid: int | None) -> None:
    """Sends SIGTERM to the process that holds the lock, if it is what it should be."""
    import psutil

    for process in psutil.process_iter() if pid is None else [_process(pid)]:
        if process is not None and _serves(process, home):
            process.terminate()


def _process(pid: int) -> Any:
    import psutil

    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


def _serves(process: Any, home: Home) -> bool:
    """True if a process is `service run` and has this home's lock open."""
    import psutil

    try:
        if "service" not in process.cmdline() or "run" not in process.cmdline():
            return False
        return str(home.service_lock.resolve()) in {file.path for file in process.open_files()}
    except psutil.Error:
        return False


def _show(answer: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"service at {answer['url']}, process {answer['pid']}", highlight=False)
    tasks = ", ".join(f"{count} {state}" for state, count in answer["tasks"].items() if count)
    console.print(f"tasks: {tasks or 'none'}", highlight=False)
    table = Table("endpoint", "name", "state", "workers", "Python")
    for row in answer["endpoints"]:
        table.add_row(*(str(row[key] or "") for key in ("id", "name", "state", "workers", "python")))
    if answer["endpoints"]:
        console.print(table)
