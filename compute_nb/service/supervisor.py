"""This module is the keeper of local agents: one for each Python environment, started again when it dies.

An agent is a process in a session of its own, so that it outlives a killed service and goes on with its
tasks. Two for one endpoint do no harm: the second finds the lock of its folder taken, and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from filelock import FileLock, Timeout

from compute_nb.config import HOME_VARIABLE, TOKEN_VARIABLE, URL_VARIABLE, Home, write_private
from compute_nb.errors import ComputeError
from compute_nb.service.logfile import append
from compute_nb.service.store import Store

_log = logging.getLogger(__name__)

META_KEY = "local_endpoints"
NAME = "local"
LOCK_FILE = "agent.lock"
ID_FILE = "endpoint.json"
LOG_FILE = "agent.log"

LOOK_S = 0.5
STOP_S = 6.0
FIRST_PAUSE_S, LAST_PAUSE_S = 0.25, 30.0
HEALTHY_S = 30.0


@dataclass(frozen=True, slots=True)
class LocalEndpoint:
    """An endpoint of a Python environment of this host, as the store remembers it."""

    endpoint_id: str
    name: str
    python: str
    prefix: str


@dataclass(slots=True)
class _Kept:
    """An endpoint under the keeper's care.

    Attributes:
        here: Set while an agent of it reads its tasks; `gone` is the contrary.
        keeper: Runs while an agent is wanted.
    """

    endpoint: LocalEndpoint
    here: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    keeper: asyncio.Task[None] | None = None
    process: subprocess.Popen[bytes] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor:
    """Starts and stops local agents; loop thread only.

    One daemon thread `agent-<pid>` for each process waits for its end.

    Args:
        home: Where the agents' folders are; they find service and token there.
        store: Started; remembers which endpoints are local.
        send_stop: Called with an endpoint id to ask its agent, over the broker, to end.
    """

    def __init__(self, home: Home, store: Store, send_stop: Callable[[UUID], None]) -> None:
        self._home = home
        self._store = store
        self._send_stop = send_stop
        self._kept: dict[UUID, _Kept] = {}
        self._making = asyncio.Lock()

    def __repr__(self) -> str:
        here = sum(kept.here.is_set() for kept in self._kept.values())
        return f"<Supervisor, {len(self._kept)} local endpoints, {here} connected>"

    async def start(self) -> None:
        """Takes up the local endpoints of last time; those with open tasks get an agent."""
        for row in json.loads(await self._store.get_meta(META_KEY) or "[]"):
            endpoint = LocalEndpoint(**row)
            endpoint_id = UUID(endpoint.endpoint_id)
            self._kept[endpoint_id] = _Kept(endpoint)
            if any(await self._store.outstanding(endpoint_id)):
                self.need(endpoint_id)

    async def local(self, user: UUID, python: str, prefix: str) -> tuple[UUID, str]:
        """Returns id and name of an environment's endpoint, and sees to it that its agent runs.

        Args:
            user: To whom it belongs.
            python: The interpreter's full path.
            prefix: Its `sys.prefix`, which tells environments apart.
        """
        async with self._making:
            kept = self._find(prefix)
            if kept is None or kept.endpoint.python != python:
                kept = await self._make(user, python, prefix, kept)
        endpoint_id = UUID(kept.endpoint.endpoint_id)
        self.need(endpoint_id)
        return endpoint_id, kept.endpoint.name

    def need(self, endpoint_id: UUID) -> None:
        """Starts a local endpoint's agent unless it is there; called at each submit."""
        kept = self._kept.get(endpoint_id)
        if kept is not None and kept.keeper is None:
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
        """Stops an endpoint's agent, by message and then by signal; it stays away until it is needed."""
        self._send_stop(endpoint_id)
        kept = self._kept.get(endpoint_id)
        if kept is None:
            return
        self._let_go(kept)
        await self._end(kept)

    async def stop_all(self) -> None:
        """Stops all local agents."""
        await asyncio.gather(*(self.stop(endpoint_id) for endpoint_id in self._kept))

    def leave_all(self) -> None:
        """Stops caring for agents and lets them run; the next service finds them again."""
        for kept in self._kept.values():
            self._let_go(kept)

    async def forget(self, endpoint_id: UUID) -> None:
        """Stops an endpoint's agent for good, since the endpoint was deleted."""
        await self.stop(endpoint_id)
        if self._kept.pop(endpoint_id, None) is not None:
            await self._save()

    def _find(self, prefix: str) -> _Kept | None:
        return next((k for k in self._kept.values() if k.endpoint.prefix == prefix), None)

    async def _make(self, user: UUID, python: str, prefix: str, old: _Kept | None) -> _Kept:
        name = old.endpoint.name if old else self._free_name(prefix)
        folder = self._home.endpoint_dir(name)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = UUID(old.endpoint.endpoint_id) if old else _read_id(folder)
        metadata = {"compute_nb": {"version": 1}, "python": python, "prefix": prefix}
        endpoint_id = await self._store.register_endpoint(user, name, metadata, known)
        write_private(folder / ID_FILE, json.dumps({"endpoint_id": str(endpoint_id)}))
        endpoint = LocalEndpoint(str(endpoint_id), name, python, prefix)
        kept = old or _Kept(endpoint)
        kept.endpoint = endpoint
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
        """Has an agent run, until it is let go."""
        pause_s = FIRST_PAUSE_S
        try:
            while True:
                await self._away(kept)
                began = asyncio.get_running_loop().time()
                self._spawn(kept)
                await kept.ended.wait()
                if asyncio.get_running_loop().time() - began > HEALTHY_S:
                    pause_s = FIRST_PAUSE_S
                self._say_end(kept, pause_s)
                await _within(kept.here, pause_s)
                pause_s = min(2 * pause_s, LAST_PAUSE_S)
        except OSError as error:
            _log.error("endpoint %s can't be started: %s", kept.endpoint.endpoint_id, error)
            kept.keeper = None

    async def _away(self, kept: _Kept) -> None:
        """Returns when no agent is there; one that an earlier service started may still be coming back."""
        while kept.here.is_set() or _alive(self._folder(kept)):
            if kept.here.is_set():
                await kept.gone.wait()
            else:
                await _within(kept.here, LOOK_S)

    def _folder(self, kept: _Kept) -> Path:
        return self._home.endpoint_dir(kept.endpoint.name)

    def _spawn(self, kept: _Kept) -> None:
        endpoint = kept.endpoint
        folder = self._folder(kept)
        with append(folder / LOG_FILE) as log:
            kept.process = subprocess.Popen(
                [endpoint.python, "-m", "compute_nb.cli", "endpoint", "run", endpoint.name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=self._environment(),
                start_new_session=True,
            )
        kept.ended.clear()
        loop = asyncio.get_running_loop()
        threading.Thread(
            target=_wait, args=(kept.process, loop, kept.ended), daemon=True, name=f"agent-{kept.process.pid}"
        ).start()
        _log.info("endpoint %s (%s): agent pid %s", endpoint.endpoint_id, endpoint.name, kept.process.pid)

    def _environment(self) -> dict[str, str]:
        """Returns the agent's environment: this home's own service, whatever the starter's was."""
        environment = {k: v for k, v in os.environ.items() if k not in (URL_VARIABLE, TOKEN_VARIABLE)}
        return environment | {HOME_VARIABLE: str(self._home.root)}

    def _say_end(self, kept: _Kept, pause_s: float) -> None:
        code = kept.process.returncode if kept.process else None
        if not kept.here.is_set():
            _log.warning(
                "endpoint %s: its agent ended with %s; another starts in %.1f s, its log is %s",
                *(kept.endpoint.endpoint_id, code, pause_s, self._folder(kept) / LOG_FILE),
            )

    def _let_go(self, kept: _Kept) -> None:
        if kept.keeper is not None:
            kept.keeper.cancel()
            kept.keeper = None

    async def _end(self, kept: _Kept) -> None:
        """Waits for the end of an endpoint's agent; asks by message, by signal, then does not ask."""
        process = await self._process(kept)
        if process is None:
            return
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is None and not kept.here.is_set():
                continue
            if number is not None:
                _log.info("agent pid %s: sending %s", process.pid, number.name)
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            if await asyncio.to_thread(_gone, process):
                return

    async def _process(self, kept: _Kept) -> psutil.Process | None:
        """Returns the agent's process, also if an earlier service started it."""
        if kept.process is not None and kept.process.returncode is None:
            return _process(kept.process.pid)
        if not _alive(self._folder(kept)):
            return None
        try:
            row = await self._store.endpoint(None, UUID(kept.endpoint.endpoint_id))
        except ComputeError:
            return None
        pid = (row.agent or {}).get("pid")
        process = _process(pid) if isinstance(pid, int) else None
        return process if process and _is_agent(process, kept.endpoint.name) else None


async def _within(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return False
    return True


def _wait(process: subprocess.Popen[bytes], loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    process.wait()
    try:
        loop.call_soon_threadsafe(ended.set)
    except RuntimeError:
        _log.debug("agent pid %s ended after the service", process.pid)


def _alive(folder: Path) -> bool:
    """True if an agent holds the lock of its folder."""
    try:
        with FileLock(folder / LOCK_FILE, timeout=0):
            return False
    except Timeout:
        return True


def _read_id(folder: Path) -> UUID | None:
    """The id under which an agent of this folder was known before the store was lost."""
    try:
        fields: dict[str, Any] = json.loads((folder / ID_FILE).read_text(encoding="utf-8"))
        return UUID(fields["endpoint_id"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


def _is_agent(process: psutil.Process, name: str) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return bool(words[-3:] == ["endpoint", "run", name])


def _gone(process: psutil.Process) -> bool:
    """Waits a while for a process to end, whoever reaps it; blocks."""
    try:
        process.wait(STOP_S / 3)
    except psutil.TimeoutExpired:
        return False
    return True
