"""This module is the proof that a server knows a token, asked for before the token is told (extensions.md 1).

Loopback belongs to everybody on a shared host: whoever listens on the port first would be told the token
otherwise. `hello` speaks on a connected socket that has carried nothing yet.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import socket
from enum import Enum
from http.client import HTTPException, HTTPResponse

from compute_nb.errors import AccessRefused, ServiceUnreachable

PATH = "/v3/compute_nb/proof"


class Prove(Enum):
    """When a server on plain http has to prove that it knows a token before it is told it."""

    ALWAYS = "a token that no server can prove to know is sent to none"
    WHERE_POSSIBLE = "a token of another form than ours is sent without a proof"
    NEVER = "any token is sent without a proof"


_TOKEN = re.compile(r"cnb_([0-9a-f]{16})_([0-9a-f]{64})", re.ASCII)
_MAX_ANSWER_BYTES = 10_000


def expected(secret: str, nonce: str, host: str) -> str:
    """Returns the proof of a server that knows SHA-256 of `secret` and was asked for as `host`."""
    key = hashlib.sha256(secret.encode("ascii")).digest()
    return hmac.new(key, (nonce + host).encode("ascii"), hashlib.sha256).hexdigest()


def host_header(host: str, port: int) -> str:
    """Returns `host:port` as it stands in the `Host` header."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def possible(token: str) -> bool:
    """True if a token has the form of which a server can prove that it knows it."""
    return _TOKEN.fullmatch(token) is not None


def hello(sock: socket.socket, host: str, token: str) -> None:
    """Returns if the server at the other end proves that it knows `token`, which stays untold.

    Args:
        sock: Connected, with a timeout; it may carry requests afterwards.
        host: The `Host` header that all requests on it will have.

    Raises:
        AccessRefused: The token has another form or is unknown there, or the proof is wrong.
        ServiceUnreachable: No answer, or one that is no HTTP.
    """
    parts = _TOKEN.fullmatch(token)
    if parts is None:
        raise AccessRefused(
            f"the token for {host} has not the form cnb_<16 hex digits>_<64 hex digits>: a service without "
            "https can't prove that it may have it; check the token, or use https"
        )
    public_id, secret = parts.groups()
    nonce = secrets.token_hex(16)
    status, answer = _ask(sock, host, f"{PATH}?token_id={public_id}&nonce={nonce}")
    if status == 200 and hmac.compare_digest(_proof_in(answer), expected(secret, nonce, host)):
        return
    raise _refusal(status, host, public_id)


def _ask(sock: socket.socket, host: str, path: str) -> tuple[int, bytes]:
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n\r\n"
    try:
        sock.sendall(request.encode("ascii"))
        with HTTPResponse(sock, method="GET") as response:
            response.begin()
            return response.status, response.read(_MAX_ANSWER_BYTES)
    except (OSError, HTTPException) as error:
        raise ServiceUnreachable(
            f"{host} did not prove that it is the service: {type(error).__name__}: {error}"
        ) from error


def _proof_in(answer: bytes) -> str:
    try:
        proof = json.loads(answer)["proof"]
    except (ValueError, KeyError, TypeError):
        return ""
    return proof if isinstance(proof, str) and proof.isascii() else ""


def _refusal(status: int, host: str, public_id: str) -> AccessRefused:
    if status == 404:
        return AccessRefused(
            f"the service at {host} does not know token cnb_{public_id}: it was revoked, or belongs to "
            "another service; the right one is named by `compute-nb service status --json`"
        )
    if status == 421:
        return AccessRefused(f"the service at {host} is not called so; use the address that it prints")
    return AccessRefused(
        f"what listens at {host} could not prove that it is the service of token cnb_{public_id} "
        f"(HTTP {status}); the token was not sent. If another program took the port, end it"
    )
