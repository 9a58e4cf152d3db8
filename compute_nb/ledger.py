"""This module is the ledger of one Executor: how many of its tasks were submitted, accepted and refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

_SLICE_S = 0.25


class Ledger:
    """Counts tasks on their way to the service. Callers enter them, the submitter's thread crosses them off.

    Attributes:
        accepted_count: Tasks that are on the service's disk.
        sent_bytecode: Whether functions of this Executor went as bytecode of this Python.
        listeners: Called on the watcher's thread with the futures that have news.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._entered = 0
        self._settled = 0
        self._refusal: BaseException | None = None
        self.accepted_count = 0
        self.sent_bytecode = False
        self.listeners: list[Callable[[list[Any]], None]] = []

    def enter(self, count: int = 1) -> None:
        """Notes tasks that are to be sent."""
        with self._changed:
            self._entered += count

    def accept(self, count: int) -> None:
        """Notes tasks that the service has on disk."""
        with self._changed:
            self.accepted_count += count
            self._settle(count)

    def drop(self, count: int) -> None:
        """Notes tasks that were cancelled before they were sent."""
        with self._changed:
            self._settle(count)

    def refuse(self, count: int, error: BaseException) -> None:
        """Notes tasks that did not get to the service."""
        with self._changed:
            self._refusal = self._refusal or error
            self._settle(count)

    def wait(self, timeout: float | None) -> None:
        """Blocks until all that was entered before this call is settled; sees an Interrupt in 0.25 s.

        Raises:
            TimeoutError: It took longer than `timeout` seconds.
            ComputeError: Why some were refused; told once.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            wanted = self._entered
            while self._settled < wanted:
                left = _SLICE_S if until is None else min(_SLICE_S, until - time.monotonic())
                if left <= 0:
                    open_count = wanted - self._settled
                    raise TimeoutError(f"{open_count} tasks were not accepted within {timeout} s")
                self._changed.wait(left)
            refusal, self._refusal = self._refusal, None
        if refusal is not None:
            raise refusal

    def tell(self, futures: Sequence[Any]) -> None:
        """Calls the listeners."""
        for listener in self.listeners:
            try:
                listener(list(futures))
            except BaseException:  # a `sys.exit` in it would end the thread of all futures
                import logging

                logging.getLogger(__name__).exception("an update callback failed")

    def _settle(self, count: int) -> None:
        self._settled += count
        self._changed.notify_all()
