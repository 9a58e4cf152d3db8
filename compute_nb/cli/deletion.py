"""This module is the deletion of an endpoint at its service, and what goes with it."""

from __future__ import annotations

import click

from compute_nb.cli.roster import Row
from compute_nb.cli.way import Way
from compute_nb.errors import ComputeError, ServiceUnreachable

_OPEN = ("WAITING", "DELIVERED", "RUNNING")


def unregister(way: Way, row: Row, force: bool) -> None:
    """Has the service of an endpoint forget it.

    Args:
        way: To that service.
        row: The endpoint; it has an id.
        force: True: a service that does not answer is told of, and no hindrance.

    Raises:
        ComputeError: The service does not answer, or refuses.
    """
    try:
        way.ask("DELETE", f"/v2/endpoints/{row.id}")
    except ServiceUnreachable as error:
        if not force:
            raise ComputeError(
                f"endpoint {row.name} is not deleted: {error}; --force deletes its folder alone"
            ) from error
        click.echo(f"{way} still lists it: {error}", err=True)
    except ComputeError as error:
        if error.http_status != 404:
            raise


def open_tasks(way: Way, row: Row) -> int | None:
    """Returns how many tasks of an endpoint are open; None if its service can't be asked that."""
    try:
        groups = way.ask("GET", "/v3/compute_nb/groups?limit=10000")["groups"]
    except ComputeError:
        return None
    counts: list[int] = [
        group["tasks"].get(state, 0) for group in groups if group["endpoint_id"] == row.id for state in _OPEN
    ]
    return sum(counts)


def what(row: Row, open_tasks: int | None) -> str:
    """Returns what a deletion of the endpoint takes away, for people."""
    parts = [f"endpoint {row.name} ({row.id or 'never registered'})"]
    if row.folder is not None:
        parts.append(f"its folder {row.folder}")
    if open_tasks:
        parts.append(f"{open_tasks} open task{'s end as failed or lost' * (open_tasks > 1)}")
    return ", ".join(parts)
