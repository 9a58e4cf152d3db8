"""This module is what the service does now and then: tasks expire, old ones go, files stay, it may end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from compute_nb.service.own_files import OwnFiles
from compute_nb.service.parts import Parts
from compute_nb.service.retention import Retention

_log = logging.getLogger(__name__)

SWEEP_S = 86_400.0
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
        self._sweep_at = self._busy_at

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
                    self._parts.stop(False, False)
                    return
                self._renew()
                self._files.restore()
                await self._expire()
                await self._sweep()
                await self._end_if_idle()
            except Exception:  # noqa: BLE001 - the top of a task of the loop
                _log.exception("housekeeping failed, it is tried again in %.0f s", period_s)

    async def _expire(self) -> None:
        ended = await self._parts.store.expire()
        self._parts.publisher.ended(ended)

    async def _sweep(self) -> None:
        """Notes what was handed to somebody, and forgets once a day what was kept long enough."""
        parts = self._parts
        await parts.store.fetched(parts.publisher.take_told(parts.collector.read_queues))
        if time.monotonic() < self._sweep_at:
            return
        self._sweep_at = time.monotonic() + SWEEP_S
        began = time.monotonic()
        deleted = await parts.store.sweep(parts.config.retention or Retention())
        if deleted:
            _log.info(
                "%s tasks were kept long enough: forgotten in %.1f s", deleted, time.monotonic() - began
            )

    async def _end_if_idle(self) -> None:
        parts = self._parts
        if not parts.config.auto:
            return
        if parts.collector.watchers or await parts.store.open_count():
            self._busy_at = time.monotonic()
        idle_s = time.monotonic() - max(self._busy_at, parts.gate.last_used_at)
        if idle_s >= parts.config.idle_s:
            _log.info("no tasks, watchers or requests for %.0f s: the service ends", idle_s)
            parts.stop(False, False)
