"""The faults that an endpoint must survive, and what a user must see of each: one table for all engines.

A scene is two workers: one runs the struck task, the other one a neighbour, and eight more tasks wait.
Each task leaves its name when it begins, waits for its gate, and gives its name back.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, wait
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import psutil
from stage import WORKERS, Agent, Service, Stage

from compute_nb import Executor
from compute_nb.errors import TaskExecutionFailed
from compute_nb.future import ComputeFuture
from compute_nb.serialize import ComputeSerializer, PureSourceTextInspect

QUEUED = 8
WAIT_S = 240.0
POLL_S = 0.02
WALLTIME_S = 1.0
SUSPENDED_S = 5.0
FULL = "can't be written .*free some space"

STRUCK, BESIDE, QUEUE = "struck", "beside", "queued"


def act(name: str, folder: str, deed: str) -> str:
    """Is a task: it notes that it begins, waits until it may go on, does what is asked of it."""
    import os
    import time

    file = os.open(folder + "/begun", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{name} {os.getpid()}\n".encode())
    os.close(file)
    while not os.path.exists(folder + "/all.go") and not os.path.exists(folder + "/" + name + ".go"):
        time.sleep(0.02)
    if deed == "segfault":
        import ctypes

        ctypes.string_at(0)
    if deed == "memory":
        import resource

        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, before[1]))
        try:
            return str(len(bytearray(8 << 30)))
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)
    if deed == "much":
        return str(len(bytearray(2 << 30)))
    return name


def nothing() -> None:
    """Is the task that tells that an endpoint is whole."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the owner of a task sees: the state at the service, the exception's class, words of its text."""

    state: str
    error: str = ""
    words: str = ""


DONE = Sight("SUCCEEDED")
DIED = Sight("FAILED", "WorkerDied", r"SIGKILL.*retries=1")
LOST = Sight("LOST", "TaskLost", "agent was killed or stopped while this task ran")
STOPPED = Sight("LOST", "TaskLost", "endpoint was stopped while this task ran, and its `stop_s`.* was over")
CANCELLED = Sight("CANCELLED", "TaskWithdrawn", "was cancelled")


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one task."""

    name: str
    state: str
    error: str
    text: str
    begun: int

    @property
    def line(self) -> str:
        """The first line of what the exception says, or what a traceback leads to."""
        lines = [line for line in self.text.strip().splitlines() if line.strip()] or [""]
        ends = [number for number, line in enumerate(lines) if line[1:2].isalpha()]
        if lines[0].startswith("Traceback") and ends:
            return " ".join(line.strip() for line in lines[ends[-1] :])
        return lines[0]

    def is_as(self, sight: Sight) -> bool:
        """Whether it is what was to be seen."""
        same = (self.state, self.error) == (sight.state, sight.error)
        return same and re.search(sight.words, self.text, re.DOTALL) is not None


@dataclass(frozen=True, slots=True)
class Fault:
    """One row.

    Attributes:
        text: For people.
        strike: Does it.
        struck: What the owner of the struck task sees.
        beside: Of the task that ran beside it.
        special: `struck` and `beside` on the engines where they differ.
        ends: True if the struck task ends by it, and its neighbour goes on meanwhile.
        waits: True if the struck task has not begun.
        only: The engines that have such a fault; empty for all.
        deed: What the struck task does once its gate is open.
        again: `retries` of the neighbour.
        walltime_s: Of the struck task.
    """

    text: str
    strike: Callable[[Sequence[Scene]], None]
    struck: Sight = DONE
    beside: Sight = DONE
    special: Mapping[str, tuple[Sight, Sight]] = field(default_factory=dict)
    ends: bool = False
    waits: bool = False
    only: tuple[str, ...] = ()
    deed: str = ""
    again: int = 0
    walltime_s: float | None = None

    def sights(self, engine: str) -> tuple[Sight, Sight]:
        """What is to be seen on an engine, of the struck task and of its neighbour."""
        return self.special.get(engine, (self.struck, self.beside))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a scene.

    Attributes:
        whole_s: From the end of the strike to the answer of a no-op submitted then.
        hung: How many futures had not ended at the end of our patience.
    """

    struck: Seen
    beside: Seen
    queued: tuple[Seen, ...]
    whole_s: float
    hung: int

    @property
    def all(self) -> tuple[Seen, ...]:
        """All tasks."""
        return (self.struck, self.beside, *self.queued)

    def doubled(self, fault: Fault) -> int:
        """How many begins there were beyond the first and those that `retries` allow."""
        allowed = {self.beside.name: 1 + fault.again}
        return sum(max(0, seen.begun - allowed.get(seen.name, 1)) for seen in self.all)


