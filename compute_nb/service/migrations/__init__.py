"""This module is the migrations: the steps, a file each, by which a store's tables came to be what they are.

`sqlite/0003_x.sql` and `postgresql/0003_x.sql` are the same step in two dialects. A step that was released
never changes; a new one takes the next number, in both. All that an old store lacks is done at once.
"""

from __future__ import annotations

import logging
import re
import time
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple, Protocol

from compute_nb.service.statements import Statements, fill

logger = logging.getLogger(__name__)

_FILE = re.compile(r"(\d{4})_(\w+)\.sql")


class Migration(NamedTuple):
    """One step.

    Attributes:
        number: The schema version that a store has after it.
        statements: In their order; states stand as codes.
    """

    number: int
    name: str
    statements: tuple[str, ...]


@cache
def migrations(dialect: str) -> tuple[Migration, ...]:
    """Returns all steps of a dialect, the first one first.

    Raises:
        ValueError: A number is missing or there twice.
    """
    found = []
    for file in files(__name__).joinpath(dialect).iterdir():
        if (match := _FILE.fullmatch(file.name)) is not None:
            text = file.read_text("utf-8")
            found.append(Migration(int(match[1]), match[2], _statements(fill(text))))
    found.sort()
    if [step.number for step in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"the migrations of {dialect} are not numbered one by one: {found}")
    return tuple(found)


class _Executes(Protocol):
    name: str
    statements: Statements

    def execute(self, sql: str, values: Any = ()) -> Any: ...


def migrate(database: _Executes, dialect: str, version: int) -> bool:
    """Brings tables from a schema version to the newest one, within the transaction that is open.

    Args:
        version: 0 for a database without tables.

    Returns:
        True if there was anything to do.
    """
    if not version:
        database.execute("CREATE TABLE migration (version INTEGER PRIMARY KEY, at DOUBLE PRECISION NOT NULL)")
    missing = migrations(dialect)[version:]
    for step in missing:
        for statement in step.statements:
            database.execute(statement)
        database.execute(database.statements["add_migration"], (step.number, time.time()))
        logger.info("store %s is at schema version %d", database.name, step.number)
    # A service that ended without answering: its clients will ask again.
    database.execute(database.statements["give_up_answers"])
    return bool(missing)


def _statements(script: str) -> tuple[str, ...]:
    # One by one: executescript would commit in between, and half a migration must not stay.
    without_comments = "\n".join(line for line in script.splitlines() if not line.startswith("--"))
    return tuple(part.strip() for part in without_comments.split(";") if part.strip())
