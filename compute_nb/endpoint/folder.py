"""This module is the folder of an endpoint: whether an agent runs in it, which one, and how it was asked to.

The lock alone says whether one runs. Its note, `agent.json`, says the rest: which process, for which service,
with which options, and at the end what became of its tasks. It holds no secret.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from filelock import FileLock, Timeout

from compute_nb.endpoint import machine
from compute_nb.private import write_private

LOCK_FILE, NOTE_FILE, ID_FILE, LOG_FILE = "agent.lock", "agent.json", "endpoint.json", "agent.log"


@dataclass(frozen=True, slots=True)
class Farewell:
    """What became of the tasks that an agent had when it was asked to end; counts.

    Attributes:
        ended: Those that were running and came to their end.
        killed: Those that were running and were killed, since `stop_s` was over.
        kept: Those that had not begun: they begin when the endpoint is back.
        unsent: Ends that the service has not confirmed: they are sent when the endpoint is back.
    """

    ended: int = 0
    killed: int = 0
    kept: int = 0
    unsent: int = 0

    def __str__(self) -> str:
        parts = [
            f"{_tasks(self.ended)} that ran came to an end" if self.ended else "",
            f"{_tasks(self.killed)} that ran killed: LOST, or begun again within `retries` when it is back"
            if self.killed
            else "",
            f"{_tasks(self.kept)} that had not begun: kept until it is back" if self.kept else "",
            f"results of {_tasks(self.unsent)} kept until it is back" if self.unsent else "",
        ]
        return "; ".join(part for part in parts if part) or "it had no tasks"


def _tasks(count: int) -> str:
    return f"{count} task{'' if count == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Note:
    """What an agent says of itself in its folder.

    Attributes:
        pid: Of its process.
        mark: Tells that process from a later one with the same pid.
        service: The service as `--service` named it; None for that of the home.
        token_file: The file with the token for it, by its full path.
        options: The other options of its command line, by their names.
        engine, workers, python: Of its settings, and the version of the Python that runs its tasks.
        stop_s: How long its running tasks may go on when it is asked to end.
        farewell: Once it has ended well.
    """

    pid: int
    mark: float
    service: str | None = None
    token_file: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    engine: str | None = None
    workers: int | None = None
    python: str | None = None
    stop_s: float = 0.0
    started_at: float = 0.0
    farewell: Farewell | None = None


class Folder:
    """The folder of one endpoint; nothing here changes it but `note` and `farewell`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The name of the endpoint."""
        return self.path.name

    @property
    def log(self) -> Path:
        """What an agent in the background writes to its standard output and error."""
        return self.path / LOG_FILE

    @property
    def lock(self) -> Path:
        """Locked for the life of an agent."""
        return self.path / LOCK_FILE

    def taken(self) -> bool:
        """True if some agent runs here."""
        return not self.free(0.0)

    def free(self, timeout_s: float) -> bool:
        """True if no agent runs here, or the one that does has ended within `timeout_s`."""
        if not self.lock.exists():
            return True
        try:
            with FileLock(self.lock, mode=0o600, timeout=timeout_s):
                return True
        except Timeout:
            return False
        except OSError:  # a folder that can't be written
            return True

    def endpoint_id(self) -> UUID | None:
        """Returns the id that was noted at the last registration."""
        try:
            return UUID(json.loads((self.path / ID_FILE).read_text(encoding="utf-8"))["endpoint_id"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def last(self) -> Note | None:
        """Returns the note of the agent that runs here, or of the last one; None if it can't be read."""
        try:
            told = json.loads((self.path / NOTE_FILE).read_text(encoding="utf-8"))
            known = {one.name: told[one.name] for one in fields(Note) if one.name in told}
            farewell = known.pop("farewell", None)
            return Note(**known, farewell=Farewell(**farewell) if farewell else None)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def process(self) -> psutil.Process | None:
        """Returns the process of the agent that runs here; None if none does, or nobody knows which."""
        note = self.last() if self.taken() else None
        if note is None or machine.start_mark(note.pid) != note.mark:
            return None
        try:
            return psutil.Process(note.pid)
        except psutil.Error:
            return None

    def note(self, note: Note) -> None:
        """Writes the note of an agent that holds the lock."""
        write_private(self.path / NOTE_FILE, json.dumps(asdict(note)))

    def farewell(self, farewell: Farewell) -> None:
        """Adds to the note what became of the agent's tasks."""
        note = self.last()
        if note is not None:
            self.note(replace(note, farewell=farewell))


def own_note(pid: int, stop_s: float) -> Note:
    """Returns the note of a process about itself."""
    return Note(pid, machine.start_mark(pid), stop_s=stop_s, started_at=time.time())
