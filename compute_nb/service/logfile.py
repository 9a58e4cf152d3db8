"""This module is a log file: appended to, and readable by its owner only."""

from __future__ import annotations

import os
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import BinaryIO

MAX_BYTES, OLD_FILES = 5_000_000, 3


def append(path: Path) -> BinaryIO:
    """Opens a log for a process's stdout and stderr.

    Not by umask, which the process and its tasks would inherit.
    """
    return open(path, "ab", opener=_private)


class LogHandler(RotatingFileHandler):
    """Writes log records to a file that only its owner reads, and begins a new one when it is full."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=MAX_BYTES, backupCount=OLD_FILES)

    def _open(self) -> TextIOWrapper:
        return TextIOWrapper(append(Path(self.baseFilename)), encoding="utf-8")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
