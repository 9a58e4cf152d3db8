"""This module is a log file: appended to, and readable by its owner only."""

from __future__ import annotations

import logging
import os
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import BinaryIO

_log = logging.getLogger(__name__)

MAX_BYTES, OLD_FILES = 5_000_000, 3


def append(path: Path) -> BinaryIO:
    """Opens a log for a process's stdout and stderr; where that can't be, what is said there is lost.

    Not by umask, which the process and its tasks would inherit.
    """
    try:
        return open(path, "ab", opener=_private)
    except OSError as error:
        _log.warning("log %s can't be written (%s): work goes on without it", path, error.strerror)
        return open(os.devnull, "ab")


def handler(path: Path) -> logging.Handler:
    """Returns what writes log records to `path`; to stderr if that can't be, since no log is worth an end."""
    try:
        return LogHandler(path)
    except OSError as error:
        fallback = logging.StreamHandler()
        record = (
            logging.WARNING,
            __file__,
            0,
            "log %s can't be written (%s): stderr has it",
            (path, error.strerror),
        )
        fallback.handle(logging.LogRecord(__name__, *record, None))
        return fallback


class LogHandler(RotatingFileHandler):
    """Writes log records to a file that only its owner reads, and begins a new one when it is full."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=MAX_BYTES, backupCount=OLD_FILES)

    def _open(self) -> TextIOWrapper:
        return TextIOWrapper(open(self.baseFilename, "ab", opener=_private), encoding="utf-8")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
