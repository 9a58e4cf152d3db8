"""This module is the loop of the process engine: a thread that waits for descriptors, timers and orders."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable

from compute_nb.endpoint.timers import Timers

_log = logging.getLogger(__name__)


class Loop:
    """Owns the thread `engine`.

    `start`, `order`, `ring` and `join` may be called from any thread, the rest on this one. What is
    registered with the selector has what is called as its data.

    Args:
        step: Called after whatever woke the thread.
        at_end: Called last.
    """

    def __init__(self, step: Callable[[], None], at_end: Callable[[], None]) -> None:
        self.selector, self.timers = selectors.DefaultSelector(), Timers()
        self._step, self._at_end = step, at_end
        self._orders: deque[Callable[[], None]] = deque()
        self._bell, self._ear = socket.socketpair()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._bell.setblocking(False)
        self._ear.setblocking(False)
        self.selector.register(self._ear, selectors.EVENT_READ, self._on_bell)
        self._thread.start()

    def order(self, call: Callable[[], None]) -> None:
        """Has something done on the thread."""
        self._orders.append(call)
        self.ring()

    def ring(self) -> None:
        """Has the thread come by."""
        with contextlib.suppress(OSError):  # a full pipe rings already, a closed one rings nobody
            self._bell.send(b"\0")

    def end(self) -> None:
        """This round is the last one."""
        self._is_over = True

    def join(self) -> None:
        """Waits for the thread."""
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._is_over:
                for key, _ in self.selector.select(self.timers.timeout_s()):
                    key.data()
                self.timers.run_due()
                self._step()
        except Exception:  # noqa: BLE001 - the top of the thread
            _log.critical("the engine failed; the agent ends and starts anew", exc_info=True)
            os.kill(os.getpid(), signal.SIGABRT)
        finally:
            self._at_end()
            self.selector.close()
            self._bell.close()
            self._ear.close()

    def _on_bell(self) -> None:
        self._ear.recv(4096)
        while self._orders:
            self._orders.popleft()()
