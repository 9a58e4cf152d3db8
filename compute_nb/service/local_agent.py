"""This module is a local agent as a process: started, waited for, found again, ended.

It runs in a session of its own, so that it outlives a killed service and goes on with its tasks. What says
whether one lives is the lock of its folder, whoever started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psutil
from filelock import FileLock, Timeout

from compute_nb.config import TOKEN_VARIABLE, URL_VARIABLE
from compute_nb.home import HOME_VARIABLE, Home
from compute_nb.private import write_private
from compute_nb.service.logfile import append

_log = logging.getLogger(__name__)

LOCK_FILE = "agent.lock"
ID_FILE = "endpoint.json"
LOG_FILE = "agent.log"
LAST_LINE_BYTES = 500
PATIENCE_S = 2.0
LOOK_S = 0.5
NAME = "local"
_OWN = re.compile(NAME + "(-[0-9a-f]{8})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class LocalEndpoint:
    """An endpoint of a Python environment of this host, as the store remembers it."""

    endpoint_id: str
    name: str
    python: str
    prefix: str


class LocalAgent:
    """The process that serves one local endpoint; loop thread only.

    A daemon thread `agent-<pid>` waits for the end of each process that was started here.

    Args:
        home: Where the agent finds service and token.
        endpoint: Which one it serves; may be replaced while none runs.
    """

    def __init__(self, home: Home, endpoint: LocalEndpoint) -> None:
        self.endpoint = endpoint
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """Where the agent's own words are."""
        return self._folder / LOG_FILE

    @property
    def _folder(self) -> Path:
        return self._home.endpoint_dir(self.endpoint.name)

    def alive(self) -> bool:
        """True if an agent holds the lock of the folder."""
        return _locked(self._folder / LOCK_FILE)

    async def run(self) -> None:
        """Starts a process and returns when it has ended.

        Raises:
            OSError: The interpreter can't be started.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if read_id(self._folder) != UUID(self.endpoint.endpoint_id):
            write_id(self._folder, UUID(self.endpoint.endpoint_id))
        with append(self.log) as log:
            process = subprocess.Popen(
                [self.endpoint.python, "-m", "compute_nb.cli", "endpoint", "run", self.endpoint.name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=self._environment(),
                start_new_session=True,
            )
        self._process = process
        _log.info("endpoint %s (%s): agent pid %s", *self._names(), process.pid)
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        threading.Thread(
            target=_wait, args=(process, loop, ended), daemon=True, name=f"agent-{process.pid}"
        ).start()
        await ended.wait()

    def last_words(self) -> str:
        """How the process that was started here ended: its exit status and the last line of its log."""
        lines: list[str] = []
        with contextlib.suppress(OSError), self.log.open("rb") as file:
            file.seek(-min(LAST_LINE_BYTES, self.log.stat().st_size), os.SEEK_END)
            lines = file.read().decode(errors="replace").strip().splitlines()
        status = self._process.returncode if self._process else None
        return f"status {status}, {lines[-1] if lines else 'it said nothing'}"

    async def end(self, told: bool, hint: int | None, stop_s: float, now: asyncio.Event) -> None:
        """Waits for the end of the agent; asks by signal if it was not told or does not listen.

        Args:
            told: True if it was told to stop by message.
            hint: The pid that it gave in its last hello, for one that was not started here.
            stop_s: How long its running tasks may go on.
            now: Set when nobody waits for them any more.
        """
        process = self._find(hint)
        if process is None:
            return
        if not told:
            self._signal(process, signal.SIGTERM)
        if await _ended_in(process, stop_s + PATIENCE_S, now):
            return
        # The second SIGTERM has an agent end at once, with all its processes.
        for number in (*[signal.SIGTERM] * (2 if told else 1), signal.SIGKILL):
            self._signal(process, number)
            if await asyncio.to_thread(_gone, process, PATIENCE_S):
                return

    def _signal(self, process: psutil.Process, number: signal.Signals) -> None:
        _log.info("endpoint %s (%s): sending %s", *self._names(), number.name)
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)

    def _find(self, hint: int | None) -> psutil.Process | None:
        if self._process is not None and self._process.returncode is None:
            return _process(self._process.pid)
        if hint is None or not self.alive():
            return None
        process = _process(hint)
        return process if process and _serves(process, self.endpoint.name) else None

    def _names(self) -> tuple[str, str]:
        return self.endpoint.endpoint_id, self.endpoint.name

    def _environment(self) -> dict[str, str]:
        """Returns the agent's environment: this home's own service, whatever the starter's was."""
        environment = {k: v for k, v in os.environ.items() if k not in (URL_VARIABLE, TOKEN_VARIABLE)}
        return environment | {HOME_VARIABLE: str(self._home.root)}


def is_local(name: str) -> bool:
    """True if an endpoint of this name is one that the service starts and stops by itself."""
    return _OWN.fullmatch(name) is not None


async def _ended_in(process: psutil.Process, seconds: float, now: asyncio.Event) -> bool:
    """True once a process has ended; False after `seconds`, or when `now` is set."""
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    while clock() < until and not now.is_set():
        if await asyncio.to_thread(_gone, process, min(LOOK_S, max(until - clock(), 0.0))):
            return True
    return False


def end_orphans(home: Home, stop_s: float = 0.0) -> int:
    """Ends the local agents that a killed service has left; blocks, and returns how many there were.

    They are known by the locks that they hold; one that was started by its user's own command stays.

    Args:
        home: Whose they are.
        stop_s: How long their running tasks may go on.
    """
    locks = [path.resolve() for path in (home.state / "endpoints").glob(f"*/{LOCK_FILE}")]
    own = [path for path in locks if is_local(path.parent.name)]
    held = {str(path): path.parent.name for path in own if _locked(path)}
    if not held:
        return 0
    agents = [p for p in psutil.process_iter() if any(_holds(p, path, name) for path, name in held.items())]
    for number, patience_s in ((signal.SIGTERM, stop_s + PATIENCE_S), (signal.SIGKILL, PATIENCE_S)):
        for process in agents:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        _, alive = psutil.wait_procs(agents, timeout=patience_s)
        if not alive:
            break
    return len(agents)


def _locked(path: Path) -> bool:
    try:
        with FileLock(path, mode=0o600, timeout=0):
            return False
    except Timeout:
        return True


def _holds(process: psutil.Process, lock: str, name: str) -> bool:
    try:
        return _serves(process, name) and lock in {file.path for file in process.open_files()}
    except psutil.Error:
        return False


def read_id(folder: Path) -> UUID | None:
    """Returns the id under which an agent of this folder was known, also if the store was lost since."""
    try:
        return UUID(json.loads((folder / ID_FILE).read_text(encoding="utf-8"))["endpoint_id"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_id(folder: Path, endpoint_id: UUID) -> None:
    """Tells the agent of this folder under which id to register."""
    write_private(folder / ID_FILE, json.dumps({"endpoint_id": str(endpoint_id)}))


def _wait(process: subprocess.Popen[bytes], loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    process.wait()
    try:
        loop.call_soon_threadsafe(ended.set)
    except RuntimeError:
        _log.debug("agent pid %s ended after the service", process.pid)


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


def _serves(process: psutil.Process, name: str) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return bool(words[-3:] == ["endpoint", "run", name])


def _gone(process: psutil.Process, patience_s: float) -> bool:
    """Waits a while for a process to end, whoever reaps it; blocks."""
    try:
        process.wait(patience_s)
    except psutil.TimeoutExpired:
        return False
    return True
