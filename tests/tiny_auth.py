"""A small Globus Auth for tests: it gives tokens on a real socket, and notes who asked for which."""

from __future__ import annotations

import base64
import json
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

COMPUTE = "https://auth.globus.org/scopes/facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all"
SERVERS = {COMPUTE: "funcx_service", "openid": "auth.globus.org"}
CODE, SECRET, USER = "code-of-the-person", "secret-of-the-client", "0d3c4b6e-1111-4222-8333-944455566677"


@cache
def signing_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class TinyAuth(ThreadingHTTPServer):
    """Listens on loopback until closed.

    Attributes:
        asked: (grant type, scopes or refresh token) of each request for tokens, in order.
        revoked: Every token that was taken back.
        lifetime_s: Of the tokens from now on.
        answer: (status, body) instead of any token, if set.
        user: The id of who logs in.
        good: The scope of each access token that was given and not taken back.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.asked: list[tuple[str, str]] = []
        self.revoked: list[str] = []
        self.lifetime_s = 3600
        self.answer: tuple[int, Any] | None = None
        self.issued = 0
        self.good: dict[str, str] = {}
        self.user = USER
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def tokens(self, client_id: str, grant: str, form: dict[str, str]) -> dict[str, Any]:
        if grant == "refresh_token":
            scopes = [form["refresh_token"].partition(":")[2]]
        else:
            scopes = form.get("scope", f"{COMPUTE} openid").split()
        refresh = grant != "client_credentials"
        first, *others = [self._token(scope, refresh) for scope in scopes]
        if grant == "authorization_code":
            first["id_token"] = self._id_token(client_id)
        return first | {"other_tokens": others}

    def _token(self, scope: str, refresh: bool) -> dict[str, Any]:
        self.issued += 1
        self.good[f"access-{self.issued}"] = scope
        token = {
            "access_token": f"access-{self.issued}",
            "scope": scope,
            "resource_server": SERVERS[scope],
            "expires_in": self.lifetime_s,
            "token_type": "Bearer",
        }
        return token | ({"refresh_token": f"refresh:{scope}"} if refresh else {})

    def _id_token(self, client_id: str) -> str:
        claims = {"sub": self.user, "aud": client_id, "iss": self.url, "exp": time.time() + 60}
        return jwt.encode(claims, signing_key(), algorithm="RS256")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: TinyAuth

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        if urlsplit(self.path).path == "/jwk.json":
            public = jwt.algorithms.RSAAlgorithm.to_jwk(signing_key().public_key(), as_dict=True)
            self._send(200, {"keys": [public]})
            return
        self._send(
            200,
            {
                "issuer": self.server.url,
                "jwks_uri": f"{self.server.url}jwk.json",
                "id_token_signing_alg_values_supported": ["RS256"],
            },
        )

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        form = {key: values[0] for key, values in parse_qs(raw).items()}
        if self.path.endswith("/revoke"):
            self.server.revoked.append(form["token"])
            self.server.good.pop(form["token"], None)
            self._send(200, {"active": False})
            return
        grant = form["grant_type"]
        self.server.asked.append((grant, form.get("refresh_token") or form.get("scope", "")))
        if self.server.answer:
            self._send(*self.server.answer)
            return
        client_id = form.get("client_id", "")
        if grant == "client_credentials":
            _, _, basic = self.headers["Authorization"].partition(" ")
            client_id, _, secret = base64.b64decode(basic).decode().partition(":")
            if secret != SECRET:
                self._send(401, {"error": "invalid_client"})
                return
        if grant == "authorization_code" and form["code"] != CODE:
            self._send(400, {"error": "invalid_grant"})
            return
        self._send(200, self.server.tokens(client_id, grant, form))

    def _send(self, status: int, body: Any) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)
