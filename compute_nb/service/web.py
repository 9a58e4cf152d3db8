"""This module is the web server: uvicorn without its own signals and tick."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import uvicorn

from compute_nb.service.app import App

KEEP_ALIVE_S = 600
LAST_REPLIES_S = 2


class WebServer(uvicorn.Server):
    """Serves the web API on the loop that calls `serve`, until `finish`."""

    def __init__(self, app: App) -> None:
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
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
