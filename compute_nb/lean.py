"""This module is the lean future: waiting and ending as in `concurrent.futures`, at a fraction of the cost.

A condition is made when somebody first waits; until then one lock of the module guards all futures.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any

# The states of concurrent.futures, which its `wait` and `as_completed` look at.
PENDING = "PENDING"
FINISHED = "FINISHED"
CANCELLED = "CANCELLED_AND_NOTIFIED"
_SLICE_S = 0.25

_lock = threading.Lock()


def _new_lock() -> None:
    global _lock  # noqa: PLW0603 - the parent's may have been held at the fork
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_new_lock)


def guard() -> threading.Lock:
    """The lock under which futures change as long as nobody waits on them."""
    return _lock


def _wake(waiter: Any) -> None:
    if not waiter.done():
        waiter.set_result(None)


class LeanFuture(Future[Any]):
    """A future that some thread ends, once; any thread may wait, a coroutine too.

    Below it is said what a value is: `result`, `exception` and the methods that raise NotImplementedError.
    """

    __slots__ = ("_cond", "_done_callbacks", "_exception", "_result", "_state", "_waiters")

    def __init__(self) -> None:
        # Not the base's: it would make a condition and a lock, five times the rest.
        self._cond: threading.Condition | None = None
        self._state: str = PENDING
        self._result: Any = None
        self._exception: BaseException | None = None
        self._waiters: Any = ()
        self._done_callbacks: Any = ()

    # -- what is said below

    @property
    def _told(self) -> str:
        """What messages call it."""
        raise NotImplementedError

    def _has_value(self) -> bool:
        """True if it ended with a value."""
        raise NotImplementedError

    def _check_waiter(self) -> None:
        """Raises if nobody who waits here can ever be woken."""
        raise NotImplementedError

    def _still_open(self, timeout: float) -> TimeoutError:
        """What tells somebody who waited for so many seconds that it has not ended."""
        raise NotImplementedError

    # -- waiting

    def __await__(self) -> Generator[Any, None, Any]:
        """Waits in an event loop; ending the wait does not cancel the task."""
        return self._awaited().__await__()

    async def _awaited(self) -> Any:
        import asyncio  # whoever awaits has loaded it; for all others it is a tenth of a second

        loop = asyncio.get_running_loop()
        waiter = loop.create_future()

        def wake(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(_wake, waiter)

        self.add_done_callback(wake)
        try:
            # In slices: an Interrupt is seen only when the loop wakes.
            while not waiter.done():
                await asyncio.wait((waiter,), timeout=_SLICE_S)
        finally:
            self._forget_callback(wake)
        return self.result(0)

    def _wait(self, timeout: float | None) -> None:
        if self._state != PENDING:
            return
        self._check_waiter()
        until = None if timeout is None else time.monotonic() + timeout
        with self._condition:
            while self._state == PENDING:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    assert timeout is not None
                    raise self._still_open(timeout)
                self._condition.wait(left)

    # -- ending

    def _settle(self, state: str, fill: Callable[[], None]) -> bool:
        """Ends, by a call of `fill` under the lock; False if it had ended already."""
        with _lock:
            if self._state != PENDING:
                return False
            condition = self._cond
            if condition is None:
                fill()
                self._state = state
        # Somebody waits, perhaps counting under this condition how many are still pending.
        if condition is not None:
            with condition:
                if self._state != PENDING:
                    return False
                with _lock:
                    fill()
                    self._state = state
                for waiter in self._waiters:
                    self._tell(waiter)
                condition.notify_all()
        callbacks, self._done_callbacks = self._done_callbacks, ()
        for callback in callbacks:
            self._call(callback)
        return True

    def _tell(self, waiter: Any) -> None:
        if self._state == CANCELLED:
            waiter.add_cancelled(self)
        elif self._has_value():
            waiter.add_result(self)
        else:
            waiter.add_exception(self)

    # -- what concurrent.futures reaches for

    def done(self) -> bool:
        """True if it has ended, in whatever way."""
        return self._state != PENDING

    def cancelled(self) -> bool:
        """True if it was cancelled here."""
        return self._state == CANCELLED

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Has `fn(self)` called when it ends, on the thread that ends it; at once if it has."""
        with _lock:
            if self._state == PENDING:
                self._done_callbacks = [*self._done_callbacks, fn]
                return
        self._call(fn)

    def _call(self, callback: Callable[[Any], object]) -> None:
        try:
            callback(self)
        except BaseException:  # a `sys.exit` in it would end the thread of all futures
            import logging

            logging.getLogger(__name__).exception("a callback of %s failed", self._told)

    def _forget_callback(self, fn: Callable[[Any], object]) -> None:
        with _lock:
            self._done_callbacks = [one for one in self._done_callbacks if one is not fn]

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        with _lock:
            if self._cond is None:
                self._waiters = []
                self._cond = threading.Condition()
            return self._cond
