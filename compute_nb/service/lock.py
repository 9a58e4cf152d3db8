"""This module is the question whether a home's service runs, and where: asked of its lock, never of a pid."""

from __future__ import annotations

import json
from dataclasses import dataclass

from filelock import FileLock, Timeout

from compute_nb.home import Home


@dataclass(frozen=True, slots=True)
class Running:
    """A service as it wrote about itself in service.json.

    Attributes:
        url: As clients are told it.
        local_url: On this host, where it differs.
        tls_sha256: The fingerprint of its certificate, where it has one.
    """

    url: str
    pid: int
    plain: bool = False
    broker: str = "embedded"
    local_url: str = ""
    tls_sha256: str | None = None

    @property
    def asked_at(self) -> str:
        """Where programs of this host ask it."""
        return self.local_url or self.url


def running(home: Home) -> Running | None:
    """Returns the service of a home, or None if none runs or it does not listen yet."""
    if not locked(home):
        return None
    try:
        facts = json.loads(home.service_file.read_text(encoding="utf-8"))
        return Running(
            str(facts["url"]),
            int(facts["pid"]),
            bool(facts.get("plain")),
            str(facts.get("broker", "embedded")),
            str(facts.get("local_url") or ""),
            facts.get("tls_sha256"),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def locked(home: Home) -> bool:
    """True if some process is the service of a home."""
    if not home.service_lock.exists():
        return False
    try:
        with FileLock(home.service_lock, mode=0o600, timeout=0):
            return False
    except Timeout:
        return True
