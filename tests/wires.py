"""Certificates and go-betweens for tests: TLS in front of a plain server, and a proxy that takes CONNECT."""

from __future__ import annotations

import datetime
import http.client
import json
import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme


class Authority:
    """A certificate authority of a test's own, with its certificate in a file."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def context(self, *names: str, expired: bool = False) -> ssl.SSLContext:
        """Returns what a server of these names needs."""
        now = datetime.datetime.now(datetime.UTC)
        ends = now - datetime.timedelta(days=1) if expired else None
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names, not_after=ends).configure_cert(made)
        return made

    def with_file(self, *names: str) -> tuple[ssl.SSLContext, bytes]:
        """Returns what a server of these names needs, and the certificate that it shows, as PEM."""
        made, issued = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self._ca.issue_cert(*names)
        issued.configure_cert(made)
        return made, issued.cert_chain_pems[0].bytes()

    def self_signed(self, folder: Path) -> ssl.SSLContext:
        """Returns what a server needs that signed its certificate itself."""
        own = trustme.CA()
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with own.private_key_pem.tempfile(str(folder)) as key, own.cert_pem.tempfile(str(folder)) as cert:
            made.load_cert_chain(cert, key)
        return made


class _Relay(socketserver.BaseRequestHandler):
    server: Any

    def handle(self) -> None:
        try:
            near = self.near()
        except OSError:
            return
        with near, socket.create_connection(self.server.target, timeout=60) as far:
            back = threading.Thread(target=_copy, args=(far, near))
            back.start()
            _copy(near, far)
            back.join()


class _Ending(_Relay):
    """Ends TLS."""

    def near(self) -> socket.socket:
        return self.server.tls.wrap_socket(self.request, server_side=True)


class _Connect(_Relay):
    """Takes `CONNECT host:port` and goes to the target, whatever that host is."""

    def near(self) -> socket.socket:
        asked = b""
        while not asked.endswith(b"\r\n\r\n"):
            asked += self.request.recv(1)
        self.server.asked.append(asked.decode())
        self.request.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        return self.request


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    target: tuple[str, int]
    tls: ssl.SSLContext | None = None

    def __init__(self, handler: Any, target_port: int) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.target = "127.0.0.1", target_port
        self.port = self.server_address[1]
        self.asked: list[str] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever refuses a certificate hangs up."""


@contextmanager
def tls_before(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """Yields a port where TLS is spoken for the plain server at `port`."""
    with _running(_Listener(_Ending, port)) as listener:
        listener.tls = context
        yield listener.port


@contextmanager
def connect_proxy(port: int) -> Iterator[_Listener]:
    """Yields a proxy that connects everybody to `port`, and notes in `asked` who wanted where."""
    with _running(_Listener(_Connect, port)) as listener:
        yield listener


@contextmanager
def _running(listener: _Listener) -> Iterator[_Listener]:
    with listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield listener
        finally:
            listener.shutdown()
            thread.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


class Front(ThreadingHTTPServer):
    """What stands before a service: passes requests on, each as `passed` and answers as `answered` say.

    Args:
        service_url: Of the plain service.
    """

    daemon_threads = True

    def __init__(self, service_url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Front)
        self.behind = service_url.removeprefix("http://")
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.paths: list[str] = []

    def passed(self, headers: dict[str, str]) -> dict[str, str] | tuple[int, Any]:
        """Returns the headers that go on, or a refusal: status and body."""
        return headers

    def answered(self, text: str) -> str:
        """Returns an answer as it goes back."""
        return text

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of some tests."""


class TlsFront(Front):
    """What stands before a group's service: ends TLS, and names the broker by its own address.

    Args:
        service_url: Of the plain service.
        context: What a server of the name `localhost` needs.
        amqp_port: Where the broker speaks TLS.
    """

    def __init__(self, service_url: str, context: ssl.SSLContext, amqp_port: int) -> None:
        super().__init__(service_url)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.broker = f"localhost:{amqp_port}"
        self.url = f"https://localhost:{self.server_port}"

    def answered(self, text: str) -> str:
        return re.sub(r"amqp://([^@\"]+)@[\w.]+:\d+", rf"amqps://\1@{self.broker}", text)


class _Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Front

    def log_message(self, *_: Any) -> None: ...

    def _handle(self) -> None:
        self.server.paths.append(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name != "Host"}
        passed = self.server.passed(headers)
        if isinstance(passed, tuple):
            self._send(passed[0], json.dumps(passed[1]))
            return
        link = http.client.HTTPConnection(self.server.behind, timeout=60)
        link.request(self.command, self.path, body, {**passed, "Host": self.server.behind})
        answer = link.getresponse()
        text = answer.read().decode()
        link.close()
        self._send(answer.status, self.server.answered(text))

    def _send(self, status: int, text: str) -> None:
        raw = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_PUT = do_DELETE = _handle


@contextmanager
def tls_front(service_url: str, context: ssl.SSLContext, amqp_port: int) -> Iterator[TlsFront]:
    """Runs one."""
    front = TlsFront(service_url, context, amqp_port)
    with serving(front):
        yield front


@contextmanager
def serving(front: Front) -> Iterator[None]:
    """Runs a front."""
    with front:
        thread = threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            front.shutdown()
            thread.join()
