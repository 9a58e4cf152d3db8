"""This module is the steward of published agents: it has them start user endpoints and notices their end.

A published agent serves no tasks itself. For each user endpoint with open tasks that is not up it gets a
start command, one at a time; a heartbeat of the user endpoint answers it. What a process had taken when it
ended may still come from files that it left, so only a minute after the next one's first heartbeat it is
given up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any
from uuid import UUID

from compute_nb.errors import ComputeError
from compute_nb.service.agents import Core, User
from compute_nb.service.broker import Broker
from compute_nb.service.errands import Errands
from compute_nb.service.publisher import Publisher
from compute_nb.service.rows import Changes, UserEndpointRow
from compute_nb.service.start_command import (
    MAX_TEXT,
    PERIOD_S,
    TOO_EARLY,
    TOO_LATE,
    period_of,
    process_of,
    start_command,
)
from compute_nb.service.store import Store
from compute_nb.service.tokens import agent_username, tasks_queue

_log = logging.getLogger(__name__)

START_EXPIRES_S = 120.0
REAP_S = 2.0  # an agent takes a start for a fresh password as long as it has not noticed the old one's end
SILENT_PERIODS = 3


class Steward:
    """Keeps user endpoints of published agents running while they have tasks; loop thread only.

    Args:
        store: Started.
        broker: Has the queues.
        publisher: For commands, and for what watchers are to hear.
        url_of: Called with a user name of the broker; gives the address with password once that is good.
        settle_s: How long what an ended process had may still come from the next one.
    """

    def __init__(
        self,
        store: Store,
        broker: Broker,
        publisher: Publisher,
        url_of: Callable[[str], Awaitable[str]],
        settle_s: float,
    ) -> None:
        self._store = store
        self._broker = broker
        self._publisher = publisher
        self._url_of = url_of
        self._settle_s = settle_s
        self._cores: dict[UUID, Core] = {}
        self._users: dict[UUID, User] = {}
        self._broker_forgets = True
        self._errands = Errands(_broken)

    def __repr__(self) -> str:
        up = sum(user.up for user in self._users.values())
        return f"<Steward, {len(self._cores)} agents, {up} of {len(self._users)} user endpoints up>"

    async def start(self) -> None:
        """Takes up the user endpoints that the store knows, before the broker lets anybody in."""
        self._broker.on_forgotten = self._forgotten
        for endpoint_id, core_id in await self._store.user_endpoints.all():
            self._cores.setdefault(core_id, Core())
            self._user(endpoint_id, core_id)

    async def idle(self) -> None:
        """Waits until all that has come is dealt with; sets no more timers."""
        for core in self._cores.values():
            core.beat.stop()
        for user in self._users.values():
            user.beat.stop()
        await self._errands.idle()

    # -- asked by routes and collector ----------------------------------------------------------

    def core_of(self, endpoint_id: UUID) -> UUID | None:
        """Returns whose user endpoint it is; None if it is none."""
        user = self._users.get(endpoint_id)
        return None if user is None else user.core_id

    def online(self, endpoint_id: UUID) -> bool:
        """True if it is a published agent's endpoint and that one is there."""
        core = self._cores.get(endpoint_id)
        return core is not None and core.online

    def warning(self, endpoint_id: UUID) -> str | None:
        """What the owner of an agent should see to, or None."""
        core = self._cores.get(endpoint_id)
        return None if core is None else core.warning

    def users_of(self, core_id: UUID) -> list[UUID]:
        """Returns the user endpoints of an agent."""
        return [endpoint_id for endpoint_id, user in self._users.items() if user.core_id == core_id]

    # -- news ------------------------------------------------------------------------------------

    def registered(self, core_id: UUID) -> None:
        """An agent has started: whatever an earlier one of it had started ends with that one."""
        self._cores.setdefault(core_id, Core()).warning = None
        for endpoint_id in self.users_of(core_id):
            self._down(endpoint_id)
            user = self._users[endpoint_id]
            user.not_before, user.started_at = 0.0, None

    def forget(self, core_id: UUID) -> None:
        """Its endpoint was deleted."""
        core = self._cores.pop(core_id, None)
        if core is not None:
            core.beat.stop()
        for endpoint_id in self.users_of(core_id):
            user = self._users.pop(endpoint_id)
            user.beat.stop()
            if user.settling is not None:
                user.settling.cancel()

    def need(self, core_id: UUID) -> None:
        """There may be tasks for an agent: its user endpoints that have some are started."""
        if core_id in self._cores:
            self._errands.begin(self._start_due(core_id))

    def core_reads(self, core_id: UUID, present: bool) -> None:
        """An agent has begun or ceased to read its commands."""
        if core_id in self._cores:
            self._core_seen(core_id, PERIOD_S if present else 0.0)

    def user_reads(self, endpoint_id: UUID, present: bool) -> None:
        """A user endpoint has ceased to read its tasks; that one reads says its next heartbeat."""
        if not present:
            self._down(endpoint_id)

    def heartbeat(self, endpoint_id: UUID, state: Mapping[str, Any]) -> None:
        """An agent or a user endpoint says how it is."""
        period_s = period_of(state.get("heartbeat_period"))
        if endpoint_id in self._cores:
            self._core_seen(endpoint_id, period_s)
        elif (user := self._users.get(endpoint_id)) is None:
            return
        elif "error" in state:
            self._failed(endpoint_id, user, str(state["error"])[:MAX_TEXT])
        elif state.get("active"):
            self._user_seen(endpoint_id, user, process_of(endpoint_id, state), period_s)
        else:
            self._down(endpoint_id)

    # -- agents ----------------------------------------------------------------------------------

    def _core_seen(self, core_id: UUID, period_s: float) -> None:
        """An agent is there for as long as its period says; 0 is its farewell."""
        core = self._cores[core_id]
        core.beat.stop()
        came = period_s > 0
        if came:
            loop = asyncio.get_running_loop()
            core.beat.silence = loop.call_later(SILENT_PERIODS * period_s, self._core_seen, core_id, 0.0)
        if came != core.online:
            core.online = came
            _log.info("endpoint %s: its agent is %s", core_id, "here" if came else "gone")
            self._publisher.presence(core_id, came)
        if came:
            self.need(core_id)

    async def _start_due(self, core_id: UUID) -> None:
        rows = await self._store.user_endpoints.due(core_id)
        loop = asyncio.get_running_loop()
        now, later = loop.time(), 0.0
        for row in rows:
            core, user = self._cores.get(core_id), self._user(row.endpoint_id, core_id)
            if core is None or not core.online or user.up:
                continue
            if now < user.not_before:
                later = max(later, user.not_before)
            elif user.started_at is None or now - user.started_at >= START_EXPIRES_S:
                await self._order(core_id, user, row)
        if later:
            loop.call_at(later, self.need, core_id)

    async def _order(self, core_id: UUID, user: User, row: UserEndpointRow) -> None:
        user.started_at = asyncio.get_running_loop().time()
        try:
            url = await self._url_of(agent_username(row.endpoint_id))
        except ComputeError:
            user.started_at = None  # the broker is away: the agent's next heartbeat has it tried again
            raise
        self._publisher.order(core_id, start_command(core_id, row, url))
        _log.info("endpoint %s: user endpoint %s is to start", core_id, row.endpoint_id)

    # -- user endpoints --------------------------------------------------------------------------

    def _user(self, endpoint_id: UUID, core_id: UUID) -> User:
        user = self._users.get(endpoint_id)
        if user is None:
            user = self._users[endpoint_id] = User(core_id)
            queue = tasks_queue(endpoint_id)
            self._broker.admit(agent_username(endpoint_id))
            self._broker.declare_queue(queue)
            self._broker_forgets = self._broker.tell_taken(
                queue, lambda headers: self._taken(endpoint_id, headers)
            )
        return user

    def _taken(self, endpoint_id: UUID, headers: Sequence[Mapping[str, Any]]) -> None:
        ids = [UUID(one["task_uuid"]) for one in headers]
        self._errands.begin(self._tell(endpoint_id, self._store.user_endpoints.taken(endpoint_id, ids)))

    def _user_seen(self, endpoint_id: UUID, user: User, process: UUID, period_s: float) -> None:
        loop = asyncio.get_running_loop()
        user.beat.stop()
        user.period_s = period_s
        user.beat.silence = loop.call_later(SILENT_PERIODS * period_s, self._silent, endpoint_id)
        user.started_at = None
        before, user.beat_at = user.beat_at, time.time()
        if not user.up or user.process != process:
            self._up(endpoint_id, user, process)
        elif not self._broker_forgets:
            work = self._store.user_endpoints.taken_before(endpoint_id, before)
            self._errands.begin(self._tell(endpoint_id, work))

    def _forgotten(self) -> None:
        """The broker has lost what was in its queues: what nobody is known to have is sent again."""
        for endpoint_id, user in self._users.items():
            user.up = False
            work = self._store.user_endpoints.gone(endpoint_id, requeue=True)
            self._errands.begin(self._tell(endpoint_id, work))

    def _up(self, endpoint_id: UUID, user: User, process: UUID) -> None:
        user.up, user.process = True, process
        self._errands.begin(self._check_in(endpoint_id, user, process))

    async def _check_in(self, endpoint_id: UUID, user: User, process: UUID) -> None:
        if self._broker_forgets:
            self._broker.purge(tasks_queue(endpoint_id))
        changes, known_s = await self._store.user_endpoints.checked_in(
            endpoint_id, process, requeue=self._broker_forgets
        )
        _log.info("user endpoint %s: process %s is up", endpoint_id, process)
        self._publisher.events(changes.moves, changes.results, user.core_id)
        if user.settling is not None:
            user.settling.cancel()
            user.settling = None
        if known_s >= 0:
            pause_s = max(self._settle_s - known_s, 0.0)
            loop = asyncio.get_running_loop()
            user.settling = loop.call_later(pause_s, self._settle, endpoint_id, process)

    def _settle(self, endpoint_id: UUID, process: UUID) -> None:
        self._errands.begin(self._tell(endpoint_id, self._store.user_endpoints.settle(endpoint_id, process)))

    def _silent(self, endpoint_id: UUID) -> None:
        _log.info("user endpoint %s is silent", endpoint_id)
        self._down(endpoint_id)

    def _down(self, endpoint_id: UUID) -> None:
        user = self._users[endpoint_id]
        user.beat.stop()
        if user.up:
            user.up = False
            user.not_before = asyncio.get_running_loop().time() + REAP_S
            self._errands.begin(self._gone(endpoint_id, user))

    async def _gone(self, endpoint_id: UUID, user: User) -> None:
        """Takes back what was not taken; if tasks are open, it is started again."""
        if self._broker_forgets:
            self._broker.purge(tasks_queue(endpoint_id))
        _log.info("user endpoint %s: process %s is gone", endpoint_id, user.process)
        forgets = self._broker_forgets
        await self._tell(endpoint_id, self._store.user_endpoints.gone(endpoint_id, requeue=forgets))
        await self._start_due(user.core_id)

    def _failed(self, endpoint_id: UUID, user: User, text: str) -> None:
        """Its agent could not start it; the answer to a command that came too late fails no task."""
        if TOO_LATE in text:
            warning = f"the clock of its host and of the service differ, or it was away too long: {text}"
            self._cores[user.core_id].warning = warning
            _log.warning("endpoint %s: %s", user.core_id, warning)
        elif TOO_EARLY in text:
            self._start_later(endpoint_id, user)
        elif user.started_at is None:
            _log.warning("user endpoint %s: a failure that nobody waits for: %s", endpoint_id, text)
        else:
            user.started_at = None
            _log.warning("user endpoint %s could not be started: %s", endpoint_id, text)
            told = f"endpoint {user.core_id} could not start a process for this task: {text}"
            self._errands.begin(
                self._tell(endpoint_id, self._store.user_endpoints.start_failed(endpoint_id, told))
            )

    def _start_later(self, endpoint_id: UUID, user: User) -> None:
        """A process that was killed left a file behind that its agent believes for three periods."""
        pause_s = SILENT_PERIODS * user.period_s
        loop = asyncio.get_running_loop()
        user.started_at, user.not_before = None, loop.time() + pause_s
        loop.call_at(user.not_before, self.need, user.core_id)
        _log.info("user endpoint %s did not end cleanly: it is started in %.0f s", endpoint_id, pause_s)

    # -- work ------------------------------------------------------------------------------------

    async def _tell(self, endpoint_id: UUID, work: Coroutine[Any, Any, Changes]) -> None:
        changes = await work
        self._publisher.events(changes.moves, changes.results, self.core_of(endpoint_id))


def _broken(error: BaseException) -> None:
    if isinstance(error, ComputeError):
        _log.warning("a user endpoint was left as it is: %s", error)
    else:
        _log.error("a user endpoint could not be cared for", exc_info=error)
