"""This module is the commands `compute-nb service …`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from typing import Any
from urllib.parse import urlsplit

import click

from compute_nb.cli import broker, settings
from compute_nb.cli.background import begin
from compute_nb.cli.stopping import longest_stop_s, stop_service
from compute_nb.errors import ComputeError
from compute_nb.home import Home
from compute_nb.service.config import ServiceConfig
from compute_nb.service.habits import Habits
from compute_nb.service.lock import running

STARTER_S = 30.0
_HABITS = tuple(one.name for one in fields(Habits))


@click.group("service")
def group() -> None:
    """Start, stop and look at the service of a home folder."""


@group.command()
@settings.shared
@click.option("--auto", is_flag=True, help="As last time; end when nobody has needed it for --idle-s.")
@click.option("--idle-s", type=float, default=3600.0, show_default=True, help="Seconds; for --auto.")
@click.option("--ready-fd", type=int, help="Pipe that gets `ready <url>` or `error <text>`.")
def run(home: Home, ready_fd: int | None, **given: Any) -> None:
    """Run the service here, until Ctrl-C: as this line says, whatever it was told before."""
    from compute_nb.service.process import run_service

    told = settings.settled(given, Habits.last(home) if given["auto"] else Habits.of(ServiceConfig(home)))
    if told["retention"] is not None:
        told["retention"] = settings.kept(told["retention"])
    if (expire := told.pop("expire")) is not None:
        told["expire_s"] = settings.span_s(expire)
    config = ServiceConfig(home, rabbit=broker.rabbit(told), **told)
    sys.exit(run_service(config, ready_fd, quiet=ready_fd is not None))


_JSON = click.option("--json", "as_json", is_flag=True, help="For programs: what `status --json` prints.")
_FRESH = click.option(
    "--fresh", is_flag=True, help="Forget what it was told of address, TLS, limits, durability and log."
)


@group.command()
@settings.shared
@_FRESH
@_JSON
def start(home: Home, fresh: bool, as_json: bool, **given: Any) -> None:
    """Start the service in the background, as last time but for what is said here, and print its URL.

    One that runs already stays.
    """
    wanted_broker = broker.check(given)
    service = running(home)
    if service is not None and home.stopped_mark.exists():  # it is ending, and may take its time
        stop_service(home)
        service = None
    if service is None:
        home.prepare()
        _say(home, launch(home, _told(home, given, fresh)), as_json)
        return
    plain = given["plain"]
    if plain is not None and plain != service.plain:
        wanted = "--plain" if plain else "--no-plain"
        raise ComputeError(
            f"the service runs already, at {service.url}, {'plain' if service.plain else 'with extensions'}: "
            f"`compute-nb service restart {wanted}` changes that"
        )
    _refuse_other_store(home, service.url, given["store"])
    if wanted_broker not in {None, service.broker}:
        raise ComputeError(
            f"the service runs already, at {service.url}, broker: {service.broker}; "
            "`compute-nb service restart --broker …` changes that"
        )
    port = given["port"]
    if port and urlsplit(service.asked_at).port != port:
        raise ComputeError(
            f"the service runs already, at {service.url}: `compute-nb service restart --port {port}` moves it"
        )
    _refuse_other_habits(home, service.url, given, fresh)
    _say(home, service.url, as_json)


def _refuse_other_habits(home: Home, url: str, given: dict[str, Any], fresh: bool) -> None:
    """Names the options that would change a service that runs, where any would."""
    options = ["--fresh"] if fresh else []
    asked = {name: given[name] for name in _HABITS if given[name]}
    if asked:
        habits = Habits.last(home)
        asked["limits"] = replace(habits.limits, **given["limits"])
        for name, value in asked.items():
            options += settings.words(name, value) if value != getattr(habits, name) else []
    if options:
        raise ComputeError(
            f"the service runs already, at {url}, and not so: `compute-nb service restart "
            f"{' '.join(options)}` changes that"
        )


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
@settings.HOME
@click.option("--now", is_flag=True, help="Give tasks that local endpoints run no time to end.")
@_JSON
def stop(home: Home, now: bool, as_json: bool) -> None:
    """Stop the service and its local endpoints; nobody starts it again before the next submit or start.

    What those run may go on for `stop_s` of their endpoint.toml, and its results are kept.
    """
    # In a hurry nobody waits for another `stop`, which does wait.
    with contextlib.nullcontext() if now and running(home) else _nobody_starting(home):
        told = _stop(home, now)
    click.echo(json.dumps(NOT_RUNNING, indent=1) if as_json else told)


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


def _stop(home: Home, now: bool) -> str:
    """Stops it and returns what there was to stop."""
    from compute_nb.service.local_agent import end_orphans

    stop_s = 0.0 if now else longest_stop_s(home)
    agents = _own_agents(home)
    left = _open_tasks(home, max(stop_s, *agents.values(), 0.0))
    if stop_service(home, now=now):
        return "; ".join(["stopped", *left, *_leaving(agents)])
    if orphans := end_orphans(home, stop_s):
        return f"not running; {_count(orphans, 'local endpoint')} of a killed service stopped"
    return "not running"


def _open_tasks(home: Home, stop_s: float) -> list[str]:
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
        lost = "as LOST where no retries are left"
        ends = ": what did not end within its `stop_s` ends" if stop_s else f" end{'s' * (begun == 1)}"
        text.append(f"{begun} that had begun{ends} {lost}")
    return text


def _own_agents(home: Home) -> dict[str, float]:
    """Returns the endpoints that end with the service and that nobody else starts, with their `stop_s`."""
    from compute_nb.cli.roster import folders
    from compute_nb.service.local_agent import is_local

    notes = {one.name: one.last() for one in folders(home) if not is_local(one.name) and one.taken()}
    return {name: note.stop_s for name, note in notes.items() if note is not None and note.service is None}


def _leaving(names: Iterable[str]) -> list[str]:
    return [f"endpoint {name} ends too, until `compute-nb endpoint start {name}`" for name in names]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@group.command()
@settings.shared
@_FRESH
@_JSON
def restart(home: Home, fresh: bool, as_json: bool, **given: Any) -> None:
    """Stop the service and start it again as it was, but for what is said here.

    Local endpoints go on with their tasks meanwhile.
    """
    from filelock import FileLock

    broker.check(given)
    home.prepare()
    with FileLock(home.start_lock, mode=0o600):  # who misses it meanwhile waits here, and finds the new one
        told = _told(home, given, fresh)  # before the old one is stopped for nothing
        stop_service(home, keep_agents=True)
        url = launch(home, told)
    _say(home, url, as_json)


@group.command()
@settings.HOME
@_JSON
def status(home: Home, as_json: bool) -> None:
    """Say what runs; exit status 1 if no service does."""
    answer = _status(home) if running(home) else None
    if as_json:
        click.echo(json.dumps(answer or NOT_RUNNING, indent=1))
    elif answer:
        _show(answer)
    else:
        click.echo(f"no service runs for {home.root}: `compute-nb service start` starts one", err=True)
    sys.exit(0 if answer else 1)


def _status(home: Home) -> Any:
    from compute_nb.cli.control import ask

    return ask(home, "GET", "/v3/compute_nb/status")


def _say(home: Home, url: str, as_json: bool) -> None:
    """Tells of a service that runs: its URL, or all that `status --json` has."""
    click.echo(json.dumps(_status(home), indent=1) if as_json else url)


NOT_RUNNING: dict[str, Any] = {
    "url": None,
    "pid": None,
    "broker": None,
    "store": None,
    "token_file": None,
    "endpoints": [],
    "tasks": {},
}


def _told(home: Home, given: dict[str, Any], fresh: bool) -> dict[str, Any]:
    return settings.settled(given, Habits.of(ServiceConfig(home)) if fresh else Habits.last(home))


def launch(home: Home, told: dict[str, Any]) -> str:
    """Starts a service in a session of its own and returns its URL once it listens.

    Raises:
        ComputeError: It could not begin; the text is what it said.
    """
    reader, writer = os.pipe()
    words = ["service", "run", f"--home={home.root}"]
    for name, value in told.items():
        words += settings.words(name, value)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        process = begin(words, home.service_log, writer)
        word, _, text = pipe.readline().rstrip("\n").partition(" ")
    if word == "ready":
        process.returncode = 0  # it lives on: nobody here waits for it
        return text
    process.wait()
    raise ComputeError(text or f"the service ended before it listened; its log is {home.service_log}")


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
