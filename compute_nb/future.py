"""This module is the future of a task: it ends when the result is here, and reads it when it is asked for.

The watcher's thread ends futures, any thread may wait. A future costs a fraction of the standard one, since
its condition is made when somebody first waits on it; until then one lock of the module guards all of them.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, NoReturn, Protocol
from uuid import UUID

from compute_nb.errors import (
    ComputeError,
    DeserializationError,
    SerializationError,
    StillOpen,
    TaskExecutionFailed,
    TaskWithdrawn,
)
from compute_nb.failure import failure
from compute_nb.live import LiveText
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.tasks import ErrorCode, Move, Printed, TaskResult, TaskState
from compute_nb.terms import Terms

# The states of concurrent.futures, which its `wait` and `as_completed` look at.
_PENDING = "PENDING"
_FINISHED = "FINISHED"
_CANCELLED = "CANCELLED_AND_NOTIFIED"
_SLICE_S = 0.25
_PLAIN = ComputeSerializer()

_lock = threading.Lock()


def _new_lock() -> None:
    global _lock  # noqa: PLW0603 - the parent's may have been held at the fork
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_new_lock)


def _wake(waiter: Any) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Keeper(Protocol):
    """Whoever a future tells that it was cancelled, and asks what it does not know itself."""

    process_id: int

    @property
    def can_cancel(self) -> bool:
        """True if the service ends tasks when it is asked to."""

    def cancel(self, futures: Iterable[ComputeFuture]) -> None:
        """Has the service end these tasks; does not block."""

    def environment(self, endpoint_id: UUID) -> Mapping[str, Any]:
        """What the endpoint's agent said of itself; {} if nothing is known."""

    def online(self, endpoint_id: UUID) -> bool | None:
        """True if an agent of the endpoint takes tasks now; None if that is not known."""

    def answered(self, endpoint_id: UUID) -> None:
        """A result of that endpoint is about to be read, on the thread of whoever asked for it."""


class Source(Protocol):
    """Whoever can get what came of tasks that had ended before their futures were made."""

    def fetch(self, future: ComputeFuture) -> None:
        """Calls `fill` of this future, and perhaps of others; blocks.

        Raises:
            ComputeError: The service can't be asked now.
        """


