"""This module is what a task means: its states, their moves, its ids and the records that cross processes.

All records are frozen, hold `uuid.UUID` and seconds since the epoch, and know nothing of how they are spelled
(`compute_nb.wire`) or how they travel (`compute_nb.client`, `compute_nb.amqp`).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

from compute_nb.errors import ComputeError

MAX_RETRIES = 1_000


class TaskState(Enum):
    """Where a task stands; the value is what programs read, `word` is for people."""

    WAITING = "WAITING"
    DELIVERED = "DELIVERED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    LOST = "LOST"

    @property
    def ended(self) -> bool:
        """True if a future for the task has nothing more to wait for."""
        return self not in OPEN

    @property
    def word(self) -> str:
        """One of waiting, taken, running, done, failed, cancelled, lost."""
        return _WORDS.get(self, self.value.lower())


_WORDS = {TaskState.DELIVERED: "taken", TaskState.SUCCEEDED: "done"}

OPEN = frozenset({TaskState.WAITING, TaskState.DELIVERED, TaskState.RUNNING})
ENDS = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED})

MOVES: Mapping[TaskState, frozenset[TaskState]] = {
    TaskState.WAITING: ENDS | {TaskState.DELIVERED, TaskState.RUNNING, TaskState.LOST},
    TaskState.DELIVERED: ENDS | {TaskState.RUNNING, TaskState.WAITING, TaskState.LOST},
    TaskState.RUNNING: ENDS | {TaskState.WAITING, TaskState.LOST},
    TaskState.LOST: frozenset({TaskState.SUCCEEDED, TaskState.FAILED}),
    TaskState.SUCCEEDED: frozenset(),
    TaskState.FAILED: frozenset(),
    TaskState.CANCELLED: frozenset(),
}


class IllegalMove(ComputeError):
    """A task was to be moved to a state that it cannot reach from where it is."""


def move(task_id: UUID, old: TaskState, new: TaskState) -> TaskState:
    """Returns `new` if a task may go there from `old`.

    Raises:
        IllegalMove: It may not; the text names the task and both states.
    """
    if new not in MOVES[old]:
        raise IllegalMove(f"task {task_id} cannot go from {old.value} to {new.value}")
    return new


def sources(new: TaskState) -> frozenset[TaskState]:
    """The states from which a task may come to `new`."""
    return frozenset(old for old, news in MOVES.items() if new in news)


class ErrorCode:
    """The codes that say why a task ended without a value; the published ones and ours."""

    REMOTE = "RemoteExecutionError"
    TOO_LARGE = "MaxResultSizeExceeded"
    WORKER_DIED = "WorkerDied"
    WALLTIME = "WalltimeExceeded"
    LOST = "TaskLost"
    START_FAILED = "EndpointStartFailed"
    EXPIRED = "TaskExpired"
    CANCELLED = "TaskCancelled"


class _Counter:
    """Version 7 UUIDs (RFC 9562) that grow within this process, also within one millisecond."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0
        self._drawn_ms = 0

    def draw(self, count: int) -> list[UUID]:
        """Returns `count` new ids in growing order, from one random draw a millisecond."""
        with self._lock:
            now_ms = int(time.time() * 1000)
            if now_ms != self._drawn_ms:
                self._drawn_ms = now_ms
                fresh = (now_ms << 74) | (int.from_bytes(os.urandom(9), "big") >> 1)
                self._next = max(fresh, self._next)
            first = self._next
            self._next += count
        return [_spread(first + i) for i in range(count)]

    def after_fork(self) -> None:
        """Begins with a draw of its own: the parent process goes on where it is."""
        self._lock = threading.Lock()
        self._next = self._drawn_ms = 0


def _spread(bits: int) -> UUID:
    """Lays 48 bits of time and 74 of counter around the version and variant bits."""
    unix_ms, counter = bits >> 74, bits & ((1 << 74) - 1)
    high, low = counter >> 62, counter & ((1 << 62) - 1)
    return UUID(int=(unix_ms << 80) | (7 << 76) | (high << 64) | (0b10 << 62) | low)


_counter = _Counter()
os.register_at_fork(after_in_child=_counter.after_fork)
new_ids = _counter.draw


def new_id() -> UUID:
    """Returns one new version 7 UUID."""
    return new_ids(1)[0]


