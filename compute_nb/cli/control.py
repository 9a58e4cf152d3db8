"""This module is the command line's way to a home's running service: it proves itself, then it is asked."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from compute_nb import proof
from compute_nb.config import Home
from compute_nb.errors import AccessRefused, ComputeError, ServiceUnreachable
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
    address = urlsplit(service.url)
    link = http.client.HTTPConnection(address.hostname or "", address.port, timeout=timeout_s)
    try:
        link.connect()
        proof.hello(link.sock, address.netloc, token)
        status, answer = _call(link, method, path, body, token)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ServiceUnreachable(
            f"the service at {service.url} (process {service.pid}) does not answer: {error}; "
            f"its log is {home.service_log}"
        ) from error
    finally:
        link.close()
    if status >= 400:
        kind = AccessRefused if status in (401, 403) else ComputeError
        raise kind(f"{method} {path}: {answer.get('message', status)}")
    return answer


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
