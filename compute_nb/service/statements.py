"""This module is the store's SQL by name: what is in `queries/`, and how it spells states."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from compute_nb.tasks import OPEN, TaskState, sources

# Part of the file format: a number once given never changes. Open states come first, so that "is it
# open" is one comparison, which a partial index can be built on.
CODES: Mapping[TaskState, int] = {
    TaskState.WAITING: 0,
    TaskState.DELIVERED: 1,
    TaskState.RUNNING: 2,
    TaskState.SUCCEEDED: 3,
    TaskState.FAILED: 4,
    TaskState.CANCELLED: 5,
    TaskState.LOST: 6,
}
_FIRST_ENDED = len(OPEN)

# How a dialect spells the place of a value.
_MARKS = {"sqlite": "?", "postgresql": "%s"}
_STATEMENT = re.compile(r"^-- name: (\w+)\n((?:--.*\n)+)((?:(?!--).*\n?)+)", re.MULTILINE)


class StoredState(NamedTuple):
    """A state as the database knows it; compared by identity, since hashing an enum costs more than all else.

    Attributes:
        code: What stands in the table.
        sources: The states from which a task may come here, as bits, for `(sources >> code) & 1` (an IN
            list builds a table at each execution).
    """

    state: TaskState
    code: int
    sources: int

    def reachable(self, old: StoredState) -> bool:
        """True if a task may come here from `old`."""
        return bool((self.sources >> old.code) & 1)

    @property
    def open(self) -> bool:
        """True if a task that stands here has not ended."""
        return self.code < _FIRST_ENDED


def _bits(states: Iterable[TaskState]) -> int:
    return sum(1 << CODES[state] for state in states)


# By code.
STATES: tuple[StoredState, ...] = tuple(
    StoredState(state, code, _bits(sources(state))) for state, code in CODES.items()
)
WAITING, DELIVERED, RUNNING, SUCCEEDED, FAILED, CANCELLED, LOST = STATES


def fill(text: str) -> str:
    """Returns SQL with the codes of states in the place of their names."""
    for state, code in CODES.items():
        text = text.replace(f"{{{state.value}}}", str(code))
    return text.replace("{open}", f"state < {_FIRST_ENDED}")


class Statements:
    """The statements of one dialect.

    Args:
        dialect: The name of the file in `queries/`.
    """

    def __init__(self, dialect: str = "sqlite") -> None:
        self._mark = _MARKS[dialect]
        text = files("compute_nb.service").joinpath(f"queries/{dialect}.sql").read_text("utf-8")
        self._texts = {name: fill(sql).strip() for name, _, sql in _STATEMENT.findall(text)}
        self.for_ids = cache(self._for_ids)

    def __getitem__(self, name: str) -> str:
        return self._texts[name]

    def names(self) -> frozenset[str]:
        """The names of all statements."""
        return frozenset(self._texts)

    def _for_ids(self, name: str, count: int) -> str:
        return self._texts[name].replace("{ids}", ",".join([self._mark] * count))
