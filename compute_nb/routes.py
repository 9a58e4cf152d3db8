"""This module is the REST calls that the Executor needs: records of `compute_nb.tasks` to requests and back.

Each function blocks and raises what `Connection.get` raises.
"""

from __future__ import annotations

import json
import re
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from math import isnan, nan
from typing import Any, NamedTuple
from uuid import UUID

from compute_nb.connection import Connection, Repeat
from compute_nb.errors import ComputeError, SubmitRefused, VersionMismatch
from compute_nb.tasks import Move, Submission, TaskResult, TaskState

EXTENSION_VERSION = 1
MAX_IDS = 1_000
FIRST_IDS = 8
FEW_CHARACTERS = 2_000_000
PAGE = 10_000
MAX_REQUEST_BYTES = 16 * 1024 * 1024
ENVELOPE_BYTES = 64 * 1024
"""What a submit may have beside its arguments: ids, options, what Python this is."""
TOO_LARGE = "TASK_PAYLOAD_TOO_LARGE"

_STATES = tuple(TaskState)
_STATE_NUMBERS = {state.value: number for number, state in enumerate(_STATES)}

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class WatchQueue(NamedTuple):
    """Where a watcher reads: an AMQP URL with its password, and the name of the queue."""

    url: str
    queue: str


class GroupRow(NamedTuple):
    """One task of a group, without its result; times are seconds since the epoch."""

    task_id: UUID
    state: TaskState
    submitted_at: float | None
    started_at: float | None
    ended_at: float | None
    attempt: int


class Group:
    """A whole task group, its tasks ordered by id, in columns: 45 bytes a task.

    A task that was retried is shown by the newest task that runs in its place.

    Attributes:
        endpoint_id: Where its first task went.
    """

    def __init__(self) -> None:
        self.endpoint_id = UUID(int=0)
        self._ids = bytearray()
        self._states = bytearray()
        self._times = array("d")
        self._attempts = array("I")
        self._retries: dict[bytes, bytes] = {}
        self._firsts: Sequence[int] = ()
        self._newest: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._firsts) if self._retries else len(self._states)

    def __getitem__(self, index: int) -> GroupRow:
        row = self._row(index)
        submitted_at, started_at, ended_at = self._times[3 * row : 3 * row + 3]
        return GroupRow(
            self.task_id(index),
            self.state(index),
            None if isnan(submitted_at) else submitted_at,
            None if isnan(started_at) else started_at,
            None if isnan(ended_at) else ended_at,
            self._attempts[row],
        )

    def task_id(self, index: int) -> UUID:
        """The id of one task."""
        return UUID(bytes=self._bytes(self._row(index)))

    def state(self, index: int) -> TaskState:
        """How one task stood."""
        return _STATES[self._states[self._row(index)]]

    def find(self, task_id: UUID) -> int:
        """Returns the index of a task that is in the group."""
        row = self._row_of(task_id.bytes)
        if not self._retries:
            return row
        first = next((first for first, newest in self._newest.items() if newest == row), row)
        return bisect_left(self._firsts, first)

    def _row(self, index: int) -> int:
        if not self._retries:
            return index
        first = self._firsts[index]
        return self._newest.get(first, first)

    def _row_of(self, task_id: bytes) -> int:
        return bisect_left(range(len(self._states)), task_id, key=self._bytes)

    def settle(self) -> None:
        """Puts the newest task of each place there, once all pages have been added."""
        if not self._retries:
            return
        ids = set(self._retries)
        self._firsts = [row for row in range(len(self._states)) if self._bytes(row) not in ids]
        next_of = {old: new for new, old in self._retries.items()}
        for row in self._firsts:
            first = newest = self._bytes(row)
            while newest in next_of:
                newest = next_of[newest]
            if newest != first:
                self._newest[row] = self._row_of(newest)

    def add(self, tasks: Iterable[Sequence[Any]]) -> None:
        """Appends a page as the service gives it."""
        for task_id, state, submitted_at, started_at, ended_at, attempt, *more in tasks:
            self._ids += bytes.fromhex(task_id.replace("-", ""))
            if more and more[0] is not None:
                self._retries[bytes(self._ids[-16:])] = UUID(more[0]).bytes
            self._states.append(_STATE_NUMBERS[state])
            times = submitted_at, started_at, ended_at
            self._times.extend(nan if t is None else t for t in times)
            self._attempts.append(attempt)

    def _bytes(self, row: int) -> bytes:
        return bytes(self._ids[16 * row : 16 * row + 16])


