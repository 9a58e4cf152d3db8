"""This module is the dispatcher: which tasks leave next, and how many.

Its memory (`Lane`s of connected endpoints) only repeats what the store's outbox says, so after a rollback
or a restart it is read again. All of it belongs to the store thread.
"""

from __future__ import annotations

import json
import logging
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

from compute_nb.service.rows import uuid_of
from compute_nb.service.transaction import Transaction
from compute_nb.tasks import Dispatch, Run, TaskBatch, TaskCall

logger = logging.getLogger(__name__)

MESSAGE_TASKS = 256
MESSAGE_CHARACTERS = 256 * 1024
WINDOW_TASKS = 256
WINDOW_PER_WORKER = 4
WINDOW_CHARACTERS = 64 * 1024 * 1024
_RATE_WINDOW_S = 1.0
_REMEMBERED = 10_000


@dataclass(slots=True)
class Rate:
    """How many tasks ended within about the last second: a count that decays."""

    value: float = 0.0
    _at: float = 0.0

    def add(self, count: int, now: float) -> None:
        """Counts `count` ends at `now` (seconds)."""
        self.value = self.at(now) + count
        self._at = now

    def at(self, now: float) -> float:
        """The count as it has decayed until `now`."""
        return self.value * math.exp(-max(now - self._at, 0.0) / _RATE_WINDOW_S)


@dataclass(slots=True)
class Lane:
    """One connected endpoint.

    Attributes:
        number: Of the endpoint.
        out: Task number -> characters of its arguments, for all that is sent and open.
        waiting: Task group -> holds under which it has tasks to send (0: without).
        turns: The task groups of `waiting` that were served before, the next one first.
        fresh: Those that were not. They take every other turn, so that a lone task passes a large group and
            many of them don't stop it.
        limit: Characters of arguments that may be out.
        functions: Numbers of functions whose code this session has.
    """

    number: int
    endpoint_id: UUID
    session: UUID
    workers: int
    limit: int = WINDOW_CHARACTERS
    out: dict[int, int] = field(default_factory=dict)
    characters: int = 0
    waiting: dict[int, list[int]] = field(default_factory=dict)
    turns: deque[int] = field(default_factory=deque)
    fresh: deque[int] = field(default_factory=deque)
    fresh_next: bool = True
    functions: set[int] = field(default_factory=set)
    rate: Rate = field(default_factory=Rate)

    def room(self, now: float) -> int:
        """How many more tasks may be out."""
        if self.characters >= self.limit:
            return 0
        window = max(WINDOW_TASKS, WINDOW_PER_WORKER * self.workers, int(self.rate.at(now)))
        return max(window - len(self.out), 0)

    def wait(self, group: int, hold: int) -> None:
        """A task group has something to send."""
        holds = self.waiting.get(group)
        if holds is None:
            self.waiting[group] = [hold]
            self.fresh.append(group)
        elif hold not in holds:
            holds.append(hold)

    def next_group(self) -> int:
        """Takes the task group whose turn it is; there must be one."""
        if self.fresh and (self.fresh_next or not self.turns):
            self.fresh_next = not self.turns
            return self.fresh.popleft()
        self.fresh_next = True
        return self.turns.popleft()

    def sent(self, tasks: list[tuple[int, TaskCall]]) -> None:
        """Tasks, with their numbers, are out."""
        sizes = {number: len(call.args) for number, call in tasks}
        self.out |= sizes
        self.characters += sum(sizes.values())

    def freed(self, numbers: list[int]) -> None:
        """Tasks are not out any more, if they were."""
        self.characters -= sum([self.out.pop(number, 0) for number in numbers])


