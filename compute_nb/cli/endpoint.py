"""This module is the commands `compute-nb endpoint …`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from compute_nb.config import TOKEN_VARIABLE, Home, read_private
from compute_nb.errors import ComputeError


@click.group("endpoint")
def group() -> None:
    """Run and stop endpoints; `local` is started by the service itself."""


@group.command()
@click.argument("name")
@click.option("--service", "service_url", help="URL of the service; default: that of the home folder.")
@click.option("--token-file", type=click.Path(path_type=Path, dir_okay=False), help="For --service.")
@click.option("--engine", help="processes (the default), threads, parsl, dask or mpi.")
@click.option("--python", help="The interpreter that runs tasks; default: this one.")
@click.option("--workers", type=click.IntRange(1), help="Tasks at a time; default: the usable CPUs.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="An endpoint.toml, or a Python file with a Parsl `config`; default: that in the endpoint's folder.",
)
def run(  # noqa: PLR0917 - click gives them by name
    name: str,
    service_url: str | None,
    token_file: Path | None,
    engine: str | None,
    python: str | None,
    workers: int | None,
    config_file: Path | None,
) -> None:
    """Run the endpoint NAME here, until Ctrl-C; docs/endpoint.md has what its endpoint.toml may say."""
    from compute_nb.endpoint.agent import run_agent
    from compute_nb.endpoint.config import AgentConfig
    from compute_nb.endpoint.settings import FILE_NAME, read_settings

    home = Home.default().prepare()
    directory = home.endpoint_dir(name)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = directory / FILE_NAME
    settings = read_settings(
        config_file or (own if own.exists() else None),
        {"engine": engine, "python": python, "workers": workers},
    )
    url, token = (service_url, _token(token_file)) if service_url else _own_service(home)
    config = AgentConfig(
        name=name,
        directory=directory,
        service_url=url,
        token=token,
        settings=settings,
        home=None if service_url else home,
    )
    sys.exit(run_agent(config))


@group.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_endpoints(as_json: bool) -> None:
    """List the endpoints of the home's service, with their state."""
    from compute_nb.cli.control import ask

    rows = ask(Home.default(), "GET", "/v3/compute_nb/status")["endpoints"]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        workers = f"{row['workers']} workers" if row["workers"] else "-"
        click.echo(f"{row['id']}  {row['state']:8} {row['name']:20} {workers:12} {row['python'] or '-'}")


@group.command()
@click.argument("name")
def stop(name: str) -> None:
    """Stop the agent of the endpoint NAME, or of the endpoint with that id."""
    from compute_nb.cli.control import ask

    home = Home.default()
    row = _find(ask(home, "GET", "/v3/compute_nb/status")["endpoints"], name)
    ask(home, "POST", f"/v3/endpoints/{row['id']}/lock", timeout_s=20.0)
    click.echo(f"endpoint {row['name']} ({row['id']}) stopped")


def _find(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    found = [row for row in rows if name in (row["id"], row["name"])]
    if not found:
        known = ", ".join(sorted({row["name"] for row in rows})) or "none"
        raise ComputeError(f"no endpoint is called {name!r}; the service has: {known}")
    if len(found) > 1:
        ids = ", ".join(row["id"] for row in found)
        raise ComputeError(f"{len(found)} endpoints are called {name!r}: give one of the ids {ids}")
    return found[0]


def _token(token_file: Path | None) -> str:
    if token_file is None:
        token = os.environ.get(TOKEN_VARIABLE, "").strip()
        if not token:
            raise ComputeError(f"--service needs a token: give --token-file, or set {TOKEN_VARIABLE}")
        return token
    return read_private(token_file, "the token of --token-file")


def _own_service(home: Home) -> tuple[str, str]:
    """Returns URL and token of the home's service, and starts it if none runs."""
    from compute_nb.local import ensure_service

    info = ensure_service(home)
    return info.url, info.token