class Scene:
    """One fault on one engine: `set_up`, the strike, `finish`, `close`.

    Args:
        stage: Its agent is connected.
        folder: Empty; for the files of this scene.
    """

    def __init__(self, stage: Stage, agent: Agent, fault: Fault, folder: Path) -> None:
        self.stage, self.agent, self.fault, self.folder = stage, agent, fault, folder
        self.futures: dict[str, ComputeFuture] = {}
        (folder / "begun").touch()
        serializer = ComputeSerializer(strategy_code=PureSourceTextInspect())
        self._executor = Executor(agent.endpoint_id, serializer=serializer)

    def set_up(self) -> None:
        """Returns when the struck task and its neighbour run, and the others wait."""
        first = [BESIDE]
        if self.fault.waits:
            first += [f"{QUEUE}-{number}" for number in range(WORKERS - 1)]
        self._executor.retries = self.fault.again
        for name in first:
            self.submit(name)
        self._executor.retries = 0
        self.await_begun(*first)
        self._executor.walltime = self.fault.walltime_s
        self.submit(STRUCK, self.fault.deed)
        self._executor.walltime = None
        if not self.fault.waits:
            self.await_begun(STRUCK)
        for name in (f"{QUEUE}-{number}" for number in range(QUEUED)):
            if name not in self.futures:
                self.go(name)
                self.submit(name)
        self._executor.wait_accepted(WAIT_S)

    def finish(self) -> Outcome:
        """Lets go once the endpoint is whole, and tells what came of it."""
        began = time.monotonic()
        probe = self._executor.submit(nothing)
        if self.fault.ends:
            wait([self.futures[STRUCK]], WAIT_S)
            self.go(STRUCK)  # where it could not be ended
            wait([probe], WAIT_S)
        self.go("all")
        probe.result(WAIT_S)
        whole_s = time.monotonic() - began
        _, hung = wait(self.futures.values(), WAIT_S)
        return self._told(whole_s, len(hung))

    def close(self) -> None:
        """Lets all go that still waits."""
        self.go("all")
        self._executor.shutdown(wait=False)

    def submit(self, name: str, deed: str = "") -> None:
        """Submits a task of that name."""
        self.futures[name] = self._executor.submit(act, name, str(self.folder), deed)

    def trouble(self) -> str:
        """What the heartbeats say that keeps the endpoint from its work."""
        details = self.stage.service.details(self.agent.endpoint_id)["details"]
        return str(details.get("compute_nb_trouble", ""))

    def go(self, name: str) -> None:
        """Opens the gate of a task, or of all."""
        (self.folder / f"{name}.go").touch()

    def begun(self) -> Counter[str]:
        """How often each task has begun."""
        return Counter(line.split()[0] for line in (self.folder / "begun").read_text().splitlines())

    def worker(self, name: str) -> int:
        """The process in which a task runs."""
        lines = (line.split() for line in (self.folder / "begun").read_text().splitlines())
        return next(int(pid) for begun, pid in lines if begun == name)

    def await_begun(self, *names: str) -> None:
        """Returns when tasks have begun, or have ended without."""
        pause, limit = Event(), time.monotonic() + WAIT_S
        while not all(self.begun()[name] or self.futures[name].done() for name in names):
            assert time.monotonic() < limit, f"{names} do not begin"
            pause.wait(POLL_S)

    def _told(self, whole_s: float, hung: int) -> Outcome:
        rows = self._ended_at_service()
        begun = self.begun()
        seen = {
            name: self._seen(name, future, rows[str(future.task_id)], begun[name])
            for name, future in self.futures.items()
        }
        queued = [one for name, one in seen.items() if name.startswith(QUEUE)]
        return Outcome(seen[STRUCK], seen[BESIDE], tuple(queued), whole_s, hung)

    def _ended_at_service(self) -> Mapping[str, Any]:
        """The service's rows, once all have ended: a future that was cancelled is ahead of it."""
        pause, limit = Event(), time.monotonic() + WAIT_S
        while True:
            rows = self.stage.service.tasks([str(future.task_id) for future in self.futures.values()])
            states = {row["compute_nb"]["state"] for row in rows.values()}
            if not states & {"WAITING", "DELIVERED", "RUNNING"} or time.monotonic() > limit:
                return rows
            pause.wait(10 * POLL_S)

    def _seen(self, name: str, future: ComputeFuture, row: Mapping[str, Any], begun: int) -> Seen:
        state, error, text = row["compute_nb"]["state"], "", ""
        if not future.done():
            error = "the future has not ended"
        else:
            try:
                value = future.result()
                error = "" if value == name else f"a wrong value, {value!r}"
            except (TaskExecutionFailed, CancelledError) as failure:
                error, text = type(failure).__name__, str(failure)
        return Seen(name, state, error, text, begun)


