"""This module is one transaction of the store as its operations see it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from compute_nb.service.statements import STATES, Statements, StoredState

# Statements with a list of ids are prepared for these lengths only, so that few are kept.
_LENGTHS = (1, 4, 16, 64, 256)


class Transaction:
    """What an operation may use between BEGIN and COMMIT; store thread only.

    Args:
        connection: Within a transaction.
        statements: By name.
        now: Seconds since the epoch, one moment for the whole transaction.
    """

    def __init__(self, connection: sqlite3.Connection, statements: Statements, now: float) -> None:
        self.now = now
        self._connection = connection
        self._statements = statements
        self._tally = [0] * len(STATES)
        self._undo: list[Callable[[], None]] = []

    def run(self, name: str, *values: Any) -> sqlite3.Cursor:
        """Executes a statement with values in its order."""
        return self._connection.execute(self._statements[name], values)

    def one(self, name: str, *values: Any) -> Any:
        """Returns the first row, or None."""
        return self._connection.execute(self._statements[name], values).fetchone()

    def all(self, name: str, *values: Any) -> list[Any]:
        """Returns all rows."""
        return self._connection.execute(self._statements[name], values).fetchall()

    def named(self, name: str, **values: Any) -> list[Any]:
        """Returns all rows of a statement with named parameters."""
        return self._connection.execute(self._statements[name], values).fetchall()

    def many(self, name: str, rows: Iterable[Any]) -> int:
        """Executes a statement once for each row of values and returns how many table rows it changed."""
        return self._connection.executemany(self._statements[name], rows).rowcount

    def by_ids(self, name: str, ids: Sequence[bytes], *values: Any) -> list[Any]:
        """Returns the rows of a statement with `{ids}`; `values` come before the ids."""
        found: list[Any] = []
        for start in range(0, len(ids), _LENGTHS[-1]):
            part = ids[start : start + _LENGTHS[-1]]
            length = next(length for length in _LENGTHS if length >= len(part))
            padded = (*values, *part, *(None,) * (length - len(part)))
            found += self._connection.execute(self._statements.for_ids(name, length), padded)
        return found

    def count(self, state: StoredState, change: int) -> None:
        """Notes that a state has more or fewer tasks; written once, at the end."""
        self._tally[state.code] += change

    def on_rollback(self, undo: Callable[[], None]) -> None:
        """Has something in memory undone if this transaction is."""
        self._undo.append(undo)

    def write_counts(self) -> None:
        """Brings the stored counts up to date."""
        changes = [(n, code) for code, n in enumerate(self._tally) if n]
        if changes:
            self.many("add_to_tally", changes)

    def rolled_back(self) -> None:
        """Undoes in memory what was noted, last first."""
        for undo in reversed(self._undo):
            undo()
