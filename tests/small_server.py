"""A small HTTP server for tests: it proves itself, answers as it is told and notes what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from compute_nb.proof import PATH, expected

SECRET = "5e" * 32
ECHO = "echo"
"""As a body: the answer of a service that accepts a submit."""
TOKEN = f"cnb_{'0a' * 8}_{SECRET}"


class SmallServer(ThreadingHTTPServer):
    """Listens on loopback.

    Attributes:
        answers: (method, path without query) -> (status, body), or a list of them for one call after another.
            A body of None closes the connection without an answer.
        asked: (method, path, parsed body) of every request after the proof.
        headers: Of the last request.
        proofs: How many proofs were asked for.
        prove: What answers a proof: (status, body).
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers: dict[tuple[str, str], Any] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.headers: dict[str, str] = {}
        self.proofs = 0
        self.prove: Callable[[str, str], tuple[int, Any]] = lambda nonce, host: (
            200,
            {"proof": expected(SECRET, nonce, host)},
        )

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of some tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SmallServer

    def log_message(self, *_: Any) -> None: ...

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == PATH:
            self.server.proofs += 1
            assert "Authorization" not in self.headers
            nonce = parse_qs(parts.query)["nonce"][0]
            self._send(*self.server.prove(nonce, self.headers["Host"]))
            return
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.headers = dict(self.headers)
        self.server.asked.append((self.command, self.path, json.loads(raw) if raw else None))
        answer = self.server.answers.get((self.command, parts.path), (404, {"message": "not here"}))
        if isinstance(answer, list):
            answer = answer.pop(0)
        status, body = answer
        if body == ECHO:
            body = {"tasks": self.server.asked[-1][2]["compute_nb"]["task_ids"]}
        self._send(status, body)

    do_GET = do_POST = do_PUT = do_DELETE = _handle

    def _send(self, status: int, body: Any, **headers: str) -> None:
        if body is None:
            self.close_connection = True
            return
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)


@contextmanager
def small_server() -> Iterator[SmallServer]:
    """Runs one."""
    with SmallServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
