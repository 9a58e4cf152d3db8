"""This module is what the service does now and then: tasks expire, its files stay, it may end itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from compute_nb.service.own_files import OwnFiles
from compute_nb.service.parts import Parts

_log = logging.getLogger(__name__)

PERIOD_S = 15.0  # a start waits for 20 s until it can read where the service is


class Housekeeping:
    """Runs beside the work, on the loop; nothing waits for it.

    Args:
        files: By which the service is found.
        stopping: Set when the service ends.
        renew: Takes a renewed certificate, if there is one.
    """

    def __init__(
        self,
        parts: Parts,
        files: OwnFiles,
        stopping: asyncio.Event,
        renew: Callable[[], None],
    ) -> None:
        self._parts, self._files = parts, files
        self._renew = renew
        self._stopping = stopping
        self._busy_at = time.monotonic()

    async def run(self) -> None:
        """Looks once a period, until the service ends."""
        period_s = min(PERIOD_S, self._parts.config.idle_s / 4)
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), period_s)
                return
            try:
                if self._files.home_is_gone():
                    _log.error("the home folder was deleted or replaced: the service ends")
                    self._parts.stop(False)
                    return
                self._renew()
                self._files.restore()
                await self._expire()
                await self._end_if_idle()
            except Exception:  # noqa: BLE001 - the top of a task of the loop
                _log.exception("housekeeping failed, it is tried again in %.0f s", period_s)

    async def _expire(self) -> None:
        ended = await self._parts.store.expire()
        self._parts.publisher.ended(ended)

    async def _end_if_idle(self) -> None:
        parts = self._parts
        if not parts.config.auto:
            return
        if parts.collector.watchers or await parts.store.open_count():
            self._busy_at = time.monotonic()
        idle_s = time.monotonic() - max(self._busy_at, parts.gate.last_used_at)
        if idle_s >= parts.config.idle_s:
            _log.info("no tasks, watchers or requests for %.0f s: the service ends", idle_s)
            parts.stop(False)
