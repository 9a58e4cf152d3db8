"""This module is what the service sends: tasks and commands to agents, events to watchers."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from uuid import UUID

from compute_nb import logline, wire
from compute_nb.published_messages import PublishedResult, PublishedTask
from compute_nb.service.broker import Broker
from compute_nb.service.config import GROUP_QUEUE_EXPIRES_S, WATCH_EXPIRES_S
from compute_nb.service.rows import Letters
from compute_nb.service.store import Ended
from compute_nb.service.tokens import (
    commands_queue,
    group_queue_prefix,
    tasks_queue,
    watch_queue,
)
from compute_nb.tasks import Dispatch, ErrorCode, Events, Move, Printed, TaskBatch, TaskResult, TaskState

_log = logging.getLogger(__name__)

MAX_EVENT_CHARACTERS = 1_000_000
MAX_EVENT_TASKS = 2_000
MAX_WATCH_BYTES = 16 * 1024 * 1024
MAX_PRINTED_BYTES = 1024 * 1024
MAX_TOLD = 100_000


@dataclass(slots=True)
class _Watch:
    """One watcher: its queue, its groups, what it will hear next, which agents it knows already.

    Attributes:
        endpoints: Where tasks of its groups were sent; it hears when they come and go.
        routes: Groups and the endpoints to which tasks of each were sent.
    """

    user: UUID
    queue: str
    groups: set[UUID] = field(default_factory=set)
    moves: list[Move] = field(default_factory=list)
    results: list[TaskResult] = field(default_factory=list)
    environments: dict[UUID, Mapping[str, Any]] = field(default_factory=dict)
    told: dict[UUID, Mapping[str, Any]] = field(default_factory=dict)
    endpoints: set[UUID] = field(default_factory=set)
    presence: dict[UUID, bool] = field(default_factory=dict)
    routes: set[tuple[UUID, UUID]] = field(default_factory=set)
    printed: list[Printed] = field(default_factory=list)


class Publisher:
    """Sends all that leaves the service by the broker; loop thread only.

    Events gather until the loop's next turn. The store wakes all that a commit brought in one turn, so
    that a watcher hears one message a commit.

    Args:
        broker: Started.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._watches: dict[str, _Watch] = {}
        self._by_group: dict[UUID, set[str]] = {}
        self._hoped_for: dict[UUID, set[str]] = {}
        self._group_queues: dict[UUID, str] = {}
        self._agents: dict[UUID, Mapping[str, Any]] = {}
        self._present: set[UUID] = set()
        self._changed: set[str] = set()
        self._told: dict[str, list[UUID]] = {}

    def __repr__(self) -> str:
        return f"<Publisher, {len(self._watches)} watches, {len(self._by_group)} groups>"

    def dispatch(self, dispatches: Iterable[tuple[UUID, Dispatch]]) -> None:
        """Sends tasks to agents; called by the store once they are committed as sent."""
        for endpoint_id, dispatch in dispatches:
            if isinstance(dispatch, Letters):
                self._send_letters(endpoint_id, dispatch)
            else:
                self._broker.publish("", tasks_queue(endpoint_id), wire.encode(dispatch))
            runs = (task.run.task_id for batch in dispatch.batches for task in batch.tasks)
            logline.told(_log, "sent", runs, endpoint_id=endpoint_id)

    def _send_letters(self, endpoint_id: UUID, letters: Letters) -> None:
        queue = tasks_queue(endpoint_id)
        for batch in letters.batches:
            code, headers = letters.functions[batch.function_id], _headers(batch)
            for run, args in batch.tasks:
                headers["task_uuid"] = str(run.task_id)
                message = PublishedTask(run.task_id, code + args)
                self._broker.publish("", queue, wire.encode(message), headers)

    def order(self, endpoint_id: UUID, command: Mapping[str, Any]) -> None:
        """Sends a command to a published agent."""
        self._broker.publish(
            "",
            commands_queue(endpoint_id),
            json.dumps(command).encode(),
            timestamp_s=time.time(),
            content_type="application/json",
        )

    def command(self, endpoint_id: UUID, message: wire.Message) -> None:
        """Sends a welcome, stored, cancel or stop to an agent."""
        self._broker.publish("", commands_queue(endpoint_id), wire.encode(message))

    def open_watch(self, user: UUID, watch_id: UUID, groups: Iterable[UUID]) -> str:
        """Makes a watcher's queue, or finds it again, and notes which groups it hopes to hear of.

        It hears of a group once `accepted` has said whose that is. So a watch can be opened before the
        first submit, and nobody hears of a group by naming its id.

        Returns:
            The name of the queue.
        """
        queue = watch_queue(user, watch_id)
        self._broker.declare_queue(queue, expires_s=WATCH_EXPIRES_S)
        watch = self._watches.setdefault(queue, _Watch(user, queue))
        watch.told.clear()
        self._tell_presence(watch, watch.endpoints)
        for group in groups:
            watch.groups.add(group)
            if queue not in self._by_group.get(group, ()):
                self._hoped_for.setdefault(group, set()).add(queue)
        return queue

    def accepted(self, user: UUID, group: UUID, endpoint_id: UUID) -> None:
        """Learns whose a group is and where its tasks go: his watchers hear of both from now on."""
        for queue in self._hoped_for.pop(group, ()):
            if self._watches[queue].user == user:
                self._by_group.setdefault(group, set()).add(queue)
        for queue in self._by_group.get(group, ()):
            watch = self._watches[queue]
            watch.routes.add((group, endpoint_id))
            if endpoint_id not in watch.endpoints:
                watch.endpoints.add(endpoint_id)
                self._tell_presence(watch, (endpoint_id,))

    def presence(self, endpoint_id: UUID, present: bool) -> None:
        """An agent has begun or ceased to read its tasks: those who watch some of them hear it."""
        (self._present.add if present else self._present.discard)(endpoint_id)
        for watch in self._watches.values():
            if endpoint_id in watch.endpoints:
                watch.presence[endpoint_id] = present
                self._change(watch.queue)

    def _tell_presence(self, watch: _Watch, endpoints: Iterable[UUID]) -> None:
        """Tells at once who is not there; that one is there travels with the next news."""
        for endpoint_id in endpoints:
            watch.presence[endpoint_id] = endpoint_id in self._present
            if endpoint_id not in self._present:
                self._change(watch.queue)

    def open_group_queue(self, user: UUID, group: UUID) -> None:
        """Makes the shared queue of a group that published SDKs read."""
        queue = f"{group_queue_prefix(user)}{group}"
        self._broker.declare_queue(queue, expires_s=GROUP_QUEUE_EXPIRES_S)
        self._group_queues[group] = queue

    def met(self, endpoint_id: UUID, agent: Mapping[str, Any]) -> None:
        """Remembers what an agent said of itself, for those who watch its tasks."""
        if self._agents.get(endpoint_id) != agent:
            self._agents[endpoint_id] = agent

    def events(
        self, moves: Iterable[Move], results: Iterable[TaskResult], endpoint_id: UUID | None = None
    ) -> None:
        """Tells watchers what has become of their tasks, at the loop's next turn.

        Args:
            endpoint_id: Whose agent did it, if one did.
        """
        for move in moves:
            for watch in self._watching(move.task_group_id, endpoint_id):
                watch.moves.append(move)
        for result in results:
            for watch in self._watching(result.task_group_id, endpoint_id):
                watch.results.append(result)
            self._to_group_queue(result, endpoint_id)

    def printed(self, endpoint_id: UUID, printed: Iterable[Printed]) -> None:
        """Tells watchers what tasks print, at the loop's next turn; whoever does not keep up misses some.

        Args:
            endpoint_id: Whose agent says so; heard only of groups that have tasks there.
        """
        for one in printed:
            for queue in self._by_group.get(one.task_group_id, ()):
                watch = self._watches[queue]
                if (one.task_group_id, endpoint_id) in watch.routes:
                    watch.printed.append(one)
                    self._change(queue)

    def ended(self, ended: Ended) -> None:
        """Tells watchers and agents of tasks that were ended from this side."""
        self.events((), ended.results)
        for endpoint_id, runs in ended.runs.items():
            if runs:
                self.command(endpoint_id, wire.Cancel(tuple(runs)))

    def _watching(self, group: UUID, endpoint_id: UUID | None) -> Iterator[_Watch]:
        for queue in self._by_group.get(group, ()):
            watch = self._watches[queue]
            if endpoint_id is not None and endpoint_id in self._agents:
                watch.environments[endpoint_id] = self._agents[endpoint_id]
            self._change(queue)
            yield watch

    def _change(self, queue: str) -> None:
        if not self._changed:
            asyncio.get_running_loop().call_soon(self._flush)
        self._changed.add(queue)

    def _flush(self) -> None:
        changed, self._changed = self._changed, set()
        for queue in changed:
            watch = self._watches[queue]
            held = self._broker.held_bytes(queue)
            if held + sum([len(one.text) for one in watch.printed]) > MAX_PRINTED_BYTES:
                watch.printed.clear()
            room = MAX_WATCH_BYTES - held
            if not all(self._send(watch, events) for events in _messages(watch, room)):
                self._drop(watch)

    def _send(self, watch: _Watch, events: Events) -> bool:
        logline.told(_log, "result told to a watcher", (result.task_id for result in events.results))
        self._note_told(watch.queue, (result.task_id for result in events.results))
        return self._broker.publish("", watch.queue, wire.encode(events))

    def _drop(self, watch: _Watch) -> None:
        """Forgets a watcher whose queue is gone because nobody read it for too long."""
        _log.info("queue %s has expired: its watcher is forgotten", watch.queue)
        del self._watches[watch.queue]
        for index in (self._by_group, self._hoped_for):
            for group in watch.groups & index.keys():
                index[group].discard(watch.queue)
                if not index[group]:
                    del index[group]

    def _to_group_queue(self, result: TaskResult, endpoint_id: UUID | None) -> None:
        queue = self._group_queues.get(result.task_group_id)
        if queue is None:
            return
        details = _details(endpoint_id, self._agents.get(endpoint_id)) if endpoint_id else None
        message = PublishedResult(result.task_id, result.data, details, _published_error(result))
        if not self._broker.publish("", queue, wire.encode(message), timestamp_s=int(result.ended_at or 0)):
            del self._group_queues[result.task_group_id]
        self._note_told(queue, (result.task_id,))

    def _note_told(self, queue: str, task_ids: Iterable[UUID]) -> None:
        told = self._told.setdefault(queue, [])
        told += islice(task_ids, MAX_TOLD - len(told))

    def take_told(self, readers: Container[str]) -> list[UUID]:
        """Returns, once, the tasks whose values went to queues that are read now, or were read empty."""
        told, self._told = self._told, {}
        taken: list[UUID] = []
        for queue, task_ids in told.items():
            if queue in readers or not self._broker.held_bytes(queue):
                taken += task_ids
            else:
                self._told[queue] = task_ids
        return taken