class ComputeFuture(Future[Any]):
    """The result to come of one task.

    `cancel` ends the future at once and the request to end the task follows. A failed task raises
    `TaskExecutionFailed` and, where its type exists here, that type too. Waiting stops by `TimeoutError` or
    an Interrupt and leaves the task alone; so does stopping an `await`.

    Attributes:
        terms: Where the task was sent and how.
        submitted_at, started_at, ended_at: Seconds since the epoch, None if not known.
        attempt: 0 for the first.
        sent: True once a request with the task has been tried.
        named: False until the service has named the task, where ids are made there.
    """

    __slots__ = (
        "_cond",
        "_done_callbacks",
        "_error_code",
        "_exception",
        "_id",
        "_keeper",
        "_live",
        "_raw",
        "_result",
        "_source",
        "_state",
        "_waiters",
        "attempt",
        "ended_at",
        "named",
        "sent",
        "started_at",
        "state",
        "submitted_at",
        "terms",
    )

    def __init__(
        self, task_id: UUID | None = None, terms: Terms | None = None, keeper: Keeper | None = None
    ) -> None:
        # Not the base's: it would make a condition and a lock, five times the rest.
        self._id = task_id
        self._keeper = keeper
        self._cond: threading.Condition | None = None
        self._state: str = _PENDING
        self._result: Any = None
        self._exception: BaseException | None = None
        self._waiters: Any = ()
        self._done_callbacks: Any = ()
        self.terms = terms
        self.state = TaskState.WAITING
        self.submitted_at: float | None = None
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.attempt = 0
        self.sent = False
        self.named = True
        self._error_code: str | None = None
        self._raw: str | None = None
        self._source: Source | None = None
        self._live: LiveText | None = None

    @classmethod
    def ended(
        cls, task_id: UUID, terms: Terms, keeper: Keeper, state: TaskState, source: Source
    ) -> ComputeFuture:
        """Returns the future of a task that has ended; `source` is asked later what came of it."""
        future = cls(task_id, terms, keeper)
        future.state, future._state, future.sent, future._source = state, _FINISHED, True, source
        return future

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            "a future stands for a value that is not here yet, and no other process can wait for it"
        )

    def __repr__(self) -> str:
        return f"<ComputeFuture {self._told}, {self.state.word}>"

    @property
    def _told(self) -> str:
        """What messages call the task."""
        label = "" if self.terms is None else self.terms.label
        return f"{label}: task {self._id}" if label else f"task {self._id}"

    # -- what is known of the task

    @property
    def task_id(self) -> str | None:
        """The task's id as text; None as long as the service has not named it."""
        return str(self._id) if self._id is not None and self.named else None

    @property
    def id(self) -> UUID:
        """The task's id; a provisional one as long as the service has not named it.

        Raises:
            ComputeError: This future stands for no task.
        """
        if self._id is None:
            raise ComputeError("this future was made without a task")
        return self._id

    @property
    def task_group_id(self) -> str | None:
        """The id of the task's group as text."""
        return None if self.terms is None else str(self.terms.task_group_id)

    @property
    def raw(self) -> str | None:
        """The packed value, or the text of the error, as it came; None before. Blocks after a reload.

        Raises:
            ComputeError: It has to be fetched and the service can't be asked now.
        """
        if self._source is not None:
            self._source.fetch(self)
        return self._raw

    @property
    def error_code(self) -> str | None:
        """What kind of failure it was, one of `tasks.ErrorCode`; as `raw`."""
        if self._source is not None:
            self._source.fetch(self)
        return self._error_code

    @property
    def live_text(self) -> str:
        """What the task's present attempt has printed so far, as far as it is known here; "" if nothing.

        At most 64 KiB, the middle is left out. A preview: what comes from a service or an endpoint that
        does not tell it stays "". When the task has ended it is "" again, unless its worker was ended under
        it: then the last words stay.
        """
        live = self._live
        return "" if live is None else live.text

    @property
    def live_at(self) -> float:
        """When `live_text` grew last, on the monotonic clock; 0.0 if it never did."""
        live = self._live
        return 0.0 if live is None else live.heard_at

    @property
    def _metadata(self) -> dict[str, str | None]:
        """The ids under the published SDK's names; the request's and the Executor's are not kept."""
        if self.terms is None:
            return {}
        group, endpoint = str(self.terms.task_group_id), str(self.terms.endpoint_id)
        return {
            "request_uuid": None,
            "endpoint_uuid": endpoint,
            "task_group_uuid": group,
            "executor_id": None,
        }

    @property
    def environment(self) -> Mapping[str, Any]:
        """What the agent of the task's endpoint said of itself: python, dill, platform, hostname, ..."""
        if self.terms is None or self._keeper is None:
            return {}
        return self._keeper.environment(self.terms.endpoint_id)

    @property
    def endpoint_online(self) -> bool | None:
        """True if an agent of the task's endpoint takes tasks now; None if that is not known."""
        if self.terms is None or self._keeper is None:
            return None
        return self._keeper.online(self.terms.endpoint_id)

    def running(self) -> bool:
        """True while a worker runs the task, as far as is known here."""
        return self.state is TaskState.RUNNING

    # -- waiting

    def result(self, timeout: float | None = None) -> Any:
        """Returns the task's value; blocks for at most `timeout` seconds.

        Raises:
            TimeoutError: You stopped waiting; the task goes on.
            CancelledError: This future was cancelled.
            TaskExecutionFailed: The task failed; also of the error's own type.
            SerializationError: The task succeeded, and its value could not be sent.
            DeserializationError: The value can't be read here; asking again tries again.
            ComputeError: The task never got to the service, or its service is out of reach for good.
        """
        error = self.exception(timeout)
        try:
            if error is not None:
                raise error.with_traceback(None)  # it is raised at each asking: one trace, not all of them
            return self._result
        finally:
            error = None  # a traceback that holds its own error is a circle

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Returns what `result` would raise, None for a value; blocks as it does.

        Raises:
            TimeoutError: You stopped waiting.
            CancelledError: This future was cancelled.
        """
        self._wait(timeout)
        if self._state == _CANCELLED:
            raise TaskWithdrawn(self._why_cancelled())
        if self._result is None and self._exception is None:
            raw = self.raw
            if raw is not None:
                return self._read(raw)
        return self._exception

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
        if self._state != _PENDING:
            return
        if self._keeper is not None and self._keeper.process_id != os.getpid():
            raise ComputeError(
                f"task {self._id} is watched by process {self._keeper.process_id}, from which this one was "
                "forked; wait there, or make a new Executor here and call its reload_tasks"
            )
        until = None if timeout is None else time.monotonic() + timeout
        with self._condition:
            while self._state == _PENDING:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise StillOpen(
                        f"{self._told} has not ended within {timeout:.3g} s; it goes on ({self.state.word})"
                    )
                self._condition.wait(left)

    def _read(self, raw: str) -> BaseException | None:
        """Decodes what came. A value that can't be read may be readable later, so that is not kept."""
        if self._keeper is not None and self.terms is not None:
            self._keeper.answered(self.terms.endpoint_id)
        serializer = _PLAIN if self.terms is None else self.terms.serializer
        if self.state is not TaskState.SUCCEEDED:
            ended_at, code = self.ended_at, self._error_code
            error = failure(raw, serializer, state=self.state, code=code, ended_at=ended_at)
            self._exception = error
            return error
        try:
            self._result = serializer.deserialize(raw)
        except DeserializationError as error:
            unread = DeserializationError(f"the value of task {self._id}: {error}")
            unread.__cause__ = error
            return unread
        except SerializationError as error:  # it never left the worker, which is what came instead says
            return error
        return None

    def _why_cancelled(self) -> str:
        if self.sent and self._keeper is not None and not self._keeper.can_cancel:
            return f"{self._told} was cancelled here only: its service can't be told, it may still run"
        return f"{self._told} was cancelled"

    # -- ending; the watcher's and the submitter's threads

    def name(self, task_id: UUID) -> None:
        """Takes the id that the service has given to the task."""
        self._id, self.named = task_id, True

    def take(self, result: TaskResult) -> bool:
        """Ends with what the service says; False if it had ended already."""
        return self._end(_FINISHED, result.state, result=result)

    def fill(self, result: TaskResult, endpoint_id: UUID | None = None) -> None:
        """Notes what came of a task that had ended before this future was made.

        Args:
            endpoint_id: Where the task went, if that is another endpoint than that of its group.
        """
        with _lock:
            if self._source is None:
                return
            self._note(result)
            self.state, self._source = result.state, None
            if self.terms is not None and endpoint_id not in (None, self.terms.endpoint_id):
                self.terms = replace(self.terms, endpoint_id=endpoint_id)

    def follow(self, move: Move) -> bool:
        """Notes how the task stands; False if it had ended already."""
        with _lock:
            if self._state != _PENDING:
                return False
            if self._live is not None and self._live.attempt < move.attempt:
                self._live = None
            self.state, self.attempt = move.state, move.attempt
            if move.state is TaskState.RUNNING:
                self.started_at = move.at
        return True

    def hear(self, printed: Printed) -> bool:
        """Notes what the task has printed; False if nothing changes by it."""
        with _lock:
            live, attempt = self._live, printed.run.attempt
            known = self.attempt if live is None else max(self.attempt, live.attempt)
            if self._state != _PENDING or attempt < known:
                return False
            if live is None or live.attempt < attempt:
                live = LiveText(attempt)
            self._live = live.more(printed.start, printed.text)
        return self._live is not live

    def fail(self, error: BaseException) -> bool:
        """Ends with an error of our own; False if it had ended already."""
        return self._end(_FINISHED, TaskState.FAILED, error=error)

    def set_result(self, result: Any) -> None:
        """Ends with a value that is here; for futures made by hand."""
        self._end(_FINISHED, TaskState.SUCCEEDED, value=result)

    def set_exception(self, exception: BaseException | None) -> None:
        """Ends with an error; for futures made by hand."""
        self.fail(exception or TaskExecutionFailed("no reason was given"))

    def cancel(self) -> bool:
        """Ends this future now and asks the service to end the task; False if it has ended otherwise."""
        if not self.withdraw():
            return self.cancelled()
        if self._keeper is not None:
            self._keeper.cancel((self,))
        return True

    def withdraw(self) -> bool:
        """Ends this future as cancelled and tells nobody; False if it had ended already."""
        return self._end(_CANCELLED, TaskState.CANCELLED)

    def _end(
        self,
        future_state: str,
        state: TaskState,
        *,
        result: TaskResult | None = None,
        error: BaseException | None = None,
        value: Any = None,
    ) -> bool:
        with _lock:
            if self._state != _PENDING:
                return False
            condition = self._cond
            if condition is None:
                self._fill(future_state, state, result, error, value)
        # Somebody waits, perhaps counting under this condition how many are still pending.
        if condition is not None:
            with condition:
                if self._state != _PENDING:
                    return False
                with _lock:
                    self._fill(future_state, state, result, error, value)
                for waiter in self._waiters:
                    self._tell(waiter)
                condition.notify_all()
        callbacks, self._done_callbacks = self._done_callbacks, ()
        for callback in callbacks:
            self._call(callback)
        return True

    def _fill(
        self,
        future_state: str,
        state: TaskState,
        result: TaskResult | None,
        error: BaseException | None,
        value: Any,
    ) -> None:
        self.state, self._exception, self._result = state, error, value
        if result is None:
            self.ended_at = time.time()
        else:
            self._note(result)
        if self._live is not None:
            kept = state is not TaskState.SUCCEEDED and self._error_code != ErrorCode.REMOTE
            self._live = self._live.last_words() if kept else None
        self._state = future_state

    def _note(self, result: TaskResult) -> None:
        self._raw, self._error_code, self.attempt = result.data, result.error_code, result.attempt
        self.submitted_at = result.submitted_at or self.submitted_at
        self.started_at = result.started_at or self.started_at
        self.ended_at = result.ended_at

    def _tell(self, waiter: Any) -> None:
        if self._state == _CANCELLED:
            waiter.add_cancelled(self)
        elif self.state is TaskState.SUCCEEDED:
            waiter.add_result(self)
        else:
            waiter.add_exception(self)

    # -- what concurrent.futures reaches for

    def done(self) -> bool:
        """True if it has ended, in whatever way."""
        return self._state != _PENDING

    def cancelled(self) -> bool:
        """True if it was cancelled here."""
        return self._state == _CANCELLED

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Has `fn(self)` called when it ends, on the thread that ends it; at once if it has."""
        with _lock:
            if self._state == _PENDING:
                self._done_callbacks = [*self._done_callbacks, fn]
                return
        self._call(fn)

    def _call(self, callback: Callable[[Any], object]) -> None:
        try:
            callback(self)
        except BaseException:  # a `sys.exit` in it would end the thread of all futures
            import logging

            logging.getLogger(__name__).exception("a callback of task %s failed", self._id)

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