def play(stage: Stage, agents: Sequence[Agent], name: str, folder: Path) -> list[Outcome]:
    """Plays one fault on several engines side by side.

    Args:
        stage: That of the agents.
        agents: Connected.
        name: Of the fault.
        folder: For the files of the scenes.
    """
    fault, scenes = FAULTS[name], list[Scene]()
    try:
        for agent in agents:
            place = folder / f"{agent.engine}-{name}"
            place.mkdir()
            scenes.append(Scene(stage, agent, fault, place))
        for scene in scenes:
            scene.set_up()
        fault.strike(scenes)
        return [scene.finish() for scene in scenes]
    finally:
        for scene in scenes:
            scene.close()


def kill_worker(scenes: Sequence[Scene]) -> None:
    """As the system does that has no memory left, or a person."""
    for scene in scenes:
        os.kill(scene.worker(STRUCK), signal.SIGKILL)


def kill_host(scenes: Sequence[Scene]) -> None:
    """The worker of Parsl or Dask that keeps the process in which the task runs."""
    for scene in scenes:
        os.kill(psutil.Process(scene.worker(STRUCK)).ppid(), signal.SIGKILL)


def open_gate(scenes: Sequence[Scene]) -> None:
    """Lets the struck task do its deed."""
    for scene in scenes:
        scene.go(STRUCK)


def pass_by(scenes: Sequence[Scene]) -> None:
    """The struck task has in it what ends it."""


def cancel(scenes: Sequence[Scene]) -> None:
    """Cancels the struck task."""
    for scene in scenes:
        scene.futures[STRUCK].cancel()


def end_agent(number: int) -> Callable[[Sequence[Scene]], None]:
    """Ends the agents by a signal, and starts them again, as whatever watches over them does."""

    def strike(scenes: Sequence[Scene]) -> None:
        for scene in scenes:
            scene.agent.end(number)
        for scene in scenes:
            scene.agent.start()

    return strike


def suspend_all(scenes: Sequence[Scene]) -> None:
    """Suspends agents and service, as a laptop does that is closed."""
    _suspend(scenes, [scenes[0].stage.service, *(scene.agent for scene in scenes)])


def suspend_agent(scenes: Sequence[Scene]) -> None:
    """Suspends the agents, while their workers go on."""
    _suspend(scenes, [scene.agent for scene in scenes])


def suspend_service(scenes: Sequence[Scene]) -> None:
    """Suspends the service."""
    _suspend(scenes, [scenes[0].stage.service])


def _suspend(scenes: Sequence[Scene], sleepers: Sequence[Agent | Service]) -> None:
    """What tasks give meanwhile is there when the sleepers wake."""
    for sleeper in sleepers:
        sleeper.signal(signal.SIGSTOP)
    let_go(scenes)
    Event().wait(SUSPENDED_S)
    for sleeper in sleepers:
        sleeper.signal(signal.SIGCONT)


def let_go(scenes: Sequence[Scene]) -> None:
    """Opens all gates."""
    for scene in scenes:
        scene.go("all")


def service_away(seconds: float) -> Callable[[Sequence[Scene]], None]:
    """The service, and its broker with it, is killed and comes back after so long; tasks go on meanwhile."""

    def strike(scenes: Sequence[Scene]) -> None:
        service = scenes[0].stage.service
        service.signal(signal.SIGKILL)
        let_go(scenes)
        Event().wait(seconds)
        service.start()

    return strike


