"""This module is the commands `compute-nb user …`, for administrators of a group's service."""

from __future__ import annotations

import json
from typing import Any

import click

from compute_nb.cli.asking import SERVICE, ask
from compute_nb.errors import ComputeError

USERS = "/v3/compute_nb/users"

_GROUPS = click.option(
    "--group",
    "groups",
    type=click.UUID,
    multiple=True,
    help="Id of a group that he is in; repeat it for more.",
)


@click.group("user")
def group() -> None:
    """Add, list, change and remove the users of a service."""


@group.command()
@click.argument("name")
@click.option("--admin", is_flag=True, help="He sees to users and tokens, too.")
@_GROUPS
@SERVICE
def add(name: str, admin: bool, groups: tuple[Any, ...], service: str) -> None:
    """Add the user NAME; `compute-nb token create --user NAME` gives him a token."""
    made = ask(service, "POST", USERS, {"name": name, "admin": admin, "groups": [str(g) for g in groups]})
    click.echo(f"user {made['name']} ({made['id']}) is added; next: compute-nb token create --user {name}")


@group.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@SERVICE
def list_users(as_json: bool, service: str) -> None:
    """List all users."""
    rows = ask(service, "GET", USERS)["users"]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        role = "admin" if row["admin"] else "user"
        click.echo(f"{row['id']}  {role:6} {row['name']:24} {' '.join(row['groups'])}".rstrip())


@group.command()
@click.argument("name")
@click.option("--admin/--no-admin", default=None, help="Whether he sees to users and tokens.")
@_GROUPS
@click.option("--no-groups", is_flag=True, help="He is in no group any more.")
@SERVICE
def change(name: str, admin: bool | None, groups: tuple[Any, ...], no_groups: bool, service: str) -> None:
    """Change the user NAME; groups take the place of those that he was in."""
    wish: dict[str, Any] = {} if admin is None else {"admin": admin}
    if groups or no_groups:
        wish["groups"] = [str(g) for g in groups]
    changed = ask(service, "PATCH", f"{USERS}/{find_user(service, name)['id']}", wish)
    click.echo(
        f"user {changed['name']}: {'admin' if changed['admin'] else 'user'}, groups {changed['groups']}"
    )


@group.command()
@click.argument("name")
@SERVICE
def remove(name: str, service: str) -> None:
    """Remove the user NAME: his tokens and passwords are void; what he submitted stays."""
    gone = ask(service, "DELETE", f"{USERS}/{find_user(service, name)['id']}")
    click.echo(f"user {name} is removed, {gone['revoked']} token{'s' * (gone['revoked'] != 1)} revoked")


def find_user(service: str, name: str) -> dict[str, Any]:
    """Returns the user of that name, or with that id.

    Raises:
        ComputeError: There is none.
    """
    rows: list[dict[str, Any]] = ask(service, "GET", USERS)["users"]
    for row in rows:
        if name in (row["name"], row["id"]):
            return row
    known = ", ".join(row["name"] for row in rows)
    raise ComputeError(f"no user is called {name!r}; the service has: {known}")
