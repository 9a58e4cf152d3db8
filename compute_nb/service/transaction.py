"""This module is one transaction of the store as its operations see it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

from compute_nb.service.database import Database
from compute_nb.service.statements import STATES, StoredState

# Statements with a list of ids are prepared for these lengths only, so that few are kept.
_LENGTHS = (1, 4, 16, 64, 256)


class Transaction:
    """What an operation may use between begin and commit; store thread only.

    Args:
        database: Within a transaction.
        now: Seconds since the epoch, one moment for the whole transaction.
        expires: When a task that comes now is given up if it is open still, likewise.
    """

    def __init__(self, database: Database, now: float, expires: float) -> None:
        self.now = now
        self.expires = expires
        self.duplicate = database.duplicate
        self._database = database
        self._execute = database.execute
        self._statements = database.statements
        self._tally = [0] * len(STATES)
        self._undo: list[Callable[[], None]] = []

    def run(self, name: str, *values: Any) -> int:
        """Executes a statement with values in its order; returns how many rows it changed."""
        return int(self._execute(self._statements[name], values).rowcount)

    def insert(self, name: str, *values: Any) -> int:
        """Inserts a row and returns the number that it was given."""
        return self._database.insert(self._statements[name], values)

    def one(self, name: str, *values: Any) -> Any:
        """Returns the first row, or None."""
        return self._execute(self._statements[name], values).fetchone()

    def all(self, name: str, *values: Any) -> list[Any]:
        """Returns all rows."""
        return list(self._execute(self._statements[name], values).fetchall())

    def stream(self, name: str, *values: Any) -> Generator[Any, None, None]:
        """Yields rows that would be too much at once; to be closed by who stops early."""
        return self._database.stream(self._statements[name], values)

    def named(self, name: str, **values: Any) -> list[Any]:
        """Returns all rows of a statement with named parameters."""
        return list(self._execute(self._statements[name], values).fetchall())

    def many(self, name: str, rows: Iterable[Any]) -> int:
        """Executes a statement once for each row of values and returns how many table rows it changed.

        Raises:
            Exception: `duplicate`, if a key is there already; the transaction is to be given up then.
        """
        return self._database.executemany(self._statements[name], rows)

    def by_ids(self, name: str, ids: Sequence[bytes], *values: Any) -> list[Any]:
        """Returns the rows of a statement with `{ids}`; `values` come before the ids."""
        found: list[Any] = []
        for cursor in self._in_parts(name, ids, values):
            found += cursor
        return found

    def run_ids(self, name: str, ids: Sequence[bytes | int]) -> int:
        """Executes a statement with `{ids}`, which may be numbers; returns how many rows it changed."""
        return sum([cursor.rowcount for cursor in self._in_parts(name, ids, ())])

    def _in_parts(self, name: str, ids: Sequence[bytes | int], values: tuple[Any, ...]) -> Iterator[Any]:
        for start in range(0, len(ids), _LENGTHS[-1]):
            part = ids[start : start + _LENGTHS[-1]]
            length = next(length for length in _LENGTHS if length >= len(part))
            padded = (*values, *part, *(None,) * (length - len(part)))
            yield self._execute(self._statements.for_ids(name, length), padded)

    def give_back(self, pages: int) -> bool:
        """Gives a little of the space of deleted rows back to the disk; True if there is more."""
        return self._database.give_back(pages)

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