def kill_rabbit(scenes: Sequence[Scene]) -> None:
    """RabbitMQ is killed and started again."""
    rabbit = scenes[0].stage.rabbit
    assert rabbit is not None
    rabbit.kill()
    let_go(scenes)
    rabbit.start()


def fill_disk(scenes: Sequence[Scene]) -> None:
    """The agents' disk is full while tasks end and come; then there is room again.

    It is filled, and tasks come, until each agent has said so in its log and in a heartbeat: what else writes
    to that disk removes a file now and then.
    """
    disk, pids = scenes[0].stage.disk, [scene.agent.pid for scene in scenes]
    quiet = [(scene, len(scene.agent.lines)) for scene in scenes]
    limit, number = time.monotonic() + WAIT_S, 0
    try:
        while quiet:
            assert time.monotonic() < limit, f"{quiet[0][0].agent.engine} does not say that its disk is full"
            disk.fill(*pids)
            for scene, _ in quiet:
                scene.submit(f"{QUEUE}-late-{number}")
            let_go(scenes)
            Event().wait(1.0)
            quiet = [(s, lines) for s, lines in quiet if not (s.agent.says(FULL, lines) and s.trouble())]
            number += 1
    finally:
        disk.free()


SHARED = "All tasks that ran in that process ended with it"
_died_together = (Sight("FAILED", "WorkerDied", SHARED), Sight("FAILED", "WorkerDied", SHARED))

FAULTS: Mapping[str, Fault] = {
    "worker": Fault(
        "worker killed (SIGKILL)",
        kill_worker,
        DIED,
        special={"threads": _died_together},
        ends=True,
    ),
    "host": Fault(
        "worker of Parsl or Dask killed",
        kill_host,
        Sight("FAILED", "WorkerDied", "worker (of Parsl was lost|that ran this task).*retries=1"),
        ends=True,
        only=("parsl", "dask"),
    ),
    "segfault": Fault(
        "segmentation fault",
        open_gate,
        Sight("FAILED", "WorkerDied", "SIGSEGV.*it was at"),
        special={"threads": _died_together},
        ends=True,
        deed="segfault",
    ),
    "memory": Fault(
        "out of memory (RLIMIT_AS)",
        open_gate,
        Sight("FAILED", "TaskExecutionFailed", "MemoryError"),
        ends=True,
        deed="memory",
    ),
    "limit": Fault(
        "beyond the endpoint's memory_limit of 1 GB",
        open_gate,
        Sight("FAILED", "TaskExecutionFailed", "MemoryError.*1 GB.*memory_limit"),
        ends=True,
        deed="much",
    ),
    "walltime": Fault(
        f"walltime of {WALLTIME_S:g} s over",
        pass_by,
        Sight("FAILED", "TaskExecutionFailed", "WalltimeExceeded.*longer walltime"),
        special={"threads": (Sight("FAILED", "TaskExecutionFailed", "takes no walltime"), DONE)},
        ends=True,
        walltime_s=WALLTIME_S,
    ),
    "queued": Fault("cancelled while it waits", cancel, CANCELLED, waits=True),
    "running": Fault("cancelled while it runs", cancel, CANCELLED, ends=True),
    "agent": Fault("agent killed (SIGKILL)", end_agent(signal.SIGKILL), LOST, ends=True, again=1),
    "sigterm": Fault("agent ended (SIGTERM)", end_agent(signal.SIGTERM), STOPPED, ends=True, again=1),
    "broker": Fault("service and broker killed, started at once", service_away(0.0)),
    "away": Fault("service away for 3 s", service_away(3.0)),
    "minute": Fault("service away for 60 s", service_away(60.0)),
    "rabbit": Fault("RabbitMQ killed, started again", kill_rabbit),
    "disk": Fault("disk of the endpoint full", fill_disk),
    "asleep": Fault(f"agent and service suspended for {SUSPENDED_S:g} s", suspend_all),
    "agent-asleep": Fault(f"agent suspended for {SUSPENDED_S:g} s", suspend_agent),
    "service-asleep": Fault(f"service suspended for {SUSPENDED_S:g} s", suspend_service),
}
