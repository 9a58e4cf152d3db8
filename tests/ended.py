"""Processes that have ended: who asks at the very moment of a kill still finds them."""

from __future__ import annotations

import os
import signal
import threading
import time

import psutil

WAIT_S = 60


def kill(*pids: int) -> None:
    """Ends processes by -9, and returns when they have ended."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert not left_of(*pids)


def left_of(*pids: int, within_s: float = WAIT_S) -> list[int]:
    """Waits for the ends of processes; returns those that run on all the same."""
    limit, pause = time.monotonic() + within_s, threading.Event()
    while (left := [pid for pid in pids if not has_ended(pid)]) and time.monotonic() < limit:
        pause.wait(0.02)
    return left


def has_ended(pid: int) -> bool:
    """True also of one that nobody has buried, once its last thread has let go of files and locks."""
    try:
        is_zombie = psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        return is_zombie and len(os.listdir(f"/proc/{pid}/task")) == 1
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return True
