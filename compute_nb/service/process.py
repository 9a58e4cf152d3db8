"""This module is the service as a process: one for each home, with its lock, log, signals and ready line."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from filelock import FileLock, Timeout

from compute_nb import logline
from compute_nb.errors import ComputeError
from compute_nb.home import Home
from compute_nb.service import logfile
from compute_nb.service.config import ServiceConfig
from compute_nb.service.lock import running
from compute_nb.service.server import Service

_log = logging.getLogger(__name__)

SWITCH_INTERVAL_S = 0.0005
OTHER_READY_S = 20.0
PROBE_S = 0.3
MAX_FILES = 4_096

Announce = Callable[[str], None]


def run_service(config: ServiceConfig, ready_fd: int | None = None, quiet: bool = False) -> int:
    """Runs the service until it is stopped; blocks, and takes over the process's signals.

    Args:
        config: What it is to be.
        ready_fd: A pipe that gets one line, `ready <url>` or `error <text>`, and is closed then. If another
            process is the service of this home already, or becomes it first, the line tells its URL.
        quiet: True keeps the log out of stderr.

    Returns:
        The exit status.

    Raises:
        ComputeError: It can't run; the same text went to `ready_fd`.
    """
    announce = _announcer(ready_fd)
    try:
        config.home.prepare()
        lock = FileLock(config.home.service_lock, mode=0o600, thread_local=False)
        other = _take(lock, config.home, wait=ready_fd is not None)
        if other is not None:
            announce(f"ready {other}")
            return 0
        try:
            _serve(config, announce, quiet)
        finally:
            lock.release()
    except ComputeError as error:
        announce(f"error {error}")
        raise
    return 0


def _take(lock: FileLock, home: Home, wait: bool) -> str | None:
    """Takes the lock, or returns the URL of the service that has it.

    Raises:
        ComputeError: Another has it, and is not ready in time or not to be waited for.
    """
    # Others take the lock for a moment, to see whether it is free.
    deadline = time.monotonic() + (OTHER_READY_S if wait else PROBE_S)
    while True:
        try:
            lock.acquire(timeout=0.1, poll_interval=0.02)
        except Timeout:
            other = running(home)
        else:
            home.service_file.unlink(missing_ok=True)
            return None
        if wait and other is not None:
            return other.url
        if time.monotonic() >= deadline:
            who = f"process {other.pid} at {other.url}" if other else "it is just starting"
            raise ComputeError(
                f"a service runs already for {home.root}: {who}; `compute-nb service stop` ends it, "
                "`compute-nb service restart` writes its files anew"
            )


def _announcer(fd: int | None) -> Announce:
    """Returns what writes one line to the pipe, the first time that it is called."""

    def announce(line: str) -> None:
        nonlocal fd
        if fd is None:
            return
        with suppress(OSError), os.fdopen(fd, "w", encoding="utf-8") as pipe:
            pipe.write(" ".join(line.split()) + "\n")
        fd = None

    return announce


def _serve(config: ServiceConfig, announce: Announce, quiet: bool) -> None:
    _start_log(config, quiet)
    _raise_file_limit()
    # Store and loop are both busy under load, and each waits this long for the other.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        asyncio.run(_run(config, announce))
    except ComputeError as error:
        _log.error("the service can't run: %s", error)
        raise
    except Exception:
        _log.exception("the service broke")
        raise
    finally:
        config.home.service_file.unlink(missing_ok=True)
        _log.info("the service has ended")


def _raise_file_limit() -> None:
    """Makes room for the connections that both ports allow.

    Not to the hard limit: agents and tasks inherit it, and programs that close all descriptors count to it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _run(config: ServiceConfig, announce: Announce) -> None:
    loop = asyncio.get_running_loop()
    service = Service(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.interrupt)

    def on_ready(ready: asyncio.Future[str]) -> None:
        if not ready.cancelled():
            announce(f"ready {ready.result()}")
            _tell_systemd(f"READY=1\nSTATUS=listens at {ready.result()}")
            gc.freeze()

    ready: asyncio.Future[str] = loop.create_future()
    ready.add_done_callback(on_ready)
    await service.run(ready)


def _tell_systemd(text: str) -> None:
    """Says to systemd that started this process how it stands (`Type=notify`); to nobody elsewhere."""
    place = os.environ.pop("NOTIFY_SOCKET", "")
    if place:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(text.encode(), "\0" + place[1:] if place.startswith("@") else place)


def _start_log(config: ServiceConfig, quiet: bool) -> None:
    """Writes to the service's log file, for its owner only, and to stderr if somebody looks there."""
    handlers = [logfile.handler(config.home.service_log)]
    if not quiet:
        handlers.append(logging.StreamHandler())
    logline.begin(handlers, config.log_level, config.log_json)
    # Its local agents say as much.
    os.environ[logline.VARIABLE] = logline.spelled(config.log_level, config.log_json)
