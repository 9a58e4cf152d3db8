"""This module is the future of a task: it ends when the result is here, and reads it when it is asked for.

The watcher's thread ends futures, any thread may wait.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import InvalidStateError
from dataclasses import replace
from typing import Any, NoReturn, Protocol
from uuid import UUID

from compute_nb.environment import suspicion_of
from compute_nb.errors import (
    ComputeError,
    DeserializationError,
    SerializationError,
    StillOpen,
    TaskExecutionFailed,
    TaskWithdrawn,
)
from compute_nb.failure import failure
from compute_nb.lean import CANCELLED, FINISHED, PENDING, LeanFuture, guard
from compute_nb.live import LiveText
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.tasks import ErrorCode, Move, Printed, TaskResult, TaskState
from compute_nb.terms import Terms

_PLAIN = ComputeSerializer()


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


OFFLINE = "its endpoint is offline, and what has not begun runs when that is back"


class ComputeFuture(LeanFuture):
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
        "_error_code",
        "_id",
        "_keeper",
        "_live",
        "_raw",
        "_source",
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
        super().__init__()
        self._id = task_id
        self._keeper = keeper
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
        future.state, future._state, future.sent, future._source = state, FINISHED, True, source
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
    def fetched(self) -> bool:
        """Whether what came of the task is here, as far as it has come: `raw` does not block then."""
        return self._source is None

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
        it: then its beginning and its end stay.
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
                # It is raised at each asking: one trace, not all of them. Users see the next line.
                raise error.with_traceback(None)
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
        if self._state == CANCELLED:
            raise TaskWithdrawn(self._why_cancelled())
        if self._result is None and self._exception is None:
            raw = self.raw
            if raw is not None:
                return self._read(raw)
        return self._exception

    def _check_waiter(self) -> None:
        """As in `LeanFuture`: the thread that ends it is not in a forked process."""
        if self._keeper is not None and self._keeper.process_id != os.getpid():
            raise ComputeError(
                f"task {self._id} is watched by process {self._keeper.process_id}, from which this one was "
                "forked; wait there, or make a new Executor here and call its reload_tasks"
            )

    def _still_open(self, timeout: float) -> TimeoutError:
        """As in `LeanFuture`."""
        goes_on = "it goes on" if self.endpoint_online is not False else OFFLINE
        return StillOpen(f"{self._told} has not ended within {timeout:.3g} s; {goes_on} ({self.state.word})")

    def _has_value(self) -> bool:
        """As in `LeanFuture`."""
        return self.state is TaskState.SUCCEEDED

    def _read(self, raw: str) -> BaseException | None:
        """Decodes what came. A value that can't be read may be readable later, so that is not kept."""
        if self._keeper is not None and self.terms is not None:
            self._keeper.answered(self.terms.endpoint_id)
        serializer = _PLAIN if self.terms is None else self.terms.serializer
        if self.state is not TaskState.SUCCEEDED:
            ended_at, code = self.ended_at, self._error_code
            error = failure(raw, serializer, state=self.state, code=code, ended_at=ended_at)
            self._suspect(error)
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

    def _suspect(self, error: BaseException) -> None:
        """Adds that another Python ran bytecode of this one: the warning before it may be long forgotten."""
        if self.terms is None or not self.terms.ledger.sent_bytecode:
            return
        if (note := suspicion_of(self.environment)) is not None:
            error.add_note(note)

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
        return self._end(FINISHED, result.state, result=result)

    def fill(self, result: TaskResult, endpoint_id: UUID | None = None) -> None:
        """Notes what came of a task that had ended before this future was made.

        Args:
            endpoint_id: Where the task went, if that is another endpoint than that of its group.
        """
        with guard():
            if self._source is None:
                return
            self._note(result)
            self.state, self._source = result.state, None
            if self.terms is not None and endpoint_id not in (None, self.terms.endpoint_id):
                self.terms = replace(self.terms, endpoint_id=endpoint_id)

    def follow(self, move: Move) -> bool:
        """Notes how the task stands; False if it had ended already."""
        with guard():
            if self._state != PENDING:
                return False
            if self._live is not None and self._live.attempt < move.attempt:
                self._live = None
            self.state, self.attempt = move.state, move.attempt
            if move.state is TaskState.RUNNING:
                self.started_at = move.at
        return True

    def hear(self, printed: Printed) -> bool:
        """Notes what the task has printed; False if nothing changes by it."""
        with guard():
            live, attempt = self._live, printed.run.attempt
            known = self.attempt if live is None else max(self.attempt, live.attempt)
            if self._state != PENDING or attempt < known:
                return False
            if live is None or live.attempt < attempt:
                live = LiveText(attempt)
            self._live = live.more(printed.start, printed.text)
        return self._live is not live

    def fail(self, error: BaseException) -> bool:
        """Ends with an error of our own; False if it had ended already."""
        return self._end(FINISHED, TaskState.FAILED, error=error)

    def set_running_or_notify_cancel(self) -> bool:
        """Notes that it runs; for futures made by hand. False if it was cancelled.

        Raises:
            InvalidStateError: It has ended.
        """
        with guard():
            if self._state == PENDING:
                self.state = TaskState.RUNNING
                return True
        if self._state == CANCELLED:
            return False
        raise self._ended_before()

    def set_result(self, result: Any) -> None:
        """Ends with a value that is here; for futures made by hand.

        Raises:
            InvalidStateError: It has ended.
        """
        if not self._end(FINISHED, TaskState.SUCCEEDED, value=result):
            raise self._ended_before()

    def set_exception(self, exception: BaseException | None) -> None:
        """Ends with an error; for futures made by hand.

        Raises:
            InvalidStateError: It has ended.
        """
        if not self.fail(exception or TaskExecutionFailed("no reason was given")):
            raise self._ended_before()

    def _ended_before(self) -> InvalidStateError:
        return InvalidStateError(f"{self._told} has ended already: {self.state.word}")

    def cancel(self) -> bool:
        """Ends this future now and asks the service to end the task; False if it has ended otherwise."""
        if not self.withdraw():
            return self.cancelled()
        if self._keeper is not None:
            self._keeper.cancel((self,))
        return True

    def withdraw(self) -> bool:
        """Ends this future as cancelled and tells nobody; False if it had ended already."""
        return self._end(CANCELLED, TaskState.CANCELLED)

    def _end(
        self,
        future_state: str,
        state: TaskState,
        *,
        result: TaskResult | None = None,
        error: BaseException | None = None,
        value: Any = None,
    ) -> bool:
        return self._settle(future_state, lambda: self._fill(state, result, error, value))

    def _fill(
        self, state: TaskState, result: TaskResult | None, error: BaseException | None, value: Any
    ) -> None:
        self.state, self._exception, self._result = state, error, value
        if result is None:
            self.ended_at = time.time()
        else:
            self._note(result)
        if self._live is not None:
            kept = state is not TaskState.SUCCEEDED and self._error_code != ErrorCode.REMOTE
            self._live = self._live.ended() if kept else None

    def _note(self, result: TaskResult) -> None:
        self._raw, self._error_code, self.attempt = result.data, result.error_code, result.attempt
        self.submitted_at = result.submitted_at or self.submitted_at
        self.started_at = result.started_at or self.started_at
        self.ended_at = result.ended_at