class Run(NamedTuple):
    """One run of a task: the task and the attempt, 0 for the first."""

    task_id: UUID
    attempt: int


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task as a client submits it; `args` is the packed text of (args, kwargs)."""

    task_id: UUID
    function_id: UUID
    args: str


@dataclass(frozen=True, slots=True)
class Submission:
    """One submit request to one endpoint.

    Attributes:
        tasks: In the order of the request.
        options: What travels to the agent unread: result_serializers, resource_specification,
            user_endpoint_config, walltime_s, context. Only the keys that were given.
        client_ids: True if the client made the task ids, so that repeating it is harmless.
        hold: True if the tasks wait for a later submit to the same group.
        user_runtime: The client's versions, as it tells them; a published agent may start another process
            for each.
    """

    endpoint_id: UUID
    task_group_id: UUID
    tasks: tuple[TaskSpec, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    retries: int = 0
    hold: bool = False
    client_ids: bool = True
    create_queue: bool = False
    user_runtime: Mapping[str, Any] = field(default_factory=dict)


class Outcome(Enum):
    """How one run of a task ended, as the agent saw it."""

    SUCCESS = "success"
    ERROR = "error"
    DIED = "died"
    CANCELLED = "cancelled"


class RunResult(NamedTuple):
    """The end of one run: `data` is the packed value, or the text of the error."""

    run: Run
    outcome: Outcome
    data: str
    error_code: str | None
    started_at: float | None
    ended_at: float | None


class Broken(NamedTuple):
    """A run that had begun when its worker or agent was lost."""

    run: Run
    reason: str


class Started(NamedTuple):
    """A run that is running since `started_at`."""

    run: Run
    started_at: float


class Printed(NamedTuple):
    """Some text that a running task has printed; `start` counts the characters of that run before it."""

    run: Run
    task_group_id: UUID
    start: int
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """What an agent tells the service while it works."""

    session: UUID
    held: tuple[Run, ...] = ()
    running: tuple[Started, ...] = ()
    results: tuple[RunResult, ...] = ()
    returned: tuple[Run, ...] = ()
    printed: tuple[Printed, ...] = ()

    @property
    def only_printed(self) -> bool:
        """Whether nothing in it is to be kept."""
        return not (self.held or self.running or self.results or self.returned)


@dataclass(frozen=True, slots=True)
class Hello:
    """What an agent says first on each connection: who it is and all that it holds."""

    session: UUID
    journal_id: UUID
    boot_id: UUID
    agent: Mapping[str, Any]
    held: tuple[Run, ...] = ()
    running: tuple[Run, ...] = ()
    done: tuple[Run, ...] = ()
    broken: tuple[Broken, ...] = ()


class TaskCall(NamedTuple):
    """One run as the agent gets it; `args` is the packed text of (args, kwargs)."""

    run: Run
    args: str


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """Runs of one function in one task group with the same options.

    Attributes:
        owner: Tells the task groups of one user from those of others and no more; "" if nobody says.
    """

    task_group_id: UUID
    function_id: UUID
    options: Mapping[str, Any]
    tasks: tuple[TaskCall, ...]
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Tasks on their way to one agent, with the code that it does not have yet."""

    session: UUID
    functions: Mapping[UUID, str]
    batches: tuple[TaskBatch, ...]


class Move(NamedTuple):
    """A task has come to `state`, not an end, at `at`."""

    task_id: UUID
    task_group_id: UUID
    state: TaskState
    attempt: int
    at: float


class TaskResult(NamedTuple):
    """The end of a task: `data` is the packed value if it SUCCEEDED, else the text of the error.

    A service without our extensions tells neither when a task was submitted nor when it began. There each
    result tells of the `worker` that ran the task (python, dill, platform); ours tells of the endpoint.
    """

    task_id: UUID
    task_group_id: UUID
    state: TaskState
    data: str
    error_code: str | None
    attempt: int
    submitted_at: float | None
    started_at: float | None
    ended_at: float | None
    worker: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Events:
    """What a watcher hears: moves and ends of the tasks of its groups.

    Attributes:
        environments: Endpoint id -> the `agent` object of its last hello (python, dill, platform, ...).
        presence: Endpoint id -> True if an agent of it reads its tasks.
        fetch: Tasks that have ended and whose results are too much for the queue: to be asked for.
        printed: What running tasks print, with gaps.
    """

    moves: tuple[Move, ...] = ()
    results: tuple[TaskResult, ...] = ()
    environments: Mapping[UUID, Mapping[str, Any]] = field(default_factory=dict)
    presence: Mapping[UUID, bool] = field(default_factory=dict)
    fetch: tuple[UUID, ...] = ()
    printed: tuple[Printed, ...] = ()
