"""This module is what the store hands out: records, and its refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID, SafeUUID

from compute_nb.errors import ComputeError
from compute_nb.tasks import Dispatch, Move, Run, TaskResult, TaskState
from compute_nb.wire import Welcome

_new_uuid = UUID.__new__
_set = object.__setattr__
_UNKNOWN = SafeUUID.unknown


def uuid_of(blob: bytes) -> UUID:
    """Returns the id in 16 bytes; a third of the cost of `UUID(bytes=...)`, which checks what we know."""
    value = _new_uuid(UUID)
    _set(value, "int", int.from_bytes(blob, "big"))
    _set(value, "is_safe", _UNKNOWN)
    return value


class Refused(ComputeError):
    """The store does not do what was asked; nothing was written."""


class NotFound(Refused):
    """There is no such endpoint, function or task group."""


class Forbidden(Refused):
    """It is there, and somebody else's."""


class Conflict(Refused):
    """An id is known with other content; nothing was stored."""


@dataclass(frozen=True, slots=True)
class FunctionRow:
    """A registered function; `code` is a packed buffer, opaque here."""

    function_id: UUID
    owner: UUID
    name: str
    code: str
    meta: Mapping[str, Any]
    description: str | None
    public: bool
    created_at: float


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """A registered endpoint.

    Attributes:
        kind: "compute_nb" for our agent, "published" for another, "user" for a user endpoint of that one.
        agent: What the agent told of itself in its last hello, or None.
        connected: True while a session lasts.
    """

    endpoint_id: UUID
    owner: UUID
    name: str
    display_name: str | None
    kind: str
    public: bool
    metadata: Mapping[str, Any]
    agent: Mapping[str, Any] | None
    last_seen_at: float | None
    registered_at: float
    connected: bool

    def managed_by(self, user: UUID) -> bool:
        """True for its owner, and for those whom he named as `admins` when it was registered."""
        return user == self.owner or str(user) in (self.metadata.get("admins") or ())


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A task group; `endpoint_id` is where its first task went."""

    task_group_id: UUID
    owner: UUID
    endpoint_id: UUID
    created_at: float


@dataclass(frozen=True, slots=True)
class GroupCounts:
    """A task group, and how many of its tasks are in which state; states without tasks are left out."""

    group: GroupRow
    endpoint_name: str
    tasks: Mapping[TaskState, int]


class TaskRow(NamedTuple):
    """All that is told about a task; `data` is None as long as it is open."""

    task_id: UUID
    task_group_id: UUID
    endpoint_id: UUID
    function_id: UUID
    state: TaskState
    attempt: int
    retries: int
    submitted_at: float
    started_at: float | None
    ended_at: float | None
    data: str | None
    error_code: str | None


@dataclass(frozen=True, slots=True)
class GroupPage:
    """A page of a task group in the order of ids.

    Attributes:
        tasks: (task id, state, submitted, started, ended at, attempt, the task in whose place it runs).
    """

    group: GroupRow
    tasks: tuple[tuple[UUID, TaskState, float, float | None, float | None, int, UUID | None], ...]
    more: bool


@dataclass(frozen=True, slots=True)
class SubmitReply:
    """The answer to a submit; `new` is False if it was a repeat and nothing was stored."""

    task_group_id: UUID
    endpoint_id: UUID
    task_ids: tuple[UUID, ...]
    new: bool


@dataclass(frozen=True, slots=True)
class RetryDone:
    """What a retry gives.

    Attributes:
        newest: (task, the newest one in its place) of those that are known.
        started: Endpoint id and task group id of each task that is new.
    """

    newest: tuple[tuple[UUID, UUID], ...]
    started: frozenset[tuple[UUID, UUID]]


class Inputs(NamedTuple):
    """What a task was submitted with; `code` and `args` are packed buffers, opaque here."""

    function_id: UUID
    code: str
    args: str


@dataclass(frozen=True, slots=True)
class Letters(Dispatch):
    """Tasks for a published agent: one message each; `functions` has the code of all."""


@dataclass(frozen=True, slots=True)
class UserEndpointRow:
    """A user endpoint: what a published agent runs for one user, configuration and runtime."""

    endpoint_id: UUID
    owner: UUID
    config: Mapping[str, Any]
    runtime: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Changes:
    """What has become of tasks, for those who watch them."""

    moves: tuple[Move, ...] = ()
    results: tuple[TaskResult, ...] = ()


@dataclass(frozen=True, slots=True)
class HelloDone:
    """The answer to a hello, and what watchers are to hear."""

    welcome: Welcome
    moves: tuple[Move, ...]
    results: tuple[TaskResult, ...]


@dataclass(frozen=True, slots=True)
class ReportDone:
    """What a report has changed.

    Attributes:
        stored: Every result of the report, also those set aside: the agent may forget them.
    """

    stored: tuple[Run, ...]
    moves: tuple[Move, ...]
    results: tuple[TaskResult, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """Tasks that were ended from the service's side.

    Attributes:
        runs: Endpoint id -> runs that its agent is to be told to end.
    """

    results: tuple[TaskResult, ...]
    runs: Mapping[UUID, tuple[Run, ...]]


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who may speak to the service; `secret_hash` is SHA-256 of the token's secret."""

    public_id: str
    name: str
    user: UUID
    kind: str
    secret_hash: bytes
    scope: str
    created_at: float
    generation: int = 0
    revoked_at: float | None = None
