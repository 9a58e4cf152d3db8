"""This module is the machine that an agent runs on: processors, boot, and processes by identity."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid5

import psutil

WORKER_MARK = "COMPUTE_NB_WORKER"
_EXEC_S = 0.5
_CGROUP = Path("/sys/fs/cgroup")
_OLD_MEMORY = ("memory.limit_in_bytes", "memory.usage_in_bytes")


def usable_cpus() -> int:
    """Returns how many processors this process may use, by affinity and by the quotas of its cgroups."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        groups = Path("/proc/self/cgroup").read_text()
    except OSError:
        return cpus
    limit = quota(groups)
    return cpus if limit >= cpus else max(1, math.ceil(limit))


def quota(groups: str, root: Path = _CGROUP) -> float:
    """Returns how many processors the quotas of cgroups allow; `groups` is /proc/self/cgroup."""
    return min((_quota_of(line, root) for line in groups.splitlines()), default=math.inf)


def _quota_of(line: str, cgroups: Path) -> float:
    """The smallest quota from a cgroup up to the root."""
    _, kinds, path = line.split(":", 2)
    root = cgroups if kinds == "" else cgroups / kinds
    if kinds not in ("", "cpu", "cpu,cpuacct"):
        return math.inf
    group = root / path.lstrip("/")
    folders = [group, *group.parents][: len(group.parts) - len(root.parts) + 1]
    return min((_quota_in(folder) for folder in folders), default=math.inf)


def _quota_in(folder: Path) -> float:
    with contextlib.suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        return int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError):
        quota_us = int((folder / "cpu.cfs_quota_us").read_text())
        period_us = int((folder / "cpu.cfs_period_us").read_text())
        return quota_us / period_us if quota_us > 0 else math.inf
    return math.inf


def memory() -> tuple[int, int]:
    """Returns the bytes of memory that this process may use, and how many are free now."""
    told = psutil.virtual_memory()
    try:
        groups = Path("/proc/self/cgroup").read_text()
    except OSError:
        return told.total, told.available
    limits = [(told.total, told.available), *memory_limits(groups)]
    return min(total for total, _ in limits), max(0, min(free for _, free in limits))


def memory_limits(groups: str, root: Path = _CGROUP) -> Iterator[tuple[int, int]]:
    """Yields the limit of each cgroup that has one, and how much of it is free, in bytes.

    Args:
        groups: What /proc/self/cgroup holds.
        root: Where cgroups are mounted.
    """
    for line in groups.splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds not in ("", "memory"):
            continue
        top = root / kinds
        group = top / path.lstrip("/")
        for folder in [group, *group.parents][: len(group.parts) - len(top.parts) + 1]:
            for most, now in (("memory.max", "memory.current"), _OLD_MEMORY):
                with contextlib.suppress(OSError, ValueError):  # "max" is no limit
                    limit = int((folder / most).read_text())
                    yield limit, limit - int((folder / now).read_text())


def boot_id() -> UUID:
    """Returns an id that is new after each start of the machine."""
    with contextlib.suppress(OSError, ValueError):
        return UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError, ValueError, subprocess.CalledProcessError):
        asked = ["sysctl", "-n", "kern.bootsessionuuid"]
        return UUID(subprocess.run(asked, capture_output=True, check=True, text=True).stdout.strip())
    return uuid5(UUID(int=0), f"boot at {round(psutil.boot_time() / 10)}")


def start_mark(pid: int) -> float:
    """Returns a number that tells a process from a later one with the same pid; 0 if there is none."""
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text()
        return float(stat.rpartition(")")[2].split()[19])  # clock ticks since boot: no clock moves it
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def kill_group(pid: int, mark: float, worker_mark: str) -> list[psutil.Process]:
    """Kills a worker of an earlier agent and all of its process group; never a process that reused its pid.

    Args:
        pid: The worker, leader of its group.
        mark: Its `start_mark` when it was started.
        worker_mark: The value of COMPUTE_NB_WORKER that its group inherited.

    Returns:
        The processes that were told to die, which may still be there.
    """
    doomed = _members(pid, mark, worker_mark)
    for process in doomed:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
    return doomed


def kill_marked(worker_mark: str) -> list[psutil.Process]:
    """Kills every process of this user that was started for a journal, wherever it stands in the tree.

    With a marked leader of a group goes its group: a process that gives itself a title writes over its own
    environment. A group whose leader has no mark may hold anybody, and is left but for those that have one.

    Args:
        worker_mark: The value of COMPUTE_NB_WORKER that all of them inherited; the agent itself has none.

    Returns:
        The processes that were told to die, which may still be there.
    """
    marked, groups = [], dict[int, list[psutil.Process]]()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            groups.setdefault(os.getpgid(process.pid), []).append(process)
            if process.environ().get(WORKER_MARK) == worker_mark:
                marked.append(process)
    doomed = {process for leader in marked for process in (leader, *groups.get(leader.pid, ()))}
    for process in doomed:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
    return list(doomed)


def _members(pid: int, mark: float, worker_mark: str) -> list[psutil.Process]:
    now = start_mark(pid)
    if pid == 0 or now not in (0.0, mark):
        return []
    found = []
    is_led = now == mark != 0.0  # then the group is its own; a child amid exec has no environment to read yet
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) != pid:
                continue
            if is_led or _environment(process).get(WORKER_MARK) == worker_mark:
                found.append(process)
    return found


def _environment(process: psutil.Process) -> dict[str, str]:
    """Returns the environment of a process, which has none to read while it is amid exec."""
    until = time.monotonic() + _EXEC_S
    while not (found := process.environ()) and time.monotonic() < until:
        time.sleep(0.01)
    return found
