"""This module is the spool: results in the home folder, for services that forget them.

Each process appends to a file of its own for each group, readable by its owner only; nothing in it is read
before somebody asks for that group. The groups of which nothing was heard for longest go when it gets too
large.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import queue
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from compute_nb.config import Home
from compute_nb.errors import ComputeError
from compute_nb.tasks import TaskResult, TaskState

log = logging.getLogger(__name__)

MAX_BYTES = 1_000_000_000
_KEPT = 0.9  # of the limit, so that not every result makes room for itself
_EXIT_S = 2.0

Item = TaskResult | Callable[[], None]


class Spool:
    """The results of one home. Owner of the thread `compute_nb spool`, which writes; `put` starts it.

    All methods are for any thread; `put` and `afterwards` do not block.

    Args:
        max_bytes: How large it may get.
    """

    def __init__(self, home: Home, max_bytes: int = MAX_BYTES) -> None:
        self._home, self._max_bytes = home, max_bytes
        self._folder = home.root / "spool"
        self._own = secrets.token_hex(4)
        self._queue: queue.Queue[Item | None] = queue.Queue()
        self._size: int | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def put(self, result: TaskResult) -> None:
        """Has a result written, soon; its `task_group_id` says where."""
        self._queue.put(result)
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="compute_nb spool", daemon=True)
                self._thread.start()
                atexit.register(self.close, _EXIT_S)

    def afterwards(self, call: Callable[[], None]) -> None:
        """Calls, on the spool's thread, once all that was put so far is on the disk, or can't be."""
        with self._starting:
            if self._thread is not None:
                self._queue.put(call)
                return
        call()

    def of(self, task_group_id: UUID) -> dict[UUID, TaskResult]:
        """Returns what is kept of a group, by task; {} if nothing is."""
        found: dict[UUID, TaskResult] = {}
        for path in sorted(self._folder.glob(f"{task_group_id}-*.jsonl")):
            with contextlib.suppress(OSError), path.open(encoding="ascii", errors="replace") as file:
                found.update((one.task_id, one) for one in _read(file, task_group_id))
        return found

    def close(self, timeout_s: float) -> None:
        """Writes what is waiting and ends the thread, within `timeout_s` seconds."""
        with self._starting:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._queue.put(None)
        if thread is not None:
            thread.join(timeout_s)
            atexit.unregister(self.close)

    # -- the spool's thread -------------------------------------------------------------------

    def _run(self) -> None:
        ended = False
        while not ended:
            items = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    items.append(self._queue.get_nowait())
            ended = None in items
            self._write([one for one in items if isinstance(one, TaskResult)])
            for one in items:
                if one is not None and not isinstance(one, TaskResult):
                    one()

    def _write(self, results: list[TaskResult]) -> None:
        groups: dict[UUID, list[str]] = {}
        for result in results:
            groups.setdefault(result.task_group_id, []).append(_line(result))
        try:
            if groups:
                self._home.prepare()
                self._folder.mkdir(mode=0o700, exist_ok=True)
            for group, lines in groups.items():
                self._append(group, "".join(lines).encode("ascii"))
        except (OSError, ComputeError) as error:  # a full disk, say: the futures have them all the same
            log.warning("%s results are not kept in the home folder: %s", len(results), error)

    def _append(self, group: UUID, data: bytes) -> None:
        if len(data) > self._max_bytes * _KEPT:
            return
        path = self._folder / f"{group}-{self._own}.jsonl"
        handle = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "ab") as file:
            file.write(data)
            file.flush()
            os.fdatasync(file.fileno()) if hasattr(os, "fdatasync") else os.fsync(file.fileno())
        self._size = self._measure() if self._size is None else self._size + len(data)
        if self._size > self._max_bytes:
            self._make_room()

    def _files(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in self._folder.glob("*.jsonl"):
            with contextlib.suppress(OSError):  # another kernel may have removed it
                facts = path.stat()
                found.append((facts.st_mtime, facts.st_size, path))
        return sorted(found)

    def _measure(self) -> int:
        return sum(size for _, size, _ in self._files())

    def _make_room(self) -> None:
        files = self._files()
        self._size = sum(size for _, size, _ in files)
        for _, size, path in files:
            if self._size <= self._max_bytes * _KEPT:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            self._size -= size


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