class Status(NamedTuple):
    """What the service says of some tasks: those open, those ended, and nothing of those it does not know."""

    moves: list[Move]
    results: list[TaskResult]
    endpoints: Mapping[UUID, UUID]


def extensions(connection: Connection) -> Mapping[str, Any] | None:
    """Returns what the service says of its extensions, None if it speaks the published protocol only.

    Raises:
        VersionMismatch: It speaks another version of them.
    """
    answer = connection.get("/v2/version?service=all")
    found = answer.get("compute_nb") if isinstance(answer, dict) else None
    if not isinstance(found, dict):
        return None
    if found.get("version") != EXTENSION_VERSION:
        raise VersionMismatch(
            f"the service at {connection.url} speaks version {found.get('version')} of the extensions, this "
            f"package version {EXTENSION_VERSION}: install the same compute_nb on both sides"
        )
    return found


def check_endpoint(connection: Connection, version: str) -> None:
    """Returns if the service takes endpoints of this version; a development release is never refused.

    Raises:
        VersionMismatch: It wants a newer one.
    """
    answer = connection.get("/v2/version?service=all")
    wanted = str(answer.get("min_ep_version", "0")) if isinstance(answer, dict) else "0"
    if "dev" not in version and _release(version) < _release(wanted):
        raise VersionMismatch(
            f"the service at {connection.url} takes endpoints from version {wanted} on, this one is {version}"
        )


def _release(version: str) -> tuple[int, ...]:
    """The numbers at the start of a version, without zeros at their end."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version.strip())
    numbers = [int(part) for part in found[1].split(".")] if found else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def check_arguments(args: str) -> None:
    """Returns if the packed arguments of one task can be sent.

    Raises:
        SubmitRefused: They are larger than one request may be.
    """
    if len(args) * 6 + ENVELOPE_BYTES > MAX_REQUEST_BYTES:  # the most that JSON makes of a character
        size = len(_dumps(args).encode("utf-8", "surrogatepass"))
        check_size(size + ENVELOPE_BYTES, "the call with its arguments")


def check_size(size: int, what: str) -> None:
    """Returns if a request of `size` bytes can be sent.

    Raises:
        SubmitRefused: It can't.
    """
    if size <= MAX_REQUEST_BYTES:
        return
    refusal = SubmitRefused(
        f"{what} is {size / 1e6:.1f} MB once it is written, and a request may have "
        f"{MAX_REQUEST_BYTES / 1e6:.1f} MB; nothing was sent. Write large inputs to a file and send its "
        "path, or send them in parts"
    )
    refusal.code = TOO_LARGE
    raise refusal


def submit(connection: Connection, submission: Submission, user_runtime: Mapping[str, Any]) -> Sequence[UUID]:
    """Sends one submit with client-made ids; returns the ids as the service confirms them."""
    tasks: dict[str, list[str]] = {}
    ids: dict[str, list[str]] = {}
    for task in submission.tasks:
        function_id = str(task.function_id)
        tasks.setdefault(function_id, []).append(task.args)
        ids.setdefault(function_id, []).append(str(task.task_id))
    options = dict(submission.options)
    ours = {
        "task_ids": ids,
        "retries": submission.retries,
        "walltime_s": options.pop("walltime_s", None),
        "hold": submission.hold,
    }
    if "context" in options:
        ours["context"] = options.pop("context")
    fields = {
        "tasks": tasks,
        "task_group_id": str(submission.task_group_id),
        "create_queue": submission.create_queue,
        "user_runtime": user_runtime,
        **options,
        "compute_nb": ours,
    }
    path = f"/v3/endpoints/{submission.endpoint_id}/submit"
    answer = connection.send("POST", path, _dumps(fields).encode("utf-8", "surrogatepass"), Repeat.ALWAYS)
    return _confirmed(answer, ids)


def _confirmed(answer: Any, ids: Mapping[str, list[str]]) -> Sequence[UUID]:
    if not isinstance(answer, dict) or answer.get("tasks") != ids:
        raise ComputeError("the service answered a submit with other task ids than it was sent")
    return [UUID(task_id) for group in ids.values() for task_id in group]


def watch(connection: Connection, watch_id: UUID, groups: Iterable[UUID]) -> WatchQueue:
    """Has all that happens in `groups` from now on sent to the queue of this watcher."""
    fields = {"watch_id": str(watch_id), "task_groups": [str(group) for group in groups]}
    answer = connection.post("/v3/compute_nb/watch", fields, Repeat.ALWAYS)
    return WatchQueue(answer["connection_url"], answer["queue"])


def cancel(connection: Connection, task_ids: Sequence[UUID]) -> int:
    """Ends tasks; returns how many were still open."""
    ended = 0
    for start in range(0, len(task_ids), MAX_IDS):
        fields = {"task_ids": [str(i) for i in task_ids[start : start + MAX_IDS]]}
        ended += connection.post("/v3/compute_nb/cancel", fields, Repeat.ALWAYS)["cancelled"]
    return ended


def retry(connection: Connection, pairs: Sequence[tuple[UUID, UUID]]) -> dict[UUID, UUID]:
    """Has tasks that gave no value run again, each under the id beside it.

    Returns:
        The newest task in the place of each one that the service knows: the new one, one that another
        program has sent there, or the task itself if it is open or has a value.

    Raises:
        ComputeError: One of them can't run again; nothing was stored of its request.
    """
    newest: dict[UUID, UUID] = {}
    for start in range(0, len(pairs), MAX_IDS):
        fields = {"tasks": [[str(old), str(new)] for old, new in pairs[start : start + MAX_IDS]]}
        answer = connection.post("/v3/compute_nb/retry", fields, Repeat.ALWAYS)
        newest.update((UUID(old), UUID(new)) for old, new in answer["newest"])
    return newest


class Inputs(NamedTuple):
    """What a task was submitted with, in packed buffers."""

    code: str
    args: str


def inputs(connection: Connection, task_id: UUID) -> Inputs:
    """Returns what a task of one's own was submitted with."""
    answer = connection.get(f"/v3/compute_nb/inputs/{task_id}")
    return Inputs(answer["function_code"], answer["args"])


