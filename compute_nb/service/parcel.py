"""This module is the parcel: what leaves for one endpoint with one commit, in messages of limited size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from compute_nb.service.claim import pseudonym
from compute_nb.service.lane import Lane
from compute_nb.service.rows import Letters
from compute_nb.tasks import Dispatch, TaskBatch, TaskCall

MESSAGE_TASKS = 256
MESSAGE_CHARACTERS = 256 * 1024


class Parcel:
    """Tasks for one endpoint, packed into messages of limited size.

    Args:
        lane: Of the endpoint.
        key: The service's, behind which users are hidden from the agent.
    """

    def __init__(self, lane: Lane, key: bytes) -> None:
        self._lane = lane
        self._secret = key
        self._messages: list[Dispatch] = []
        self._functions: dict[UUID, str] = {}
        self._batches: list[tuple[UUID, UUID, Mapping[str, Any], list[TaskCall], str]] = []
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
        group: tuple[UUID, bytes],
        function: tuple[UUID, str],
        options: Mapping[str, Any],
        size: int,
    ) -> None:
        """Begins a batch, in a new message if the next task of `size` characters needs one.

        Args:
            group: With its owner.
        """
        if self._tasks and (self._tasks >= MESSAGE_TASKS or self._characters + size > MESSAGE_CHARACTERS):
            self._close()
        if self._lane.published:
            self._functions[function[0]] = function[1]
        elif key[1] not in self._lane.functions:
            self._lane.functions.add(key[1])
            self._functions[function[0]] = function[1]
        self._key, self._calls = key, []
        group_id, owner = group
        whose = pseudonym(self._secret, self._lane.endpoint_id, owner)
        self._batches.append((group_id, function[0], options, self._calls, whose))

    def _close(self) -> None:
        batches = tuple(
            TaskBatch(group_id, function_id, options, tuple(calls), whose)
            for group_id, function_id, options, calls, whose in self._batches
        )
        kind = Letters if self._lane.published else Dispatch
        self._messages.append(kind(self._lane.session, self._functions, batches))
        self._functions, self._batches, self._key = {}, [], None
        self._tasks = self._characters = 0

    def messages(self) -> list[tuple[UUID, Dispatch]]:
        """Returns all that was added, as messages to the endpoint."""
        if self._tasks:
            self._close()
        return [(self._lane.endpoint_id, message) for message in self._messages]
