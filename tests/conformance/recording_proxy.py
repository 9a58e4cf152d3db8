"""A proxy that passes requests on to a service and notes of each: method, path, JSON keys, headers."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Recorded(NamedTuple):
    """One request: ids stand as `<id>`; `keys` are paths of the body's keys, lists of objects as `[]`."""

    call: str
    keys: frozenset[str]
    headers: frozenset[str]


def keys_of(value: Any, where: str = "") -> Iterator[str]:
    """Yields the paths of all keys in a JSON value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            path = f"{where}.{_UUID.sub('<id>', key)}".lstrip(".")
            yield path
            yield from keys_of(inner, path)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_of(inner, f"{where}[]")


class RecordingProxy(ThreadingHTTPServer):
    """Listens on loopback; `taken` gives what was recorded since it was asked last."""

    daemon_threads = True

    def __init__(self, service_url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.service = urlsplit(service_url).netloc
        self._recorded: list[Recorded] = []
        self._lock = threading.Lock()

    def note(self, recorded: Recorded) -> None:
        with self._lock:
            self._recorded.append(recorded)

    def taken(self) -> list[Recorded]:
        with self._lock:
            recorded, self._recorded = self._recorded, []
        return recorded

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that ends cuts its connections off."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RecordingProxy

    def log_message(self, *_: Any) -> None: ...

    def _pass_on(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        keys = frozenset(keys_of(json.loads(raw))) if raw else frozenset()
        call = f"{self.command} {_UUID.sub('<id>', self.path)}"
        self.server.note(Recorded(call, keys, frozenset(name.title() for name in self.headers)))
        link = http.client.HTTPConnection(self.server.service, timeout=60)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
            link.request(self.command, self.path, raw or None, headers)
            answer = link.getresponse()
            body = answer.read()
        finally:
            link.close()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = _pass_on


@contextmanager
def recording_proxy(service_url: str) -> Iterator[RecordingProxy]:
    """Runs one."""
    with RecordingProxy(service_url) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
