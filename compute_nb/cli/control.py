"""This module is the command line's way to a home's running service: it proves itself, then it is asked."""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

from compute_nb import proof
from compute_nb.errors import AccessRefused, ComputeError, ServiceUnreachable
from compute_nb.home import Home
from compute_nb.service.lock import running


def ask(home: Home, method: str, path: str, body: object = None, timeout_s: float = 10.0) -> Any:
    """Returns the answer of a home's running service to one request; blocks.

    Raises:
        ServiceUnreachable: None runs, or it does not answer.
        AccessRefused: What listens there is not the service whose token this is, or it says no.
        ComputeError: Another error that the service tells.
    """
    service = running(home)
    if service is None:
        raise ServiceUnreachable(f"no service runs for {home.root}: `compute-nb service start` starts one")
    token = _token(home)
    address = urlsplit(service.asked_at)
    link = _link(address.hostname or "", address.port, service.tls_sha256 is not None, timeout_s)
    try:
        link.connect()
        _identify(link, address.netloc, token, service.tls_sha256)
        status, answer = _call(link, method, path, body, token)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ServiceUnreachable(
            f"the service at {service.asked_at} (process {service.pid}) does not answer: {error}; "
            f"its log is {home.service_log}"
        ) from error
    finally:
        link.close()
    if status >= 400:
        kind = AccessRefused if status in (401, 403) else ComputeError
        refusal = kind(f"{method} {path}: {answer.get('message', status)}")
        refusal.http_status = status
        raise refusal
    return answer


def _link(host: str, port: int | None, secure: bool, timeout_s: float) -> http.client.HTTPConnection:
    if not secure:
        return http.client.HTTPConnection(host, port, timeout=timeout_s)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # its fingerprint says more
    return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)


def _identify(link: http.client.HTTPConnection, place: str, token: str, tls_sha256: str | None) -> None:
    """Returns if what listens there is the home's service, to which nothing was told yet.

    Raises:
        AccessRefused: It is not, or not surely.
    """
    if tls_sha256 is None:
        proof.hello(link.sock, place, token)
        return
    shown = link.sock.getpeercert(binary_form=True) if isinstance(link.sock, ssl.SSLSocket) else None
    if hashlib.sha256(shown or b"").hexdigest() != tls_sha256:
        raise AccessRefused(
            f"what listens at {place} shows another certificate than the service of this home has; nothing "
            "was sent: see who has taken the port"
        )


def _token(home: Home) -> str:
    try:
        return home.token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        raise ComputeError(f"the token of the service can't be read: {error}") from error


def _call(
    link: http.client.HTTPConnection, method: str, path: str, body: object, token: str
) -> tuple[int, Any]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    link.request(method, path, None if body is None else json.dumps(body), headers)
    response = link.getresponse()
    return response.status, json.loads(response.read())
