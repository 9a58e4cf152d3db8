"""This module is the way to a database: SQLite for one person, PostgreSQL for a group, one contract."""

from __future__ import annotations

from pathlib import Path

from compute_nb.service.database.contract import (
    Database,
    StoreAway,
    StoreClosed,
    StoreFull,
    StoreUnusable,
)

__all__ = [
    "Database",
    "StoreAway",
    "StoreClosed",
    "StoreFull",
    "StoreUnusable",
    "open_database",
]


def open_database(place: Path | str, *, durable: bool = True, busy_timeout_s: float = 5.0) -> Database:
    """Opens a database for a service alone, its tables made or migrated if need be; blocks.

    Args:
        place: A file for SQLite, or a `postgresql://` URL.
        durable: False if commits need not survive a power cut; PostgreSQL's always do.
        busy_timeout_s: How long to wait for another program that has it.

    Raises:
        StoreUnusable: It can't be used, as the text says.
    """
    if isinstance(place, Path):
        from compute_nb.service.database.sqlite import SqliteDatabase

        return SqliteDatabase(place, durable=durable, busy_timeout_s=busy_timeout_s)
    from compute_nb.service.database.postgresql import PostgresqlDatabase

    return PostgresqlDatabase(place, lock_wait_s=busy_timeout_s)