class Parcel:
    """Tasks for one endpoint, packed into messages of limited size."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._messages: list[Dispatch] = []
        self._functions: dict[UUID, str] = {}
        self._batches: list[tuple[UUID, UUID, Mapping[str, Any], list[TaskCall]]] = []
        self._key: tuple[int, int, int] | None = None
        self._calls: list[TaskCall] = []
        self._tasks = 0
        self._characters = 0

    def add(self, key: tuple[int, int, int], calls: list[TaskCall]) -> int:
        """Adds tasks to the open batch as long as they fit, and returns how many did.

        Args:
            key: The numbers of task group, function and options: what tasks of a batch share.
            calls: All with this key.
        """
        if key != self._key:
            return 0
        characters, room = self._characters, MESSAGE_TASKS - self._tasks
        fits = 0
        for call in calls[:room]:
            characters += len(call.args)
            if characters > MESSAGE_CHARACTERS and self._tasks + fits:
                break
            self._characters = characters
            fits += 1
        self._tasks += fits
        self._calls += calls[:fits]
        return fits

    def begin(
        self,
        key: tuple[int, int, int],
        group_id: UUID,
        function: tuple[UUID, str],
        options: Mapping[str, Any],
        size: int,
    ) -> None:
        """Begins a batch, in a new message if the next task of `size` characters needs one."""
        if self._tasks and (self._tasks >= MESSAGE_TASKS or self._characters + size > MESSAGE_CHARACTERS):
            self._close()
        if key[1] not in self._lane.functions:
            self._lane.functions.add(key[1])
            self._functions[function[0]] = function[1]
        self._key, self._calls = key, []
        self._batches.append((group_id, function[0], options, self._calls))

    def _close(self) -> None:
        batches = tuple(
            TaskBatch(group_id, function_id, options, tuple(calls))
            for group_id, function_id, options, calls in self._batches
        )
        self._messages.append(Dispatch(self._lane.session, self._functions, batches))
        self._functions, self._batches, self._key = {}, [], None
        self._tasks = self._characters = 0

    def messages(self) -> list[tuple[UUID, Dispatch]]:
        """Returns all that was added, as messages to the endpoint."""
        if self._tasks:
            self._close()
        return [(self._lane.endpoint_id, message) for message in self._messages]


class Dispatcher:
    """Connected endpoints and what leaves for them; store thread only."""

    def __init__(self, window_characters: int = WINDOW_CHARACTERS) -> None:
        self._window_characters = window_characters
        self._lanes: dict[int, Lane] = {}
        self._touched: set[int] = set()
        self._parcels: dict[int, Parcel] = {}
        self._groups: dict[int, tuple[UUID, bytes]] = {}
        self._functions: dict[int, tuple[UUID, str]] = {}
        self._options: dict[int, Mapping[str, Any]] = {}

    def __repr__(self) -> str:
        waiting = sum(len(lane.waiting) for lane in self._lanes.values())
        out = sum(len(lane.out) for lane in self._lanes.values())
        return f"<Dispatcher, {len(self._lanes)} endpoints, {out} tasks out, {waiting} groups wait>"

    # -- sessions -----------------------------------------------------------------------------

    def connect(self, tx: Transaction, number: int, endpoint_id: UUID, session: UUID, workers: int) -> None:
        """A session begins: from this commit on its endpoint gets tasks."""
        old = self._lanes.get(number)
        self._lanes[number] = Lane(number, endpoint_id, session, workers, self._window_characters)
        tx.on_rollback(lambda: self._put_back(number, old))
        self._read(tx, self._lanes[number])

    def disconnect(self, tx: Transaction, number: int, session: UUID | None) -> None:
        """A session is over, unless another one has begun since."""
        lane = self._lanes.get(number)
        if lane is not None and session in (None, lane.session):
            del self._lanes[number]
            tx.on_rollback(lambda: self._put_back(number, lane))

    def _put_back(self, number: int, lane: Lane | None) -> None:
        if lane is None:
            self._lanes.pop(number, None)
        else:
            self._lanes[number] = lane

    def session(self, number: int) -> UUID | None:
        """The session of an endpoint, None while it is not connected."""
        lane = self._lanes.get(number)
        return None if lane is None else lane.session

    def connected(self) -> frozenset[UUID]:
        """The ids of all connected endpoints."""
        return frozenset(lane.endpoint_id for lane in self._lanes.values())

    def read_again(self, tx: Transaction) -> None:
        """Forgets all but the sessions: a transaction was rolled back."""
        self._parcels, self._groups, self._functions, self._options = {}, {}, {}, {}
        for lane in self._lanes.values():
            self._read(tx, lane)

    def _read(self, tx: Transaction, lane: Lane) -> None:
        lane.out, lane.characters = {number: 0 for (number,) in tx.all("numbers_out", lane.number)}, 0
        lane.waiting, lane.functions = {}, set()
        lane.turns.clear()
        lane.fresh.clear()
        group, hold = -1, -1
        while (row := tx.one("next_lane", lane.number, group, hold)) is not None:
            group, hold = row
            if not self.is_held(tx, group, hold):
                lane.wait(group, hold)
        self._touched.add(lane.number)

    @staticmethod
    def is_held(tx: Transaction, group: int, hold: int) -> bool:
        """True if tasks of the group that came under this hold are not to be sent yet."""
        return hold != 0 and tx.one("hold", group) == (hold,)

    # -- news from the operations -------------------------------------------------------------

    def wait(self, endpoint: int, group: int, hold: int) -> None:
        """There is something to send."""
        lane = self._lanes.get(endpoint)
        if lane is not None:
            lane.wait(group, hold)
            self._touched.add(endpoint)

    def freed(self, endpoint: int, numbers: list[int]) -> None:
        """Tasks are not out any more, if they were."""
        lane = self._lanes.get(endpoint)
        if lane is not None:
            lane.freed(numbers)
            self._touched.add(endpoint)

    def finished(self, endpoint: int, count: int, now: float) -> None:
        """An agent has ended tasks: its rate widens its window."""
        lane = self._lanes.get(endpoint)
        if lane is not None:
            lane.rate.add(count, now)

    def can_send(self, endpoint: int, count: int, characters: int, now: float) -> bool:
        """True if tasks may leave at once, without passing any that wait."""
        lane = self._lanes.get(endpoint)
        return (
            lane is not None
            and not lane.waiting
            and lane.room(now) >= count
            and lane.characters + characters <= lane.limit
        )

    def send(
        self, tx: Transaction, endpoint: int, key: tuple[int, int, int], tasks: list[tuple[int, TaskCall]]
    ) -> None:
        """Adds tasks to what leaves with this commit; the caller marks them sent in the database.

        Args:
            key: The numbers of their task group, function and options.
            tasks: With their numbers.
        """
        lane = self._lanes[endpoint]
        parcel = self._parcels.get(endpoint)
        if parcel is None:
            parcel = self._parcels[endpoint] = Parcel(lane)
        lane.sent(tasks)
        calls = [call for _, call in tasks]
        while calls := calls[parcel.add(key, calls) :]:
            group, function, options = key
            parcel.begin(
                key,
                self.group(tx, group)[0],
                self.function(tx, function),
                self.options(tx, options),
                len(calls[0].args),
            )

    # -- the step at the end of each transaction ----------------------------------------------

    def step(self, tx: Transaction) -> None:
        """Takes waiting tasks up to each window and marks them sent."""
        for endpoint in self._touched:
            lane = self._lanes.get(endpoint)
            if lane is not None:
                self._refill(tx, lane)
        self._touched.clear()

    def _refill(self, tx: Transaction, lane: Lane) -> None:
        while room := lane.waiting and lane.room(tx.now):
            share = max(room // len(lane.waiting), 1)
            for _ in range(min(len(lane.waiting), room)):
                self._serve(tx, lane, lane.next_group(), share)

    def _serve(self, tx: Transaction, lane: Lane, group: int, share: int) -> None:
        """Sends up to `share` tasks of the task group whose turn it is, and ends its turn."""
        numbers = self._take(tx, lane, group, min(share, lane.room(tx.now)))
        # Marked at once: the next turn of the same group must not see them again.
        tx.many("send_task", [(tx.now, number) for number in numbers])
        if group in lane.waiting:
            lane.turns.append(group)

    def _take(self, tx: Transaction, lane: Lane, group: int, share: int) -> list[int]:
        """Adds up to `share` tasks of a group to the parcel; drops a group with nothing left to send."""
        holds = lane.waiting[group]
        rows = self._outbox(tx, lane, group, holds[0], share)
        for (function, options), same in groupby(rows, key=itemgetter(3, 4)):
            tasks = [
                (number, TaskCall(Run(uuid_of(task_id), attempt), args))
                for number, task_id, attempt, _, _, args in same
            ]
            self.send(tx, lane.number, (group, function, options), tasks)
        if len(rows) < share and lane.characters < lane.limit:
            holds.pop(0)
            if not holds:
                del lane.waiting[group]
        return [row[0] for row in rows]

    @staticmethod
    def _outbox(tx: Transaction, lane: Lane, group: int, hold: int, share: int) -> list[Any]:
        """Reads tasks to send until their number or the size of their arguments is enough."""
        rows, characters = [], lane.characters
        cursor = tx.run("outbox", lane.number, group, hold, share)
        for row in cursor:
            rows.append(row)
            characters += len(row[5])
            if characters >= lane.limit:
                break
        cursor.close()
        return rows

    def leaving(self) -> list[tuple[UUID, Dispatch]]:
        """Returns, once, the messages of a transaction that was committed."""
        parcels, self._parcels = self._parcels, {}
        return [message for parcel in parcels.values() for message in parcel.messages()]

    # -- what numbers stand for ---------------------------------------------------------------

    def group(self, tx: Transaction, number: int) -> tuple[UUID, bytes]:
        """The id and the owner of a task group."""
        known = self._groups.get(number)
        if known is None:
            group_id, owner = tx.one("group_name", number)
            known = _remember(self._groups, number, (uuid_of(group_id), owner))
        return known

    def function(self, tx: Transaction, number: int) -> tuple[UUID, str]:
        """The id and the code of a function."""
        known = self._functions.get(number)
        if known is None:
            function_id, code = tx.one("function_code", number)
            known = _remember(self._functions, number, (uuid_of(function_id), code), 100)
        return known

    def options(self, tx: Transaction, number: int) -> Mapping[str, Any]:
        """The options behind a number."""
        known = self._options.get(number)
        if known is None:
            (body,) = tx.one("options_body", number)
            known = _remember(self._options, number, json.loads(body))
        return known


def _remember(memory: dict[int, Any], number: int, value: Any, limit: int = _REMEMBERED) -> Any:
    if len(memory) >= limit:
        memory.clear()
    memory[number] = value
    return value
