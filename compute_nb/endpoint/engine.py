"""This module is the contract of an engine: what runs the tasks of an endpoint, and its records.

An engine gets tasks under *numbers*, the agent's journal numbers, and answers with news. It never sees AMQP
and never writes the journal; the agent tells it which news are journalled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from compute_nb.tasks import Printed, Run, RunResult


class EngineTask(NamedTuple):
    """One run under its journal number; `args` is the packed text of (args, kwargs)."""

    number: int
    run: Run
    args: str


@dataclass(frozen=True, slots=True)
class EngineBatch:
    """Tasks of one function in one task group; `code` is the packed function, `owner` says whose if known."""

    task_group_id: UUID
    function_id: UUID
    code: str
    options: Mapping[str, Any]
    tasks: tuple[EngineTask, ...]
    owner: str = ""


class Begun(NamedTuple):
    """A task that has been running for a while, since `at`; short ones are never named."""

    number: int
    run: Run
    at: float


class Ended(NamedTuple):
    """The end of a task that was given to the engine under `number`."""

    number: int
    result: RunResult


@dataclass(frozen=True, slots=True)
class News:
    """What has happened since the news before; `serial` grows by one each time.

    Attributes:
        printed: What running tasks print, told now and then and with gaps: a preview, of bounded size.
    """

    serial: int
    begun: tuple[Begun, ...]
    ended: tuple[Ended, ...]
    printed: tuple[Printed, ...] = ()


class Resources(NamedTuple):
    """What workers stand on: processors, and memory in bytes."""

    cores: int
    memory_bytes: int
    available_bytes: int


class EngineStatus(NamedTuple):
    """How busy an engine is.

    Attributes:
        workers: The most that it starts.
        alive: How many there are.
        waiting: Tasks that the engine keeps.
        in_workers: Tasks that it has given to workers, or to what has workers.
        busy: Workers that have a task; of `mpi` ranks.
        queued: Tasks that no worker runs yet.
        resources: Of the workers, where those stand elsewhere; None if nobody has told.
        elsewhere: Whether workers may stand on other machines than the agent's.
        trouble: What keeps workers from their work and what to do, for people.
    """

    workers: int
    alive: int
    waiting: int
    in_workers: int
    busy: int = 0
    queued: int = 0
    resources: Resources | None = None
    elsewhere: bool = False
    trouble: str = ""

    @property
    def counts(self) -> tuple[int, int, int, int, int, int]:
        """What can be added up over engines, in the order of the fields."""
        return self.workers, self.alive, self.waiting, self.in_workers, self.busy, self.queued


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do for a task; what it can't is refused by `endpoint.gate` before the task begins.

    Attributes:
        name: As `--engine` says it.
        walltime: It ends a task whose time is over.
        cancel_running: It ends a task that runs. Where it can't, a cancelled task has ended for its owner
            and runs on, which its end says.
        live_text: It tells what a task prints while that runs.
        resource_specification: It gives a task what this asks for.
        shares_process: Its tasks run in one process, whose death is that of all of them.
        because: Why it can't, the end of a sentence about its tasks.
    """

    name: str
    walltime: bool = True
    cancel_running: bool = True
    live_text: bool = False
    resource_specification: bool = False
    shares_process: bool = False
    because: str = ""


class Engine(Protocol):
    """What runs tasks. All methods are called by the agent on its own thread; none of them blocks on a task.

    Between `start` and `stop` every task given to `submit` ends exactly once in the news. An engine owns its
    threads and processes: it starts them after `start` only, and none is left after `stop`. Frozen records
    cross its border, and nothing of what is below it (a pipe, a Parsl or Dask future) ever does.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; the same for its whole life."""

    def start(self, on_news: Callable[[], None]) -> None:
        """Called once. `on_news` rings on a thread of the engine when there is something to `take`."""

    def submit(self, batches: Sequence[EngineBatch]) -> None:
        """Called with journalled tasks; owners take turns, and so do the task groups of each."""

    def cancel(self, numbers: Sequence[int]) -> None:
        """Called to end tasks: waiting ones at once, running ones by force; others are skipped."""

    def take(self) -> News:
        """Called after a ring: returns and forgets what has gathered."""

    def settle(self, serial: int) -> None:
        """Called when the news up to `serial` are journalled, so that traces of their tasks may go."""

    def status(self) -> EngineStatus:
        """Called for heartbeats."""

    def stop(self, patience_s: float = 0.0) -> None:
        """Called once: begins nothing more, lets what runs go on for `patience_s`, then kills all workers.

        Returns when none is left. What ended meanwhile can still be taken; what was killed is not reported.
        """
