"""A small reverse proxy with TLS for tests: it passes requests on, and says for whom, as proxies do."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP = ("connection", "keep-alive", "transfer-encoding", "host", "content-length")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ReverseProxy

    def _pass_on(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
        host, port = self.server.behind
        headers["Host"] = self.headers["Host"] if self.server.keeps_host else f"{host}:{port}"
        headers["X-Forwarded-For"] = ", ".join(
            filter(None, [self.headers.get("X-Forwarded-For"), self.client_address[0]])
        )
        headers["X-Forwarded-Proto"] = "https"
        link = http.client.HTTPConnection(host, port, timeout=60)
        link.request(self.command, self.path, body, headers)
        answer = link.getresponse()
        text = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
        link.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class ReverseProxy(ThreadingHTTPServer):
    """Listens on loopback.

    Attributes:
        behind: Host and port of what stands behind it; set it before the first request.
        keeps_host: False writes the address of what stands behind it into `Host`, as nginx does by itself.
    """

    daemon_threads = True
    behind: tuple[str, int]
    keeps_host = True

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"https://localhost:{self.server_port}"


@contextmanager
def reverse_proxy(context: ssl.SSLContext) -> Iterator[ReverseProxy]:
    """Runs one until the block ends."""
    with ReverseProxy(context) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join(60)
