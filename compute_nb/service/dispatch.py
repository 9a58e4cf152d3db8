"""This module is the dispatcher: which tasks leave next, and how many.

Its memory (a `Lane` for each connected endpoint) only repeats what the store's outbox says, so after a
rollback or a restart it is read again. All of it belongs to the store thread.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

from compute_nb.service.claim import Claim
from compute_nb.service.lane import WINDOW_CHARACTERS, Lane
from compute_nb.service.parcel import Parcel
from compute_nb.service.rows import uuid_of
from compute_nb.service.transaction import Transaction
from compute_nb.tasks import Dispatch, Run, TaskCall

_REMEMBERED = 10_000


class Dispatcher:
    """Connected endpoints and what leaves for them; store thread only.

    Args:
        key: The service's, behind which users are hidden from agents.
        window_characters: How many characters of arguments may be on their way to one endpoint.
    """

    def __init__(self, key: bytes, window_characters: int = WINDOW_CHARACTERS) -> None:
        self._key = key
        self._window_characters = window_characters
        self._lanes: dict[int, Lane] = {}
        self._touched: set[int] = set()
        self._parcels: dict[int, Parcel] = {}
        self._groups: dict[int, tuple[UUID, bytes]] = {}
        self._functions: dict[int, tuple[UUID, str]] = {}
        self._options: dict[int, Mapping[str, Any]] = {}

    def __repr__(self) -> str:
        waiting = sum(len(claim.waiting) for lane in self._lanes.values() for claim in lane.waiting)
        out = sum(len(lane.out) for lane in self._lanes.values())
        return f"<Dispatcher, {len(self._lanes)} endpoints, {out} tasks out, {waiting} groups wait>"

    # -- sessions -----------------------------------------------------------------------------

    def connect(
        self,
        tx: Transaction,
        number: int,
        endpoint_id: UUID,
        session: UUID,
        workers: int,
        *,
        published: bool = False,
    ) -> None:
        """A session begins: from this commit on its endpoint gets tasks."""
        old = self._lanes.get(number)
        self._lanes[number] = Lane(number, endpoint_id, session, workers, published, self._window_characters)
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
        lane.forget()
        for number, owner in tx.all("numbers_out", lane.number):
            lane.sent(owner, [(number, 0)])
        group, hold = -1, -1
        while (row := tx.one("next_lane", lane.number, group, hold)) is not None:
            group, hold = row
            if not self.is_held(tx, group, hold):
                lane.claim(self.group(tx, group)[1]).wait(group, hold)
        self._touched.add(lane.number)

    @staticmethod
    def is_held(tx: Transaction, group: int, hold: int) -> bool:
        """True if tasks of the group that came under this hold are not to be sent yet."""
        return hold != 0 and tx.one("hold", group) == (hold,)

    # -- news from the operations -------------------------------------------------------------

    def wait(self, tx: Transaction, endpoint: int, group: int, hold: int) -> None:
        """There is something to send."""
        lane = self._lanes.get(endpoint)
        if lane is not None:
            lane.claim(self.group(tx, group)[1]).wait(group, hold)
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
            parcel = self._parcels[endpoint] = Parcel(lane, self._key)
        group = self.group(tx, key[0])
        lane.sent(group[1], [(number, len(call.args)) for number, call in tasks])
        calls = [call for _, call in tasks]
        while calls := calls[parcel.add(key, calls) :]:
            _, function, options = key
            parcel.begin(
                key,
                group,
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
        """Serves the user who has the least out, so that all come to the same, and his groups in turn."""
        while (claim := lane.next_claim(tx.now)) is not None:
            share = max(lane.room(tx.now) // len(lane.waiting), 1)
            each = max(share // len(claim.waiting), 1)
            for _ in range(min(len(claim.waiting), share)):
                self._serve(tx, lane, claim, each)

    def _serve(self, tx: Transaction, lane: Lane, claim: Claim, share: int) -> None:
        """Sends up to `share` tasks of the user's task group whose turn it is, and ends its turn."""
        group = claim.next_group()
        numbers = self._take(tx, lane, claim, group, min(share, lane.room_for(claim, tx.now)))
        # Marked at once: the next turn of the same group must not see them again.
        tx.many("send_task", [(tx.now, number) for number in numbers])
        if group in claim.waiting:
            claim.turns.append(group)

    def _take(self, tx: Transaction, lane: Lane, claim: Claim, group: int, share: int) -> list[int]:
        """Adds up to `share` tasks of a group to the parcel; drops a group with nothing left to send."""
        holds = claim.waiting[group]
        rows = self._outbox(tx, lane, group, holds[0], share)
        for (function, options), same in groupby(rows, key=itemgetter(3, 4)):
            tasks = [
                (number, TaskCall(Run(uuid_of(task_id), attempt), args))
                for number, task_id, attempt, _, _, args in same
            ]
            self.send(tx, lane.number, (group, function, options), tasks)
        if len(rows) < share and (not rows or lane.characters < lane.limit):
            holds.pop(0)
            if not holds:
                del claim.waiting[group]
        return [row[0] for row in rows]

    @staticmethod
    def _outbox(tx: Transaction, lane: Lane, group: int, hold: int, share: int) -> list[Any]:
        """Reads tasks to send until their number or the size of their arguments is enough."""
        rows, characters = [], lane.characters
        with closing(tx.stream("outbox", lane.number, group, hold, share)) as stream:
            for row in stream:
                rows.append(row)
                characters += len(row[5])
                if characters >= lane.limit:
                    break
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
