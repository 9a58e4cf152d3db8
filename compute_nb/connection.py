"""This module is the HTTP connection to one service: JSON out and in, proof first, errors of our own.

Requests are prepared by hand and given to the adapter of a `requests` session, which costs less than half of
`Session.request`. A request is repeated only where that is harmless: see `Repeat`.
"""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Mapping
from enum import Enum
from typing import Any, Self
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_environ_proxies
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.response import BaseHTTPResponse
from urllib3.util import Retry

from compute_nb import proof, trust
from compute_nb.bearer import Bearer, Token, token_of
from compute_nb.errors import AccessRefused, ComputeError, ServiceUnreachable
from compute_nb.loopback import is_loopback
from compute_nb.proof import Prove

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
USER_AGENT = "compute_nb"


class CertificateRefused(ComputeError):
    """The server could not show that it is the right one; nothing was sent."""


class Repeat(Enum):
    """When a request that failed is sent again."""

    ALWAYS = "it changes nothing, or the service knows it by its ids"
    UNREAD = "only if the service says that it did not take it"


class _Retry(Retry):
    """Does not ask again who shows a wrong certificate."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        *rest: Any,
        **others: Any,
    ) -> Self:
        if error is not None and trust.explain(error, "") is not None:
            raise error
        return super().increment(method, url, response, error, *rest, **others)


# Connection refused is not waited for here: whoever asked may know how to start the service.
_RETRIES = {
    Repeat.ALWAYS: _Retry(
        total=4,
        connect=0,
        read=3,
        status=4,
        backoff_factor=0.25,
        status_forcelist=(429, 502, 503, 504),
        allowed_methods=None,
        raise_on_status=False,
    ),
    Repeat.UNREAD: _Retry(
        total=4,
        connect=0,
        read=0,
        other=0,
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
        bearer: Whose token is sent, on plain http after the server's proof; a text is a token.
        ca: The certificate authorities that count for https, as in `trust.context`.
        verified: False: no certificate is asked for.
        prove: What plain http asks of the server; with https its certificate is enough.

    Raises:
        ComputeError: http to another host, or `ca` can't be read.
    """

    def __init__(
        self,
        url: str,
        bearer: Bearer | str,
        *,
        ca: trust.Authorities = None,
        verified: bool = True,
        prove: Prove = Prove.ALWAYS,
    ) -> None:
        self.url = url.rstrip("/")
        self._parts = urlsplit(self.url)
        self._bearer = Token(bearer) if isinstance(bearer, str) else bearer
        self._ca, self._verified = ca, verified
        local = is_loopback(self._parts.hostname or "")
        if self._parts.scheme != "https" and not local:
            raise ComputeError(f"{self.url} would get the token in the clear: use https")
        self._proxies = {} if local else get_environ_proxies(self.url)
        self._headers = CaseInsensitiveDict(
            {
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "Host": self._host(),
                **_product(),
            }
        )
        self._tls = None
        if self._parts.scheme == "https":
            self._tls = trust.context(ca) if verified else trust.blind()
        self._session = requests.Session()
        self._adapters = {
            repeat: _Adapter(self._bearer, prove, self._tls, retry) for repeat, retry in _RETRIES.items()
        }
        first = self._adapters[Repeat.ALWAYS]
        for adapter in self._adapters.values():
            adapter.poolmanager, adapter.proxy_manager = first.poolmanager, first.proxy_manager
        self._session.mount(self.url, first)

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
        """Returns the parsed answer to one request; raises as `get`.

        A refused token is asked with once more if the bearer has another one, or gets one that meets what the
        service wants of the login: whoever refuses has done nothing.

        Raises:
            LoginWanted: Only the person can log in as the service wants it.
        """
        authorization = self._authorization()
        try:
            answer = self._answer(method, path, body, repeat, authorization)
        except CertificateRefused:
            if not self._learn_certificate():
                raise
            answer = self._answer(method, path, body, repeat, authorization)
        if self._has_another(answer, authorization):
            log.debug("%s %s: a new token after a %s", method, path, answer.status_code)
            answer.close()
            answer = self._answer(method, path, body, repeat, self._authorization())
        return _parsed(answer, f"{method} {self.url}{path}")

    def close(self) -> None:
        """Closes what is open; the connection opens again when it is used."""
        self._session.close()

    def _learn_certificate(self) -> bool:
        """True if it is the home's own service, whose certificate may have been renewed: it counts now."""
        if self._tls is None or not isinstance(self._ca, trust.Own):
            return False
        trust.add_own(self._tls, self._ca)
        return True

    def _has_another(self, answer: requests.Response, refused: str) -> bool:
        """True if the bearer has another token for a request that was refused for the one that it had."""
        if answer.status_code not in (401, 403):
            return False
        body = _json(answer)
        if isinstance(body, dict) and isinstance(body.get("authorization_parameters"), dict):
            return self._bearer.meet(body)
        return answer.status_code == 401 and self._bearer.renew(refused)

    def _authorization(self) -> str:
        try:
            return self._bearer.header()
        except ServiceUnreachable as error:  # whoever gives tokens: the request has not been made
            error.nothing_sent = True
            raise

    def _answer(
        self, method: str, path: str, body: bytes | None, repeat: Repeat, authorization: str
    ) -> requests.Response:
        request = requests.PreparedRequest()
        request.method, request.url, request.body = method, self.url + path, body
        request.headers = self._headers_with(authorization)
        if body is not None:
            request.headers = request.headers.copy()
            request.headers["Content-Type"] = "application/json"
            request.headers["Content-Length"] = str(len(body))
        request.hooks = {}
        try:
            return self._adapters[repeat].send(
                request,
                timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
                verify=self._verified,
                proxies=self._proxies,
            )
        except ServiceUnreachable as error:  # by the proof, which comes before any request
            error.nothing_sent = True
            raise
        except requests.RequestException as error:
            refused = trust.explain(error, self.url, self._ca)
            if refused is not None:
                raise CertificateRefused(refused) from error
            raise self._unreachable(method, path, error) from error

    def _headers_with(self, authorization: str) -> CaseInsensitiveDict[str]:
        headers = self._headers
        if headers.get("Authorization") != authorization:
            headers = headers.copy()
            headers["Authorization"] = authorization
            self._headers = headers
        return headers

    def _host(self) -> str:
        name, port = self._parts.hostname or "", self._parts.port
        return proof.host_header(name, port or (443 if self._parts.scheme == "https" else 80))

    def _unreachable(self, method: str, path: str, error: Exception) -> ServiceUnreachable:
        cause: BaseException = error
        while cause.__context__ is not None:
            cause = cause.__context__
        by = " through the proxy of HTTPS_PROXY" if isinstance(error, requests.exceptions.ProxyError) else ""
        unreachable = ServiceUnreachable(
            f"the service at {self.url} did not answer {method} {path}{by}: {type(cause).__name__}: {cause}"
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


class _Adapter(HTTPAdapter):
    """Opens connections that prove the server first: by its certificate, on plain http by the token."""

    def __init__(self, bearer: Bearer, prove: Prove, tls: ssl.SSLContext | None, retry: Retry) -> None:
        self._bearer = bearer
        self._prove = prove
        self._tls = tls
        super().__init__(pool_maxsize=4, max_retries=retry)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kw: Any) -> None:
        bearer, prove = self._bearer, self._prove

        class Careful(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                if prove is Prove.NEVER:
                    return
                token = token_of(bearer.header())
                if prove is Prove.WHERE_POSSIBLE and not proof.possible(token):
                    return
                try:
                    proof.hello(self.sock, proof.host_header(self.host, self.port or 80), token)
                except BaseException:
                    self.close()
                    raise

        class Pool(HTTPConnectionPool):
            ConnectionCls = Careful

        self.poolmanager = PoolManager(
            num_pools=connections, maxsize=maxsize, block=block, ssl_context=self._tls, **kw
        )
        self.poolmanager.pool_classes_by_scheme = {
            **self.poolmanager.pool_classes_by_scheme,
            "http": Pool,
        }

    def proxy_manager_for(self, proxy: str, **kw: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self._tls, **kw)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        # The base class would add certifi's authorities to those of the context.
        conn.cert_reqs = "CERT_REQUIRED" if verify else "CERT_NONE"


def _parsed(answer: requests.Response, what: str) -> Any:
    """Returns the JSON of a success.

    Raises:
        ComputeError: The status is none, or the body no JSON.
    """
    body = _json(answer)
    if answer.status_code < 400 and body is not None:
        return body
    raise _refusal(answer.status_code, body, what, answer.reason or "no reason given")


def _json(answer: requests.Response) -> Any:
    try:
        return json.loads(answer.content)
    except ValueError:
        return None


def _refusal(status: int, body: Any, what: str, reason: str) -> ComputeError:
    fields = body if isinstance(body, dict) else {}
    code = fields.get("code")
    said = next((fields[k] for k in ("message", "detail", "title") if fields.get(k)), reason)
    said = str(said).removeprefix(f"{code}: ")  # published errors say it in both
    identified = f", request {fields['request_id']}" if fields.get("request_id") else ""
    text = f"{what} was refused with {status} ({code or reason}{identified}): {said}"
    error = AccessRefused(text) if status in (401, 403) else ComputeError(text)
    error.code = code if isinstance(code, str) else None
    error.http_status = status
    return error
