"""This module is the place of a home's store: its own file, or the database that it was given once."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from compute_nb.errors import ComputeError
from compute_nb.home import Home
from compute_nb.private import write_private

FILE = "sqlite"
_SCHEMES = ("postgresql", "postgres")


def place_of(home: Home, asked: str | None) -> Path | str:
    """Returns where the store of a home is.

    Args:
        asked: "sqlite" or a `postgresql://` URL; None is as last time, so that whoever starts the service
            again, an agent perhaps, finds the same tasks.

    Raises:
        ComputeError: It is neither, or tells a password to everybody on this host.
    """
    if asked is None:
        return home.store_mark.read_text("utf-8").strip() if home.store_mark.exists() else home.store_file
    if asked == FILE:
        return home.store_file
    try:
        parts = urlsplit(asked)
        secret = parts.password or "password" in parse_qs(parts.query)
    except ValueError as error:
        raise ComputeError(f"--store is no URL: {error}") from error
    if parts.scheme not in _SCHEMES:
        raise ComputeError(f"--store must be {FILE!r} or postgresql://USER@HOST/DATABASE")
    if secret:
        raise ComputeError(
            "--store has a password, which everybody on this host could read: leave it out, and put it in "
            "~/.pgpass or PGPASSWORD"
        )
    return asked


def address(place: Path | str) -> str:
    """Returns a place as a service tells of it, without secrets."""
    if isinstance(place, Path):
        return f"sqlite:///{place}"
    from compute_nb.service.database.postgresql import shown

    return shown(place)


def remember(home: Home, place: Path | str) -> None:
    """Has the next service of a home use the same store."""
    if isinstance(place, Path):
        home.store_mark.unlink(missing_ok=True)
    else:
        write_private(home.store_mark, place + "\n")
