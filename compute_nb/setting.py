"""This module is the setting of an Executor: an attribute that is checked and that later submits follow."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from compute_nb.serialize.strategy import path_for_peers
from compute_nb.tasks import new_id

PUBLISHED_BATCH_SIZE = 128
"""The published default of `batch_size`: nobody has asked for smaller requests than there may be."""


class Setting:
    """An attribute of an Executor; its terms are made anew after an assignment.

    Args:
        check: Turns what is assigned into what is kept, or raises.
    """

    def __init__(self, check: Callable[[Any], Any]) -> None:
        self._check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, executor: Any, owner: type | None = None) -> Any:
        return self if executor is None else getattr(executor, self._name)

    def __set__(self, executor: Any, value: Any) -> None:
        setattr(executor, self._name, self._check(value))
        executor._terms = None


def jsonable(value: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Returns a dict that JSON can write, or None; else a TypeError."""
    json.dumps(value)
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(f"a dict was expected, not {type(value).__name__}")
    return value


def group_id(value: UUID | str | None) -> UUID:
    """Returns the id, a new one for None; a ValueError if it is no UUID."""
    return new_id() if value is None else UUID(str(value))


def import_paths(value: Sequence[object] | None) -> list[str]:
    """Returns what peers call these strategies; a SerdeError if there is another one among them."""
    return [path_for_peers(one) for one in value or ()]


def walltime(value: float | None) -> float | None:
    """Returns seconds or None; a ValueError if they have no end or no beginning."""
    if value is not None and not 0 < value < math.inf:
        raise ValueError(f"walltime is a finite number of seconds above 0, not {value}")
    return value


def batch_size(value: int) -> int:
    """Returns a count from 1; a ValueError for anything else."""
    if not (isinstance(value, int) and value >= 1):
        raise ValueError(f"batch_size is at least 1, not {value!r}")
    return value


def retries(value: int) -> int:
    """Returns a count from 0; a ValueError for anything else."""
    if not (isinstance(value, int) and value >= 0):
        raise ValueError(f"retries is a count from 0, not {value!r}")
    return value


def burst_limit(value: int) -> int:
    """Returns a count from 1 to 8, what comes nearest."""
    return min(max(value, 1), 8)


def burst_window_s(value: int) -> int:
    """Returns seconds from 1 to 32, what comes nearest."""
    return min(max(value, 1), 32)
