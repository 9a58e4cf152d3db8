"""This module is the keeper of local agents: one for each Python environment, started again when it dies.

A living agent is never doubled: its lock is asked before another starts, and one that has lost its
connection gets the time that it needs to come back.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from compute_nb.errors import ComputeError
from compute_nb.home import Home
from compute_nb.service.local_agent import NAME, LocalAgent, LocalEndpoint, read_id, write_id
from compute_nb.service.store import Store

_log = logging.getLogger(__name__)

META_KEY = "local_endpoints"

FIRST_LOOK_S, LAST_LOOK_S = 0.25, 5.0
FIRST_PAUSE_S, LAST_PAUSE_S = 0.25, 30.0
HEALTHY_S = 30.0
MAX_STOP_S = 24 * 3600.0


@dataclass(slots=True)
class _Kept:
    """An endpoint under the keeper's care.

    Attributes:
        here: Set while an agent of it reads its tasks; `gone` is the contrary.
        keeper: Runs while an agent is wanted.
    """

    agent: LocalAgent
    here: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    keeper: asyncio.Task[None] | None = None

    @property
    def endpoint(self) -> LocalEndpoint:
        return self.agent.endpoint


class Supervisor:
    """Starts and stops local agents; loop thread only.

    Args:
        home: Where the agents' folders are.
        store: Started; remembers which endpoints are local.
        send_stop: Called with an endpoint id to ask its agent, over the broker, to end.
    """

    def __init__(self, home: Home, store: Store, send_stop: Callable[[UUID], None]) -> None:
        self._home = home
        self._store = store
        self._send_stop = send_stop
        self._kept: dict[UUID, _Kept] = {}
        self._making = asyncio.Lock()
        self._stops: set[asyncio.Task[None]] = set()
        self._ending = False
        self._now = asyncio.Event()

    def __repr__(self) -> str:
        here = sum(kept.here.is_set() for kept in self._kept.values())
        return f"<Supervisor, {len(self._kept)} local endpoints, {here} connected>"

    async def start(self) -> None:
        """Takes up the local endpoints of last time; those with open tasks get an agent."""
        for row in json.loads(await self._store.get_meta(META_KEY) or "[]"):
            endpoint = LocalEndpoint(**row)
            endpoint_id = UUID(endpoint.endpoint_id)
            self._kept[endpoint_id] = _Kept(LocalAgent(self._home, endpoint))
            if any(await self._store.outstanding(endpoint_id)):
                self.need(endpoint_id)

    async def local(self, user: UUID, python: str, prefix: str, *, start: bool = True) -> tuple[UUID, str]:
        """Returns id and name of an environment's endpoint.

        Args:
            user: To whom it belongs.
            python: The interpreter's full path.
            prefix: Its `sys.prefix`, which tells environments apart.
            start: True: sees to it that its agent runs.
        """
        async with self._making:
            kept = self._find(prefix)
            if kept is None or kept.endpoint.python != python:
                kept = await self._make(user, python, prefix, kept)
        endpoint_id = UUID(kept.endpoint.endpoint_id)
        if start:
            self.need(endpoint_id)
        return endpoint_id, kept.endpoint.name

    def need(self, endpoint_id: UUID) -> None:
        """Starts a local endpoint's agent unless it is there, or all are to end; called at each submit."""
        kept = self._kept.get(endpoint_id)
        if kept is not None and not self._ending and (kept.keeper is None or kept.keeper.done()):
            kept.keeper = asyncio.get_running_loop().create_task(self._keep(kept))

    def presence(self, endpoint_id: UUID, present: bool) -> None:
        """Notes that an agent has begun or ceased to read its tasks."""
        kept = self._kept.get(endpoint_id)
        if kept is None:
            return
        (kept.here if present else kept.gone).set()
        (kept.gone if present else kept.here).clear()
        if present:
            self.need(endpoint_id)

    async def stop(self, endpoint_id: UUID) -> None:
        """Stops an endpoint's agent, by message and then by signal; it stays away until it is needed.

        Its running tasks have the time that it gives them, unless `hurry` was called.
        """
        await self._stop(endpoint_id, self._now)

    async def stop_within(self, endpoint_id: UUID, wait_s: float) -> None:
        """As `stop`, but returns after `wait_s` at the latest, while it goes on."""
        stopping = asyncio.get_running_loop().create_task(self.stop(endpoint_id))
        self._stops.add(stopping)
        stopping.add_done_callback(self._stops.discard)
        for done in (await asyncio.wait({stopping}, timeout=wait_s))[0]:
            done.result()

    async def stop_all(self) -> None:
        """Stops all local agents, for good."""
        self._ending = True
        await asyncio.gather(*(self.stop(endpoint_id) for endpoint_id in self._kept))

    def hurry(self) -> None:
        """Has agents that are being stopped end now, whatever they run."""
        self._now.set()

    async def _stop(self, endpoint_id: UUID, now: asyncio.Event) -> None:
        self._send_stop(endpoint_id)
        kept = self._kept.get(endpoint_id)
        if kept is not None:
            self._let_go(kept)
            agent = await self._last_agent(endpoint_id)
            pid = agent.get("pid")
            await kept.agent.end(
                *(kept.here.is_set(), pid if isinstance(pid, int) else None), _stop_s(agent), now
            )

    def leave_all(self) -> None:
        """Stops caring for agents and lets them run; the next service finds them again."""
        for kept in self._kept.values():
            self._let_go(kept)

    async def forget(self, endpoint_id: UUID) -> None:
        """Stops an endpoint's agent for good, since the endpoint was deleted, with what it runs."""
        now = asyncio.Event()
        now.set()
        await self._stop(endpoint_id, now)
        if self._kept.pop(endpoint_id, None) is not None:
            await self._save()

    def _find(self, prefix: str) -> _Kept | None:
        return next((k for k in self._kept.values() if k.endpoint.prefix == prefix), None)

    async def _make(self, user: UUID, python: str, prefix: str, old: _Kept | None) -> _Kept:
        name = old.endpoint.name if old else self._free_name(prefix)
        folder = self._home.endpoint_dir(name)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = UUID(old.endpoint.endpoint_id) if old else read_id(folder)
        metadata = {"compute_nb": {"version": 1}, "python": python, "prefix": prefix}
        endpoint_id = await self._store.register_endpoint(user, name, metadata, known)
        write_id(folder, endpoint_id)
        endpoint = LocalEndpoint(str(endpoint_id), name, python, prefix)
        kept = old or _Kept(LocalAgent(self._home, endpoint))
        kept.agent.endpoint = endpoint
        self._kept[endpoint_id] = kept
        await self._save()
        return kept

    def _free_name(self, prefix: str) -> str:
        taken = {kept.endpoint.name for kept in self._kept.values()}
        return NAME if NAME not in taken else f"{NAME}-{hashlib.sha256(prefix.encode()).hexdigest()[:8]}"

    async def _save(self) -> None:
        rows = [asdict(kept.endpoint) for kept in self._kept.values()]
        await self._store.set_meta(META_KEY, json.dumps(rows))

    async def _keep(self, kept: _Kept) -> None:
        """Has an agent run, until it is let go; whatever else ends it, the next submit begins it again."""
        pause_s = FIRST_PAUSE_S
        clock = asyncio.get_running_loop().time
        try:
            while True:
                began = clock()
                try:
                    await self._away(kept)
                    began = clock()
                    await kept.agent.run()
                    what = f"its agent ended ({kept.agent.last_words()})"
                except OSError as error:
                    what = f"its agent can't be started ({error})"
                pause_s = FIRST_PAUSE_S if clock() - began > HEALTHY_S else pause_s
                _log.warning(
                    "endpoint %s: %s; another starts in %.1f s, its log is %s",
                    *(kept.endpoint.endpoint_id, what, pause_s, kept.agent.log),
                )
                await _within(kept.here, pause_s)
                pause_s = min(2 * pause_s, LAST_PAUSE_S)
        except Exception:  # noqa: BLE001 - the top of a task of the loop
            _log.exception("endpoint %s is left alone until the next submit", kept.endpoint.endpoint_id)

    async def _away(self, kept: _Kept) -> None:
        """Returns when no agent is there; one that an earlier service started may still be coming back."""
        pause_s = FIRST_LOOK_S
        while kept.here.is_set() or kept.agent.alive():
            if kept.here.is_set():
                await kept.gone.wait()
                pause_s = FIRST_LOOK_S
            else:
                await _within(kept.here, pause_s)
                pause_s = min(2 * pause_s, LAST_LOOK_S)

    def _let_go(self, kept: _Kept) -> None:
        if kept.keeper is not None:
            kept.keeper.cancel()
            kept.keeper = None

    async def _last_agent(self, endpoint_id: UUID) -> Mapping[str, Any]:
        """Returns what an endpoint's agent said of itself in its last hello."""
        try:
            row = await self._store.endpoint(None, endpoint_id)
        except ComputeError:
            return {}
        return row.agent or {}


def _stop_s(agent: Mapping[str, Any]) -> float:
    """How long an agent's running tasks may go on once it is stopped."""
    told = agent.get("stop_s")
    return min(max(float(told), 0.0), MAX_STOP_S) if isinstance(told, int | float) else 0.0


async def _within(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return False
    return True
