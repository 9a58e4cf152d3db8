"""This module is the trust of TLS connections: which authorities count, and why a certificate does not."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from compute_nb.errors import ComputeError

BUNDLE_VARIABLE = "REQUESTS_CA_BUNDLE"

# OpenSSL's numbers (x509_vfy.h); Python names none of them.
_NOT_YET_VALID, _EXPIRED = 9, 10
_SELF_SIGNED = 18
_UNKNOWN = (2, 19, 20, 21)
_WRONG_NAME = (62, 64)


@dataclass(frozen=True, slots=True)
class Own:
    """The certificate of a home's own service: it counts there beside the authorities.

    Attributes:
        file: PEM; there while that service has a certificate.
    """

    file: Path


Authorities = Path | Own | None


def context(ca: Authorities = None) -> ssl.SSLContext:
    """Returns a new context that verifies certificate and host name.

    Args:
        ca: A file or folder of authorities that alone count. None: that of `REQUESTS_CA_BUNDLE`, else the
            system's (`SSL_CERT_FILE` moves them) and certifi's together; with `Own` one certificate beside
            these.

    Raises:
        ComputeError: `ca` can't be read or holds no certificate.
    """
    if isinstance(ca, Own):
        made = context()
        add_own(made, ca)
        return made
    named = os.environ.get(BUNDLE_VARIABLE)
    if ca is not None:
        return _only(ca, str(ca))
    if named:
        return _only(Path(named), f"{BUNDLE_VARIABLE}={named}")
    import certifi

    made = ssl.create_default_context()
    made.load_verify_locations(certifi.where())
    return made


def add_own(made: ssl.SSLContext, own: Own) -> None:
    """Has the certificate that the home's own service has now count too, for connections from now on."""
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it need not be an authority's
    with suppress(FileNotFoundError):
        made.load_verify_locations(cafile=own.file)


def shows(sock: socket.socket, sha256: str) -> bool:
    """True if the server at the other end has the certificate with this fingerprint, and its key.

    Raises:
        OSError: It does not answer, or not in TLS.
    """
    with blind().wrap_socket(sock) as secure:
        return hashlib.sha256(secure.getpeercert(binary_form=True) or b"").hexdigest() == sha256


def blind() -> ssl.SSLContext:
    """Returns a context that verifies nothing, for who has turned that off by name."""
    made = ssl.create_default_context()
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


def explain(error: BaseException, place: str, ca: Authorities = None) -> str | None:
    """Says why TLS to `place` was refused here and what to do; None if that is not what went wrong.

    Args:
        error: What a library raised; the cause may be deep in it.
        ca: The authorities that counted, as for `context`.
    """
    causes = list(_causes(error))
    refused = next((e for e in causes if isinstance(e, ssl.SSLCertVerificationError)), None)
    if refused is not None:
        return f"{place} shows a certificate {_why(refused, ca)}; nothing was sent"
    other = next((e for e in causes if isinstance(e, ssl.SSLError)), None)
    if other is not None and other.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return f"{place} does not speak TLS on that port: check scheme and port of its address"
    return None


def _only(ca: Path, what: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        made.load_verify_locations(**{"capath" if ca.is_dir() else "cafile": str(ca)})
    except OSError as error:  # ssl.SSLError is one
        raise ComputeError(
            f"the certificate authorities in {what} can't be read: {error.strerror or error}; it must be a "
            "PEM file, or a folder made by `openssl rehash`"
        ) from error
    return made


def _why(error: ssl.SSLCertVerificationError, ca: Authorities) -> str:
    code = error.verify_code
    if code == _EXPIRED:
        return "that has expired: its owner must renew it, or this machine's clock is wrong"
    if code == _NOT_YET_VALID:
        return "that is not valid yet: this machine's clock is wrong, or its owner must make another"
    if code in _WRONG_NAME:
        return f"for another name ({error.verify_message.rstrip('.')}): use the name that it was made for"
    if isinstance(ca, Own) and code in (_SELF_SIGNED, *_UNKNOWN):
        return (
            "that is neither the one of this home's service nor signed by an authority that this machine "
            "trusts: see who has taken the port; `compute-nb service restart` writes its files anew"
        )
    if code == _SELF_SIGNED:
        return (
            "that it signed itself: if you know it to be right, save it as a PEM file and name that as "
            "`ca` of the service in config.toml, or by SSL_CERT_FILE"
        )
    if code in _UNKNOWN:
        known = f"the authorities in {ca}" if ca else "an authority that this machine trusts"
        return (
            f"that is not signed by {known}: get the PEM file of the right authority and name it as `ca` "
            "of the service in config.toml, or by SSL_CERT_FILE"
        )
    return f"that is not valid: {error.verify_message or error}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and all that it wraps: as cause, as argument, or in an attribute of its library."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, list | tuple):
            waiting += one
        elif isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__, *one.args]
            waiting += [getattr(one, name, None) for name in ("reason", "exception", "exceptions")]
