"""This module is the question of which service a command is for: the home's own, or one of config.toml."""

from __future__ import annotations

from typing import Any

import click

from compute_nb.cli.way import Way
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
    return Way(Home.default(), service).ask(method, path, body)
