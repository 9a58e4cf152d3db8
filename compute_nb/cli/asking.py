"""This module is the question of which service a command is for: the home's own, or one of config.toml."""

from __future__ import annotations

import json
from typing import Any

import click

from compute_nb.config import LOCAL
from compute_nb.home import Home

SERVICE = click.option(
    "--service",
    default=LOCAL,
    show_default=True,
    help="Name in config.toml; default: that of the home folder.",
)


def ask(service: str, method: str, path: str, body: object = None) -> Any:
    """Returns a service's answer to one request; blocks.

    Args:
        service: Its name in config.toml, or "local".

    Raises:
        ComputeError: It does not answer, or says no; the text is its own.
    """
    from compute_nb.config import Settings

    home = Home.default()
    if service == LOCAL:
        from compute_nb.cli import control

        return control.ask(home, method, path, body)
    from compute_nb.connection import Connection, Repeat

    named = Settings.load(home).service(service)
    connection = Connection(named.url or "", named.read_token(), ca=named.ca, prove=named.proving)
    try:
        return connection.send(
            method, path, None if body is None else json.dumps(body).encode(), Repeat.UNREAD
        )
    finally:
        connection.close()
