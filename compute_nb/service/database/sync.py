"""This module is the sync thread: it brings committed data to the disk itself, for all who wait at once."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from compute_nb.service.database.contract import StoreClosed, StoreUnusable

logger = logging.getLogger(__name__)

# Row changes after which the WAL is copied into the database; about 4 MB of it.
CHECKPOINT_CHANGES = 10_000


def sync_file(descriptor: int) -> None:
    """Returns when the content of a file is on the disk, not only in its cache."""
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)


class Syncer:
    """Owner of the thread `sync`. `wait` is for the loop, `wrote` for the store thread.

    It also copies the WAL into the database (checkpoint), on a connection of its own, so that commits
    never wait for the disk.

    Args:
        path: The store's file; its WAL exists.
        durable: False if waiting for the power's sake is not wanted; then only checkpoints are done.
        explain: What to tell about an error.
    """

    def __init__(self, path: Path, *, durable: bool, explain: Callable[[Exception], StoreUnusable]) -> None:
        self._path = path
        self._explain = explain
        self._durable = durable
        self._news = threading.Condition()
        self._waiting: list[asyncio.Future[None]] = []
        self._changes = 0
        self._stopping = False
        self._broken: StoreUnusable | None = None
        self._thread = threading.Thread(target=self._run, name="sync", daemon=True)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts the thread; futures are resolved on `loop`."""
        self._loop = loop
        self._wal = os.open(f"{self._path}-wal", os.O_RDWR)
        self._thread.start()

    def stop(self) -> None:
        """Syncs once more for those who wait, and joins the thread."""
        with self._news:
            self._stopping = True
            self._news.notify()
        if self._thread.is_alive():
            self._thread.join()
            os.close(self._wal)

    async def wait(self) -> None:
        """Returns when all that was committed before the call is on the disk.

        Raises:
            StoreClosed: The store is closed.
            StoreUnusable: The disk has refused a sync; from then on nothing is promised any more.
        """
        if not self._durable:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        with self._news:
            if self._stopping:
                raise StoreClosed(f"store {self._path} is closed")
            self._waiting.append(future)
            self._news.notify()
        await future

    def wrote(self, changes: int) -> None:
        """Counts changed rows towards the next checkpoint."""
        with self._news:
            self._changes += changes
            if self._changes >= CHECKPOINT_CHANGES:
                self._news.notify()

    def _run(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=0)
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            while self._round(connection):
                pass
        finally:
            connection.close()

    def _round(self, connection: sqlite3.Connection) -> bool:
        with self._news:
            self._news.wait_for(
                lambda: self._waiting or self._stopping or self._changes >= CHECKPOINT_CHANGES
            )
            waiting, self._waiting = self._waiting, []
            stopping, checkpoint = self._stopping, self._changes >= CHECKPOINT_CHANGES
            if checkpoint:
                self._changes = 0
        if waiting:
            self._sync(waiting)
        if checkpoint:
            self._checkpoint(connection)
        return not stopping

    def _sync(self, waiting: list[asyncio.Future[None]]) -> None:
        try:
            if self._broken is None:
                sync_file(self._wal)
        except OSError as error:
            # A second try would succeed without having written: the kernel has dropped the pages.
            self._broken = self._explain(error)
            logger.error("%s; submits and results are not confirmed any more", self._broken)
        self._loop.call_soon_threadsafe(_resolve, waiting, self._broken)

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            logger.warning("checkpoint of %s: %s; it is tried again later", self._path, error)


def _resolve(waiting: list[asyncio.Future[None]], error: StoreUnusable | None) -> None:
    for future in waiting:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
