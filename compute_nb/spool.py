"""This module is the spool: results in the home folder, for services that forget them.

Each process appends to a file of its own for each group, readable by its owner only; nothing in it is read
before somebody asks for that group. The groups of which nothing was heard for longest go when it gets too
large.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from compute_nb.errors import ComputeError
from compute_nb.home import Home
from compute_nb.stock import MAX_BYTES, Stock
from compute_nb.tasks import TaskResult, TaskState

log = logging.getLogger(__name__)


class Spool:
    """The results of one home. All methods are for any thread; `put` and `afterwards` do not block.

    Args:
        max_bytes: How large it may get.
    """

    def __init__(self, home: Home, max_bytes: int = MAX_BYTES) -> None:
        self._home = home
        self._own = secrets.token_hex(4)
        self._stock: Stock[TaskResult] = Stock(
            home.root / "spool", "*.jsonl", max_bytes, self._write, "spool"
        )

    def put(self, result: TaskResult) -> None:
        """Has a result written, soon; its `task_group_id` says where."""
        self._stock.put(result)

    def afterwards(self, call: Callable[[], None]) -> None:
        """Calls, on the spool's thread, once all that was put so far is on the disk, or can't be."""
        self._stock.afterwards(call)

    def of(self, task_group_id: UUID) -> dict[UUID, TaskResult]:
        """Returns what is kept of a group, by task; {} if nothing is."""
        found: dict[UUID, TaskResult] = {}
        for path in sorted(self._stock.folder.glob(f"{task_group_id}-*.jsonl")):
            with contextlib.suppress(OSError), path.open(encoding="ascii", errors="replace") as file:
                found.update((one.task_id, one) for one in _read(file, task_group_id))
        return found

    def close(self, timeout_s: float) -> None:
        """Writes what is waiting and ends the thread, within `timeout_s` seconds."""
        self._stock.close(timeout_s)

    # -- the spool's thread -------------------------------------------------------------------

    def _write(self, results: Sequence[TaskResult]) -> None:
        groups: dict[UUID, list[str]] = {}
        for result in results:
            groups.setdefault(result.task_group_id, []).append(_line(result))
        try:
            self._home.prepare()
            self._stock.folder.mkdir(mode=0o700, exist_ok=True)
            for group, lines in groups.items():
                self._append(group, "".join(lines).encode("ascii"))
        except (OSError, ComputeError) as error:  # a full disk, say: the futures have them all the same
            log.warning("%s results are not kept in the home folder: %s", len(results), error)

    def _append(self, group: UUID, data: bytes) -> None:
        if not self._stock.fits(len(data)):
            return
        path = self._stock.folder / f"{group}-{self._own}.jsonl"
        handle = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "ab") as file:
            file.write(data)
            file.flush()
            os.fdatasync(file.fileno()) if hasattr(os, "fdatasync") else os.fsync(file.fileno())
        self._stock.grown(len(data))


def spool_of(home: Home) -> Spool:
    """Returns the spool of a home, one for each process."""
    return _spools.setdefault(home.root, Spool(home))


_spools: dict[Path, Spool] = {}


def _line(result: TaskResult) -> str:
    kept = {
        "task": str(result.task_id),
        "state": result.state.value,
        "data": result.data,
        "code": result.error_code,
        "attempt": result.attempt,
        "times": [result.submitted_at, result.started_at, result.ended_at],
        "worker": None if result.worker is None else dict(result.worker),
    }
    return json.dumps(kept) + "\n"


def _read(lines: Iterator[str], task_group_id: UUID) -> Iterator[TaskResult]:
    """Yields what can be read: the last line of a process that was killed is torn."""
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            yield _result(json.loads(line), task_group_id)


def _result(kept: Mapping[str, Any], task_group_id: UUID) -> TaskResult:
    data, code, worker = kept["data"], kept["code"], kept["worker"]
    if not isinstance(data, str) or not isinstance(code, str | None) or not isinstance(worker, dict | None):
        raise TypeError("not as it was written")
    submitted_at, started_at, ended_at = (None if at is None else float(at) for at in kept["times"])
    state, attempt = TaskState(kept["state"]), int(kept["attempt"])
    times = submitted_at, started_at, ended_at
    return TaskResult(UUID(kept["task"]), task_group_id, state, data, code, attempt, *times, worker)
