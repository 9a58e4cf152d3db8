"""This module is the service's certificate: read at the start, and again when its files were renewed."""

from __future__ import annotations

import hashlib
import logging
import ssl
from pathlib import Path

from compute_nb.errors import ComputeError

_log = logging.getLogger(__name__)

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


class Certificate:
    """A certificate with its key; connections that begin after `renew` get what the files say then.

    Args:
        cert: PEM file, with the certificates above it.
        key: PEM file; not encrypted, since nobody is there to be asked.

    Attributes:
        context: For servers.
        pem: The certificate that is shown, without those above it.
        sha256: The fingerprint by which programs of this host know it.

    Raises:
        ComputeError: One of them can't be read, or they don't belong together.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert, self._key = cert, key
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._stamp = self._stamped()
        self.pem, self.sha256 = self._load()

    def renew(self) -> bool:
        """Reads the files again if they have changed; if they are of no use the old one stays.

        Returns:
            True if there is another one now.
        """
        try:
            stamp = self._stamped()
            if stamp == self._stamp:
                return False
            # Into another one first: half a renewal must not spoil the one in use.
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                self._cert, self._key, password=_nobody
            )
            self.pem, self.sha256 = self._load()
        except (ComputeError, OSError, ssl.SSLError, ValueError) as error:
            _log.warning("the renewed certificate %s is not taken, the old one stays: %s", self._cert, error)
            return False
        self._stamp = stamp
        _log.info("certificate %s was renewed: new connections get it", self._cert)
        return True

    def _load(self) -> tuple[str, str]:
        try:
            self.context.load_cert_chain(self._cert, self._key, password=_nobody)
            return _shown(self._cert.read_text(encoding="utf-8"))
        except (OSError, ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise ComputeError(
                f"--tls-cert {self._cert} with --tls-key {self._key} can't be used: {reason}; both are PEM "
                "files, the key belongs to the certificate and has no password"
            ) from error

    def _stamped(self) -> tuple[tuple[int, int], ...]:
        try:
            found = [path.stat() for path in (self._cert, self._key)]
        except OSError as error:
            raise ComputeError(f"--tls-cert or --tls-key can't be read: {error}") from error
        return tuple((stat.st_mtime_ns, stat.st_ino) for stat in found)


def _shown(text: str) -> tuple[str, str]:
    """Returns the first certificate in a PEM file, which is the one that is shown, and its fingerprint."""
    first = text.index(_BEGIN)
    pem = text[first : text.index(_END, first) + len(_END)]
    return pem + "\n", hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def _nobody() -> str:
    raise ValueError("the key has a password")
