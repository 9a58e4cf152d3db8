"""This module is the commands `compute-nb login` and `compute-nb logout`."""

from __future__ import annotations

import click

from compute_nb.config import GLOBUS
from compute_nb.errors import ComputeError

_SERVICE = click.option("--service", default=GLOBUS, show_default=True, help="Of config.toml.")


@click.command()
@_SERVICE
@click.option("--force", is_flag=True, help="Ask even if somebody is logged in.")
def login(service: str, force: bool) -> None:
    """Log in at Globus; the tokens are kept in the home folder."""
    from compute_nb import login as globus

    try:
        click.echo(globus.login(service, force=force))
    except ValueError as error:
        raise ComputeError(str(error)) from error


@click.command()
@_SERVICE
def logout(service: str) -> None:
    """Have Globus revoke the tokens, and forget them here."""
    from compute_nb import login as globus

    try:
        click.echo(globus.logout(service))
    except ValueError as error:
        raise ComputeError(str(error)) from error