def _headers(batch: TaskBatch) -> dict[str, Any]:
    """Returns what a published agent wants to know of each task beside its text."""
    headers: dict[str, Any] = {"function_uuid": str(batch.function_id)}
    if resources := batch.options.get("resource_specification"):
        headers["resource_specification"] = json.dumps(resources)
    if serializers := batch.options.get("result_serializers"):
        headers["result_serializers"] = list(serializers)
    return headers


def _details(endpoint_id: UUID, agent: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Returns what a published client compares with its own side; None if the agent has not told it."""
    if not agent or not agent.get("python"):
        return None
    return {
        "os": agent.get("platform"),
        "python_version": agent["python"],
        "dill_version": agent.get("dill"),
        "globus_compute_sdk_version": agent.get("globus_compute_sdk"),
        "endpoint_id": agent.get("user_endpoint") or str(endpoint_id),
    }


def _published_error(result: TaskResult) -> tuple[str, str] | None:
    if result.state is TaskState.SUCCEEDED:
        return None
    return result.error_code or ErrorCode.REMOTE, result.data


def _messages(watch: _Watch, room: int) -> Iterator[Events]:
    """Takes what a watcher is to hear, in messages of bounded size.

    Args:
        room: How many characters of results its queue may take; the other ones it asks for itself.
    """
    moves, watch.moves = watch.moves, []
    results, fetch = _fitting(watch.results, room)
    watch.results = []
    presence, watch.presence = watch.presence, {}
    printed, watch.printed = tuple(watch.printed), []
    environments = {k: v for k, v in watch.environments.items() if watch.told.get(k) is not v}
    watch.environments = {}
    watch.told.update(environments)
    parts = list(_parts(results))
    first = tuple(parts[0]) if parts else ()
    yield Events(tuple(moves), first, environments, presence, tuple(fetch), printed)
    for part in parts[1:]:
        yield Events(results=tuple(part))


def _fitting(results: list[TaskResult], room: int) -> tuple[list[TaskResult], list[UUID]]:
    """Returns the results that a queue has room for, and the tasks of the others."""
    size = sum([len(result.data) for result in results])
    if size <= room:
        return results, []
    fitting, others = list[TaskResult](), list[UUID]()
    for result in results:
        if len(result.data) <= room:
            fitting.append(result)
            room -= len(result.data)
        else:
            others.append(result.task_id)
    return fitting, others


def _parts(results: Sequence[TaskResult]) -> Iterator[list[TaskResult]]:
    part: list[TaskResult] = []
    size = 0
    for result in results:
        if part and (size + len(result.data) > MAX_EVENT_CHARACTERS or len(part) == MAX_EVENT_TASKS):
            yield part
            part, size = [], 0
        part.append(result)
        size += len(result.data)
    if part:
        yield part
