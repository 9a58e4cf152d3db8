"""This module is the web server: uvicorn without its own signals and tick, with bounds for silent clients."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from compute_nb.service.app import App
from compute_nb.service.refusal import Refusal, bad_request

KEEP_ALIVE_S = 600
LAST_REPLIES_S = 2
FIRST_HEAD_S = 10.0
MAX_HEAD_BYTES = 65_536
MAX_CONNECTIONS = 1_000
MAX_SILENT = 200


class Lobby:
    """The connections that have asked nothing yet; loop thread only.

    Anybody of the host may connect, and a descriptor that a silent one takes is one that nobody else has.

    Args:
        head_s: How long one may take until the head of its first request is there.
        max_silent: How many may wait; the longest of them makes room for a new one.
        max_connections: How many there may be in all.
    """

    def __init__(self, head_s: float, max_silent: int, max_connections: int) -> None:
        self._head_s, self._max_silent, self._max = head_s, max_silent, max_connections
        self._silent: dict[Guarded, asyncio.TimerHandle] = {}

    def enter(self, link: Guarded, count: int) -> bool:
        """Takes a new connection in, as one of `count`; False if it is one too many."""
        if len(self._silent) >= self._max_silent or (self._silent and count > self._max):
            next(iter(self._silent)).abort()
        elif count > self._max:
            return False
        loop = asyncio.get_running_loop()
        self._silent[link] = loop.call_later(self._head_s, link.abort)
        return True

    def leave(self, link: Guarded) -> None:
        """It has asked something, or is gone."""
        timer = self._silent.pop(link, None)
        if timer is not None:
            timer.cancel()


class Guarded(HttpToolsProtocol):
    """A connection that must ask something soon; uvicorn calls its hooks."""

    lobby: Lobby
    _head_bytes = 0
    _in_head = True

    def data_received(self, data: bytes) -> None:
        """It has sent something. The parser keeps a head of any length: this does not."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(
                Refusal(431, "HEAD_TOO_LARGE", f"a request's head may have {MAX_HEAD_BYTES:,} bytes")
            )

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self._refuse(bad_request(msg))

    def _refuse(self, refusal: Refusal) -> None:
        """Answers in the form of all other refusals, and ends the connection: the parser is lost."""
        answer = refusal.response()
        head = [f"HTTP/1.1 {answer.status_code} Refused\r\n".encode()]
        head += [name + b": " + value + b"\r\n" for name, value in answer.raw_headers]
        self.transport.write(b"".join([*head, b"connection: close\r\n\r\n", bytes(answer.body)]))
        self.transport.close()

    def connection_made(self, transport: Any) -> None:
        """It is open."""
        super().connection_made(transport)
        if not self.lobby.enter(self, len(self.connections)):
            self.abort()

    def on_headers_complete(self) -> None:
        """It has asked."""
        self._in_head = False
        self.lobby.leave(self)
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self.lobby.leave(self)
        super().connection_lost(exc)

    def abort(self) -> None:
        """Ends it at once."""
        self.lobby.leave(self)
        self.transport.abort()


class _Config(uvicorn.Config):
    """Takes a context that is renewed while it serves, where uvicorn would read files once."""

    def __init__(self, tls: ssl.SSLContext | None, *args: Any, **kwargs: Any) -> None:
        self._tls = tls
        super().__init__(*args, **kwargs)

    def load(self) -> None:
        """Called by uvicorn."""
        super().load()
        self.ssl = self._tls


class WebServer(uvicorn.Server):
    """Serves the web API on the loop that calls `serve`, until `finish`."""

    def __init__(
        self,
        app: App,
        *,
        head_s: float = FIRST_HEAD_S,
        max_silent: int = MAX_SILENT,
        max_connections: int = MAX_CONNECTIONS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        lobby = Lobby(head_s, max_silent, max_connections)
        config = _Config(
            tls,
            app,
            http=type("GuardedHere", (Guarded,), {"lobby": lobby}),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,  # anybody can write them
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=LAST_REPLIES_S,
        )
        super().__init__(config)
        self._finished = asyncio.Event()

    def finish(self) -> None:
        """Answers what is being asked, then ends."""
        self._finished.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to the process that runs the service; called by uvicorn."""
        yield

    async def main_loop(self) -> None:
        """Waits for `finish`, where uvicorn would look ten times a second; called by uvicorn."""
        await self._finished.wait()
