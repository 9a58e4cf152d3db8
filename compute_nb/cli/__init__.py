"""This module is the command line `compute-nb`; each group of commands is imported only when it is used."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from compute_nb.errors import ComputeError

_GROUPS = {
    "doctor": "Say what is installed, reachable and mismatched, and how to mend it.",
    "endpoint": "Run, start, stop, list and delete endpoints.",
    "login": "Log in at Globus.",
    "logout": "Forget the Globus login.",
    "service": "Start, stop and look at the service.",
    "tasks": "List, show, cancel, retry, lose and delete tasks.",
    "token": "Make, list and revoke tokens.",
    "user": "Add, list, change and remove users of a group's service.",
}
# Commands that are no group stand under their own name, in a module that they may share.
_MODULES = {"logout": "login", "token": "tokens", "user": "users"}


class _Lazy(click.Group):
    """Finds a command group `NAME` in the module `compute_nb.cli.NAME`, and tells errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_GROUPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _GROUPS:
            return None
        module = importlib.import_module(f"compute_nb.cli.{_MODULES.get(cmd_name, cmd_name)}")
        found: click.Command = getattr(module, cmd_name, None) or module.group
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_GROUPS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ComputeError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run notebook cells somewhere else: the service, its endpoints, their tasks."""
