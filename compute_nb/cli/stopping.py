"""This module is the stopping of a service: it is asked, then told by a signal, and its end is waited for."""

from __future__ import annotations

import time
from typing import Any

import click

from compute_nb.errors import ComputeError
from compute_nb.home import Home
from compute_nb.service.lock import locked, running

STOP_S = 15.0
KILL_S = 10.0
TOLD_S = 2.0


def stop_service(home: Home, *, keep_agents: bool = False, now: bool = False) -> bool:
    """Stops the service of a home and waits for its end; False if none runs.

    Tasks that local endpoints run have the time that each of these gives them, which is told; Ctrl-C is an
    end of that the second time.

    Args:
        home: Whose service.
        keep_agents: True leaves local endpoints running.
        now: True gives their tasks no time.

    Raises:
        ComputeError: It does not end; the text names the process.
    """
    if not keep_agents and home.state.exists():
        home.stopped_mark.touch(mode=0o600)
    if not locked(home):
        return False
    stop_s = 0.0 if keep_agents or now else longest_stop_s(home)
    pid = _ask_to_stop(home, keep_agents, now)
    if _ended_in_time(home, stop_s):
        return True
    _terminate(home, pid)
    if _ended(home, KILL_S):
        return True
    raise ComputeError(
        f"the service (process {pid}) does not end: its log is {home.service_log}; `kill -9 {pid}` loses "
        "no accepted task"
    )


def longest_stop_s(home: Home) -> float:
    """Returns how long the local endpoints that run let their tasks go on once they are stopped, at most."""
    from compute_nb.cli.roster import folders
    from compute_nb.service.local_agent import is_local

    notes = [one.last() for one in folders(home) if is_local(one.name) and one.taken()]
    return max((note.stop_s for note in notes if note is not None), default=0.0)


def _ended(home: Home, wait_s: float) -> bool:
    from filelock import FileLock, Timeout

    try:
        FileLock(home.service_lock).acquire(timeout=wait_s, poll_interval=0.02).lock.release()
    except Timeout:
        return False
    return True


def _ended_in_time(home: Home, stop_s: float) -> bool:
    """As `_ended`, and says what it waits for; False also at the second Ctrl-C: the first one warns of it."""
    until = time.monotonic() + stop_s + STOP_S
    try:
        if _ended(home, TOLD_S):
            return True
        if stop_s > TOLD_S:
            click.echo(
                f"what local endpoints run has {stop_s:g} s: `compute-nb service stop --now`, or Ctrl-C "
                "twice, does not wait for it",
                err=True,
            )
        return _ended(home, max(until - time.monotonic(), 0.0))
    except KeyboardInterrupt:
        try:
            click.echo("the service ends all the same; Ctrl-C again ends what runs too", err=True)
            return _ended(home, max(until - time.monotonic(), 0.0))
        except KeyboardInterrupt:
            return False


def _ask_to_stop(home: Home, keep_agents: bool, now: bool) -> int | None:
    """Asks over REST, else by signal; returns the pid if it is known."""
    from compute_nb.cli.control import ask

    service = running(home)
    pid = service.pid if service else None
    try:
        ask(home, "POST", "/v3/compute_nb/stop", {"keep_agents": keep_agents, "now": now}, timeout_s=5.0)
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
