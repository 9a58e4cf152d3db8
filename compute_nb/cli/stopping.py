"""This module is the stopping of a service: it is asked, then told by a signal, and its end is waited for."""

from __future__ import annotations

from typing import Any

import click

from compute_nb.errors import ComputeError
from compute_nb.home import Home
from compute_nb.service.lock import locked, running

STOP_S = 15.0
KILL_S = 5.0


def stop_service(home: Home, keep_agents: bool = False) -> bool:
    """Stops the service of a home and waits for its end; False if none runs.

    Raises:
        ComputeError: It does not end; the text names the process.
    """
    from filelock import FileLock, Timeout

    if not keep_agents and home.state.exists():
        home.stopped_mark.touch(mode=0o600)
    if not locked(home):
        return False
    pid = _ask_to_stop(home, keep_agents)
    for wait_s in (STOP_S, KILL_S):
        try:
            FileLock(home.service_lock).acquire(timeout=wait_s, poll_interval=0.02).lock.release()
        except Timeout:
            _terminate(home, pid)
        else:
            return True
    raise ComputeError(
        f"the service (process {pid}) does not end: its log is {home.service_log}; `kill -9 {pid}` loses "
        "no accepted task"
    )


def _ask_to_stop(home: Home, keep_agents: bool) -> int | None:
    """Asks over REST, else by signal; returns the pid if it is known."""
    from compute_nb.cli.control import ask

    service = running(home)
    pid = service.pid if service else None
    try:
        ask(home, "POST", "/v3/compute_nb/stop", {"keep_agents": keep_agents}, timeout_s=5.0)
    except ComputeError as error:
        click.echo(f"the service did not take the request to stop ({error}): sending SIGTERM", err=True)
        _terminate(home, pid)
    return pid


def _terminate(home: Home, pid: int | None) -> None:
    """Sends SIGTERM to the process that holds the lock, if it is what it should be."""
    import psutil

    for process in psutil.process_iter() if pid is None else [_process(pid)]:
        if process is not None and _serves(process, home):
            process.terminate()


def _process(pid: int) -> Any:
    import psutil

    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


def _serves(process: Any, home: Home) -> bool:
    """True if a process is `service run` and has this home's lock open."""
    import psutil

    try:
        if "service" not in process.cmdline() or "run" not in process.cmdline():
            return False
        return str(home.service_lock.resolve()) in {file.path for file in process.open_files()}
    except psutil.Error:
        return False