def local_endpoint(connection: Connection, *, start: bool = True) -> UUID:
    """Returns the endpoint of this interpreter at a service on this host; `start` sees to it that it runs."""
    fields = {"python": sys.executable, "prefix": sys.prefix, "start": start}
    answer = connection.post("/v3/compute_nb/local", fields, Repeat.ALWAYS)
    return UUID(answer["endpoint_id"])


def details(connection: Connection, endpoint_id: UUID) -> Mapping[str, Any]:
    """Returns the `details` of an endpoint's status; our agents tell theirs at `compute_nb`."""
    return connection.get(f"/v2/endpoints/{endpoint_id}/status").get("details") or {}


def group(connection: Connection, task_group_id: UUID) -> Group:
    """Returns all tasks of a group."""
    found = Group()
    more, after = True, ""
    while more:
        answer = connection.get(f"/v3/compute_nb/taskgroup/{task_group_id}?limit={PAGE}{after}")
        page = answer["tasks"]
        found.add(page)
        more = answer["more"] and bool(page)
        after = f"&after={page[-1][0]}" if page else ""
    found.endpoint_id = UUID(answer["endpoint_id"])
    found.settle()
    return found


def status(connection: Connection, task_ids: Sequence[UUID]) -> Status:
    """Returns how tasks stand, with the results of those that have ended."""
    found = Status([], [], {})
    endpoints: dict[UUID, UUID] = {}
    start, count = 0, FIRST_IDS
    while start < len(task_ids):
        fields = {"task_ids": [str(i) for i in task_ids[start : start + count]]}
        answer = connection.post("/v2/batch_status", fields, Repeat.ALWAYS)
        known = len(found.results)
        for task in answer["results"].values():
            _sort_in(task, found, endpoints)
        start += count
        # The service holds a whole answer in memory: few large results at a time.
        size = sum([len(result.data) for result in found.results[known:]])
        count = min(MAX_IDS, 2 * count) if size < FEW_CHARACTERS else max(1, count // 4)
    return found._replace(endpoints=endpoints)


def _sort_in(task: dict[str, Any], found: Status, endpoints: dict[UUID, UUID]) -> None:
    ours = task["compute_nb"]
    task_id, group_id = UUID(task["task_id"]), UUID(ours["task_group_id"])
    state, attempt = TaskState(ours["state"]), ours["attempt"]
    endpoints[task_id] = UUID(ours["endpoint_id"])
    if not state.ended:
        at = ours["started_at"] or ours["submitted_at"]
        found.moves.append(Move(task_id, group_id, state, attempt, at))
        return
    data = task.get("result") if "result" in task else task.get("exception", "")
    times = ours["submitted_at"], ours["started_at"], ours["ended_at"]
    found.results.append(
        TaskResult(task_id, group_id, state, data or "", ours["error_code"], attempt, *times)
    )
