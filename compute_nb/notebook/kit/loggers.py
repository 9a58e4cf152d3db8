"""This module is the loggers of a process as a cell found them, to be put back.

A handler that a cell has added would write for the next cell too: each line twice, then three times.
"""

from __future__ import annotations

import sys
from typing import Any

_UNSET, _WARNING = 0, 30  # levels of `logging`, which nobody may have imported


class Loggers:
    """Handlers and levels of all loggers at one moment."""

    def __init__(self) -> None:
        self._known = {name: _state(logger) for name, logger in _loggers()}

    def put_back(self) -> None:
        """Undoes what was done to them since.

        A logger called like a library that is loaded, and made since, is as that library made it.
        """
        for name, logger in _loggers():
            known = self._known.get(name)
            if known is None and name and name.partition(".")[0] in sys.modules:
                continue
            wanted = known or ([], [], _UNSET if name else _WARNING, True, False)
            if _state(logger) != wanted:
                _set(logger, *wanted)


def _loggers() -> list[tuple[str, Any]]:
    """Returns the loggers by name, the root as ""."""
    root: Any = getattr(sys.modules.get("logging"), "root", None)
    if root is None or not hasattr(root, "manager"):  # not imported, or not wholly
        return []
    named = list(root.manager.loggerDict.items())
    return [("", root), *((name, logger) for name, logger in named if hasattr(logger, "handlers"))]


def _state(logger: Any) -> tuple[list[Any], list[Any], int, bool, bool]:
    return list(logger.handlers), list(logger.filters), logger.level, logger.propagate, logger.disabled


def _set(  # noqa: PLR0917
    logger: Any, handlers: list[Any], filters: list[Any], level: int, propagate: bool, disabled: bool
) -> None:
    logger.handlers[:], logger.filters[:] = handlers, filters
    logger.propagate, logger.disabled = propagate, disabled
    if logger.level != level:
        logger.setLevel(level)
