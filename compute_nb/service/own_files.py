"""This module is the files by which the own user finds the running service and knows it for what it is."""

from __future__ import annotations

import logging
from pathlib import Path

from compute_nb.home import Home
from compute_nb.private import write_private

_log = logging.getLogger(__name__)


class OwnFiles:
    """Writes the files, and writes them again when they have gone; loop thread only.

    Args:
        home: Locked by this process.
        token: What the token file says.
    """

    def __init__(self, home: Home, token: str) -> None:
        self._home = home
        self._texts = {home.token_file: token}
        self._lock = _inode(home.service_lock)

    def announce(self, facts: str, certificate: str | None) -> None:
        """Writes service.json and, if the service has a certificate, this beside it."""
        if certificate is None:
            self._home.service_certificate.unlink(missing_ok=True)
        else:
            self._write(self._home.service_certificate, certificate)
        self._write(self._home.service_file, facts)

    def _write(self, path: Path, text: str) -> None:
        self._texts[path] = text
        write_private(path, text)

    def home_is_gone(self) -> bool:
        """True if the folder with our lock was deleted or replaced: another service may run there now."""
        return _inode(self._home.service_lock) != self._lock

    def restore(self) -> None:
        """Writes again what was deleted or spoiled.

        Raises:
            OSError: The disk is full, say.
        """
        for path, text in self._texts.items():
            if _read(path) != text:
                _log.warning("%s was deleted or changed: written again", path)
                write_private(path, text)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return None
