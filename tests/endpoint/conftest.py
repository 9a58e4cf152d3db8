"""An engine with real workers on a temporary folder, and what gives it tasks and collects their ends."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from compute_nb.endpoint.engine import EngineBatch, EngineTask
from compute_nb.endpoint.engines.catalogue import Site, make_engine
from compute_nb.endpoint.engines.processes import ProcessEngine
from compute_nb.endpoint.engines.worker import WorkerPlan
from compute_nb.endpoint.settings import Settings
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.tasks import Run, new_id
from compute_nb.wire import pack_buffers

WAIT_S = 60
SERIALIZER = ComputeSerializer()


def packed_source(source: str) -> str:
    """The packed function of plain source, whose first function it is."""
    name = source.split("def ", 1)[1].split("(", 1)[0]
    return pack_buffers([f"st\n{name}:{source}"])


class Rig:
    """An engine, and a book of what has come back."""

    wait_s = WAIT_S

    def __init__(
        self,
        folder: Path,
        workers: int = 2,
        python: str = sys.executable,
        settings: Settings | None = None,
        **options,
    ):
        packages = options.pop("packages", None)
        self.folder = folder
        plan = options.pop("plan", {})
        memory_bytes = settings.limits.memory_bytes if settings else None
        self.plan = WorkerPlan(
            python, folder, folder, packages, dict(os.environ), memory_bytes=memory_bytes, **plan
        )
        if settings is None:
            self.engine = ProcessEngine(self.plan, folder / "slots", uuid4(), workers, **options)
        else:
            self.engine = make_engine(settings, Site(folder, uuid4(), workers, self.plan))
        self.bell = threading.Event()
        self.ended: dict[int, object] = {}
        self.order: list[int] = []
        self.begun: dict[int, float] = {}
        self.printed: dict[UUID, str] = {}
        self.last = 0
        self.settles = True
        self.engine.start(self.bell.set)

    def batch(self, code: str, calls, *, group: UUID | None = None, function: UUID | None = None, **options):
        tasks = []
        for call in calls:
            args, kwargs = call if isinstance(call, tuple) and len(call) == 2 else ((call,), {})
            self.last += 1
            packed = SERIALIZER.pack_call(args, kwargs)
            tasks.append(EngineTask(self.last, Run(new_id(), 0), packed))
        return EngineBatch(
            group or uuid4(), function or UUID(int=abs(hash(code))), code, options, tuple(tasks)
        )

    def submit(self, source: str, *calls, **options) -> list[int]:
        """Gives the engine a batch; returns the numbers of its tasks."""
        code = source if source[:1].isdigit() else packed_source(source)
        batch = self.batch(code, calls or [((), {})], **options)
        self.engine.submit([batch])
        return [task.number for task in batch.tasks]

    def pump(self, until) -> None:
        """Takes news until `until()` is true."""
        limit = time.monotonic() + self.wait_s
        while not until():
            assert self.bell.wait(max(0, limit - time.monotonic())), "the engine is silent"
            self.bell.clear()
            news = self.engine.take()
            for begun in news.begun:
                self.begun[begun.number] = begun.at
            for run, _, _, text in news.printed:
                self.printed[run.task_id] = self.printed.get(run.task_id, "") + text
            for number, result in news.ended:
                assert number not in self.ended, "a task has ended twice"
                self.ended[number] = result
                self.order.append(number)
            if self.settles:
                self.engine.settle(news.serial)

    def results(self, numbers):
        """Waits for the ends of tasks."""
        self.pump(lambda: all(number in self.ended for number in numbers))
        return [self.ended[number] for number in numbers]

    def values_of(self, results):
        """Reads values."""
        return [SERIALIZER.deserialize(result.data) for result in results]

    def values(self, numbers):
        """Waits for values of tasks."""
        results = self.results(numbers)
        assert {result.outcome.value for result in results} == {"success"}, results
        return [SERIALIZER.deserialize(result.data) for result in results]

    def call(self, source: str, *args, **options):
        """Runs one task and returns its value."""
        return self.values(self.submit(source, (args, {}), **options))[0]

    def failure(self, source: str, *args, **options):
        """Runs one task that must not succeed and returns its result."""
        (result,) = self.results(self.submit(source, (args, {}), **options))
        assert result.outcome.value != "success", result.data
        return result

    def stop(self):
        self.engine.stop()


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    yield rig
    rig.stop()


@pytest.fixture
def rigs(tmp_path):
    """Makes engines with options."""
    made = []

    def make(**options):
        folder = tmp_path / f"rig{len(made)}"
        folder.mkdir()
        made.append(Rig(folder, **options))
        return made[-1]

    yield make
    for rig in made:
        rig.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One engine for tests that leave it as they found it."""
    rig = Rig(tmp_path_factory.mktemp("rig"))
    yield rig
    rig.stop()


@pytest.fixture(scope="session")
def rig_class():
    """For tests that make engines of their own kind."""
    return Rig


def is_gone(pid: int) -> bool:
    """True if a process has ended, zombies included."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat")
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"
    except ProcessLookupError:
        return True


SIGNALS = signal.Signals
