"""This module is the commands `compute-nb token …`."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from compute_nb.cli.asking import SERVICE, ask
from compute_nb.cli.users import find_user
from compute_nb.errors import ComputeError
from compute_nb.private import write_private
from compute_nb.service.scopes import ALL, SCOPES

TOKENS = "/v3/compute_nb/tokens"


@click.group("token")
def group() -> None:
    """Make, list and revoke tokens; an administrator also those of others."""


@group.command()
@click.argument("name", default="token")
@click.option("--user", help="Whose it is, by name; default: yours.")
@click.option(
    "--scope",
    type=click.Choice(list(SCOPES)),
    default=ALL,
    show_default=True,
    help="; ".join(f"{name}: {what}" for name, what in SCOPES.items()) + ".",
)
@click.option(
    "--file", type=click.Path(path_type=Path, dir_okay=False), help="Write it there, 0600, instead."
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@SERVICE
def create(  # noqa: PLR0917 - click calls it by name
    name: str, user: str | None, scope: str, file: Path | None, as_json: bool, service: str
) -> None:
    """Make a token called NAME and print it, this once."""
    wish = {"name": name, "scope": scope}
    if user is not None:
        wish["user"] = find_user(service, user)["id"]
    made = ask(service, "POST", TOKENS, wish)
    if file is not None:
        try:
            write_private(file, made["token"] + "\n")
        except OSError as error:
            ask(service, "DELETE", f"{TOKENS}/{made['token_id']}")
            raise ComputeError(
                f"{file} can't be written ({error.strerror}): the token was revoked"
            ) from error
        click.echo(f"token cnb_{made['token_id']} ({scope}) is in {file}")
    elif as_json:
        click.echo(json.dumps(made, indent=1))
    else:
        click.echo(made["token"])
        click.echo(
            f"# for published programs: GLOBUS_COMPUTE_CLIENT_ID={made['client_id']} and, as "
            "GLOBUS_COMPUTE_CLIENT_SECRET, its last 64 characters",
            err=True,
        )


@group.command("list")
@click.option("--user", help="Whose, by name; default: yours.")
@click.option("--all", "of_all", is_flag=True, help="Everybody's; for administrators.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@SERVICE
def list_tokens(user: str | None, of_all: bool, as_json: bool, service: str) -> None:
    """List tokens, without their secrets."""
    found = ask(service, "GET", _query(service, user, of_all))["tokens"]
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for row in found:
        state = "revoked" if row["revoked_at"] else "good"
        made = datetime.fromtimestamp(row["created_at"]).isoformat(" ", "minutes")
        click.echo(
            f"cnb_{row['token_id']}  {state:8} {row['scope']:9} {made}  {row['name']}  ({row['user']})"
        )


@group.command()
@click.argument("token_id")
@SERVICE
def revoke(token_id: str, service: str) -> None:
    """Revoke the token TOKEN_ID (cnb_ and 16 digits): nothing that was told to its bearer works any more."""
    public_id = token_id.removeprefix("cnb_").partition("_")[0]
    ask(service, "DELETE", f"{TOKENS}/{public_id[:64]}")
    click.echo(f"token cnb_{public_id} is revoked, and so are the broker's passwords of its user")


def _query(service: str, user: str | None, of_all: bool) -> str:
    if of_all:
        return TOKENS
    mine: dict[str, Any] = ask(service, "GET", "/v2/oauth2/userinfo")
    return f"{TOKENS}?user={mine['sub'] if user is None else find_user(service, user)['id']}"
