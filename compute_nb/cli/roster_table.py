"""This module is the table of a roster, as `compute-nb endpoint list` draws it."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from compute_nb.cli.roster import Roster, Row

WIDE = 150


def show(found: Roster) -> None:
    """Prints it, and what keeps endpoints from their work."""
    if not found.rows:
        click.echo("no endpoints: `compute-nb endpoint start NAME` starts one")
        return
    table = Table("endpoint", "state", "engine", "workers", "queued", "cores", "memory", "Python", "service")
    for row in found.rows:
        table.add_row(
            f"{row.name}\n{row.id or 'never registered'}",
            _state(row),
            row.engine or "-",
            "-" if row.workers is None else _workers(row),
            "-" if row.queued is None else str(row.queued),
            "-" if row.cores is None else str(row.cores),
            _memory(row),
            row.python or "-",
            row.service or "of this home",
        )
    table.caption = "workers: busy of those there are, and the most; memory: free of all"
    console = Console()
    if not console.is_terminal:
        console.width = WIDE
    console.print(table, highlight=False)
    for row in found.rows:
        if row.trouble:
            click.echo(f"{row.name}: {row.trouble}")


def _state(row: Row) -> str:
    return f"{row.state}\nprocess {row.pid}" if row.pid else row.state


def _workers(row: Row) -> str:
    return str(row.workers) if row.alive is None else f"{row.busy} of {row.alive}, at most {row.workers}"


def _memory(row: Row) -> str:
    if row.memory_bytes is None or row.available_bytes is None:
        return "-"
    return f"{row.available_bytes / 2**30:.1f} of {row.memory_bytes / 2**30:.1f} GiB"
