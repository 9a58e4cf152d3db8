"""This module is the command `compute-nb doctor`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import click

from compute_nb.cli.checks import OK, PROBLEM, Finding, findings
from compute_nb.errors import ComputeError
from compute_nb.home import Home

_COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(as_json: bool) -> None:
    """Say what is installed, reachable and mismatched, and the mend for each; exit status 1 for a problem."""
    found = list(findings(Home.default()))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=1))
    else:
        _show(found)
    problems = [finding.check for finding in found if finding.state == PROBLEM]
    if problems:
        raise ComputeError(f"{len(problems)} to mend: {', '.join(problems)}")


def _show(found: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("check", "", "found and mend")
    for finding in found:
        text = Text(finding.found)
        if finding.mend:
            text.append(f"\n-> {finding.mend}", "bold" if finding.state != OK else "")
        table.add_row(finding.check, Text(finding.state, _COLOURS[finding.state]), text)
    console = Console()
    if not console.is_terminal:
        console.width = 150
    console.print(table, highlight=False)
