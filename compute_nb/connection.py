"""This module is the HTTP connection to one service: JSON out and in, proof first, errors of our own.

Requests are prepared by hand and given to the adapter of a `requests` session, which costs less than half of
`Session.request`. A request is repeated only where that is harmless: see `Repeat`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from enum import Enum
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_environ_proxies
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util import Retry

from compute_nb import proof
from compute_nb.errors import AccessRefused, ComputeError, ServiceUnreachable

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
USER_AGENT = "compute_nb"


class Repeat(Enum):
    """When a request that failed is sent again."""

    ALWAYS = "it changes nothing, or the service knows it by its ids"
    UNREAD = "only if the service says that it did not take it"


# Connection refused is not waited for here: whoever asked may know how to start the service.
_RETRIES = {
    Repeat.ALWAYS: Retry(
        total=4,
        connect=0,
        read=3,
        status=4,
        backoff_factor=0.25,
        status_forcelist=(429, 502, 503, 504),
        allowed_methods=None,
        raise_on_status=False,
    ),
    Repeat.UNREAD: Retry(
        total=4,
        connect=0,
        read=0,
        status=4,
        backoff_factor=0.25,
        status_forcelist=(429, 503),
        allowed_methods=None,
        raise_on_status=False,
    ),
}


class Connection:
    """Speaks to one service. Any thread may use it; each call blocks.

    Args:
        url: Base address, http only on loopback.
        token: Sent as a bearer, on plain http after the server's proof.
        prove: False sends the token on plain http without a proof, to a service that has none.

    Raises:
        ComputeError: http to another host.
    """

    def __init__(self, url: str, token: str, *, prove: bool = True) -> None:
        self.url = url.rstrip("/")
        self._parts = urlsplit(self.url)
        self._token = token
        local = is_loopback(self._parts.hostname or "")
        if self._parts.scheme == "http" and not local:
            raise ComputeError(f"{self.url} would get the token in the clear: use https")
        self._proxies = {} if local else get_environ_proxies(self.url)
        self._headers = CaseInsensitiveDict(
            {
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "Authorization": f"Bearer {token}",
                "Host": self._host(),
                **_product(),
            }
        )
        self._session = requests.Session()
        self._adapters = {
            repeat: _Adapter(token if prove else None, retry) for repeat, retry in _RETRIES.items()
        }
        shared = self._adapters[Repeat.ALWAYS].poolmanager
        for adapter in self._adapters.values():
            adapter.poolmanager = shared
        self._session.mount(self.url, self._adapters[Repeat.ALWAYS])

    def __repr__(self) -> str:
        return f"Connection<{self.url}>"

    def get(self, path: str) -> Any:
        """Returns the answer to a GET.

        Raises:
            ServiceUnreachable: No answer.
            AccessRefused: The token may not do that.
            ComputeError: Any other refusal, with `code` and `http_status`.
        """
        return self.send("GET", path, None, Repeat.ALWAYS)

    def post(self, path: str, fields: Mapping[str, Any], repeat: Repeat = Repeat.UNREAD) -> Any:
        """Returns the answer to a POST; raises as `get`."""
        return self.send("POST", path, json.dumps(fields).encode(), repeat)

    def send(self, method: str, path: str, body: bytes | None, repeat: Repeat) -> Any:
        """Returns the parsed answer to one request; raises as `get`."""
        request = requests.PreparedRequest()
        request.method, request.url, request.body = method, self.url + path, body
        request.headers = self._headers
        if body is not None:
            request.headers = self._headers.copy()
            request.headers["Content-Type"] = "application/json"
            request.headers["Content-Length"] = str(len(body))
        request.hooks = {}
        try:
            answer = self._adapters[repeat].send(
                request, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S), verify=True, proxies=self._proxies
            )
        except ServiceUnreachable as error:  # by the proof, which comes before any request
            error.nothing_sent = True
            raise
        except requests.RequestException as error:
            raise self._unreachable(method, path, error) from error
        return _parsed(answer, f"{method} {request.url}")

    def close(self) -> None:
        """Closes what is open; the connection opens again when it is used."""
        self._session.close()

    def _host(self) -> str:
        name, port = self._parts.hostname or "", self._parts.port
        return proof.host_header(name, port or (443 if self._parts.scheme == "https" else 80))

    def _unreachable(self, method: str, path: str, error: Exception) -> ServiceUnreachable:
        cause: BaseException = error
        while cause.__context__ is not None:
            cause = cause.__context__
        unreachable = ServiceUnreachable(
            f"the service at {self.url} did not answer {method} {path}: {type(cause).__name__}: {cause}"
        )
        unreachable.nothing_sent = _never_connected(error)
        return unreachable


def _product() -> dict[str, str]:
    from compute_nb import __version__

    return {
        "User-Agent": f"{USER_AGENT}/{__version__}",
        "X-Globus-Client-Info": f"product={USER_AGENT},version={__version__}",
    }


def _never_connected(error: Exception) -> bool:
    reason = error.args[0] if error.args else None
    reason = getattr(reason, "reason", None) or reason  # urllib3 wraps the last one of its attempts
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)


def is_loopback(host: str) -> bool:
    """True if `host` is this machine by name or address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class _Adapter(HTTPAdapter):
    """Opens connections; given a token, those without https have the server prove itself first."""

    def __init__(self, token: str | None, retry: Retry) -> None:
        self._token = token
        super().__init__(pool_maxsize=4, max_retries=retry)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kw: Any) -> None:
        if self._token is None:
            super().init_poolmanager(connections, maxsize, block, **kw)
            return
        token = self._token

        class Proven(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                try:
                    proof.hello(self.sock, proof.host_header(self.host, self.port or 80), token)
                except BaseException:
                    self.close()
                    raise

        class Pool(HTTPConnectionPool):
            ConnectionCls = Proven

        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **kw)
        self.poolmanager.pool_classes_by_scheme = {
            **self.poolmanager.pool_classes_by_scheme,
            "http": Pool,
        }


def _parsed(answer: requests.Response, what: str) -> Any:
    """Returns the JSON of a success.

    Raises:
        ComputeError: The status is none, or the body no JSON.
    """
    try:
        body = json.loads(answer.content)
    except ValueError:
        body = None
    if answer.status_code < 400 and body is not None:
        return body
    raise _refusal(answer.status_code, body, what, answer.reason or "no reason given")


def _refusal(status: int, body: Any, what: str, reason: str) -> ComputeError:
    fields = body if isinstance(body, dict) else {}
    code = fields.get("code")
    said = next((fields[k] for k in ("message", "detail", "title") if fields.get(k)), reason)
    identified = f", request {fields['request_id']}" if fields.get("request_id") else ""
    text = f"{what} was refused with {status} ({code or reason}{identified}): {said}"
    error = AccessRefused(text) if status in (401, 403) else ComputeError(text)
    error.code = code if isinstance(code, str) else None
    error.http_status = status
    return error
