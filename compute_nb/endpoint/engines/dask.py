"""This module is the pool of Dask: tasks on the workers of a Dask scheduler, or of a cluster of this machine.

Each thread of a Dask worker keeps a worker process of ours, in which the task runs (`endpoint.runner.visit`).
Dask would begin a task again after the death of a worker; a plugin on the scheduler lets it fail instead.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from compute_nb.endpoint.engine import Capabilities, Resources
from compute_nb.endpoint.engines.luggage import luggage, visitor
from compute_nb.endpoint.engines.pool import MOST, Figures, WorkerLost, oldest
from compute_nb.endpoint.engines.visits import Visit, Visits
from compute_nb.endpoint.machine import WORKER_MARK
from compute_nb.endpoint.runner.answer import CANCELLED, Answer, Call, never
from compute_nb.errors import ComputeError

CAPABILITIES = Capabilities("dask", live_text=True, because="it gives each task one thread of a Dask worker")
PREFIX = "compute-nb"
WINDOW = 8  # chunks a worker, so that its turns of 10 ms between scheduler and client carry many
CONNECT_S = 30.0
CLOSE_S = 10.0
OWN_GROUP = "import os\nos.setpgid(0, 0)\n"  # Ctrl-C is for the agent, which lets tasks go on for a while
PLUGINS = '''
import json
import sys
import types
import zlib

from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin


class OneLife(SchedulerPlugin):
    """Counts a task of compute_nb as tried so often that the death of its worker is its end."""

    name = "compute-nb-one-life"

    def __reduce__(self):
        return eval, (BUILD, {"text": TEXT, "build": BUILD, "kind": "OneLife", "args": ()})

    async def start(self, scheduler):
        self.scheduler = scheduler

    def transition(self, key, start, finish, *args, **kwargs):
        if finish == "processing" and str(key).startswith("compute-nb-"):
            task = self.scheduler.tasks[key]
            task.suspicious = max(task.suspicious, self.scheduler.allowed_failures)


class Runner(WorkerPlugin):
    """Brings the runner to every worker, once."""

    def __init__(self, name, packed):
        self.name = self.module = name
        self.packed = packed

    def __reduce__(self):
        args = self.module, self.packed
        return eval, (BUILD, {"text": TEXT, "build": BUILD, "kind": "Runner", "args": args})

    def setup(self, worker):
        module = types.ModuleType(self.module)
        exec(json.loads(zlib.decompress(self.packed))["arrival.py"], module.__dict__)
        module.visit = module.settled(self.module + "_runner", self.packed).visit
        module.teller = lambda topic: lambda ends: worker.log_event(topic, ends)
        sys.modules[self.module] = module
'''
# They travel as text, so that scheduler and workers may have another Python each.
BUILD = (
    "[(space, exec(text, space))[0] for space in [{'__name__': 'compute_nb_plugins', 'TEXT': text, "
    "'BUILD': build}]][0][kind](*args)"
)
# What travels with each task is a builtin and text: 20 KB of runner would be most of the work.
VISIT = (
    "[module.visit(*__import__('json').loads(text), module.teller(topic)) "
    "for module in [__import__('sys').modules[name]]][0]"
)

_log = logging.getLogger(__name__)


class DaskPool:
    """Gives calls to a Dask client of its own.

    Args:
        address: Of a scheduler; None for a cluster of this machine.
        workers: How many that gets.
        setup: For the keepers of Dask's workers.
        folder: Where Dask's workers of this machine write.
    """

    capabilities = CAPABILITIES
    most = MOST

    def __init__(self, address: str | None, workers: int, setup: Mapping[str, Any], folder: Path) -> None:
        self._address, self._workers, self._setup = address, workers, dict(setup)
        self._folder = folder
        self._client: Any = None
        self._cluster: Any = None
        self._below: dict[str, tuple[Any, bool]] = {}  # by name; True if nothing else is in it
        self._visits = Visits()
        self._topic = f"{PREFIX}-{uuid.uuid4().hex}"
        self._stop = visitor("stop")
        self.window = WINDOW * workers

    def open(self) -> None:
        """Connects, anew if the connection is gone.

        Raises:
            ComputeError: Dask is not installed, or nobody answers.
        """
        if self._client is not None:
            if self._client.status == "running":
                return
            _log.warning("the Dask scheduler is gone: connecting anew")
            self.close()
        try:
            import distributed
        except ImportError as error:
            raise ComputeError(
                f"the engine dask needs Dask, which {sys.executable} lacks: run `{sys.executable} -m pip "
                "install 'compute_nb[dask]'`"
            ) from error
        try:
            target = self._address or self._own_cluster(distributed)
            self._client = distributed.Client(target, timeout=CONNECT_S, set_as_default=False)
            for plugin in _plugins():
                self._client.register_plugin(plugin)
            self._client.subscribe_topic(self._topic, lambda event: self._visits.tell(event[1]))
        except Exception as error:
            self.close()
            where = self._address or "a cluster of this machine"
            raise ComputeError(
                f"no Dask scheduler at {where}: {type(error).__name__}: {error}; start one by "
                "`dask scheduler`, or leave `address` under [dask] in endpoint.toml out"
            ) from error
        figures = self.figures()
        self.window = WINDOW * max(figures.workers, figures.alive, 1)

    def _own_cluster(self, distributed: Any) -> Any:
        mark = self._setup["environ"].get(WORKER_MARK)
        if mark:  # so that the next agent finds what this one has left
            os.environ[WORKER_MARK] = mark
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._cluster = distributed.LocalCluster(
            n_workers=self._workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            security=True,  # a scheduler runs what whoever reaches it says, and so could all on this machine
            dashboard_address="127.0.0.1:0",
            local_directory=os.fspath(self._folder),
            preload=[OWN_GROUP],
        )
        return self._cluster

    def submit(self, chunks: Sequence[Sequence[Call]]) -> Sequence[Future[Answer]]:
        """Gives Dask tasks, all in one message.

        Raises:
            ComputeError: Dask can't be reached.
        """
        self.open()
        visits = [self._visits.begin(chunk) for chunk in chunks]
        facts = {"name": luggage()[0], "topic": self._topic}
        try:
            below = self._client.map(
                eval,
                [VISIT] * len(visits),
                [
                    {**facts, "text": json.dumps([self._setup, *visit.arguments(visit.chunk[0].options)])}
                    for visit in visits
                ],
                key=[f"{PREFIX}-{visit.names[0]}" for visit in visits],
                pure=False,
                retries=0,
            )
        except Exception as error:
            raise ComputeError(f"Dask takes no task: {type(error).__name__}: {error}") from error
        for visit, one in zip(visits, below, strict=True):
            self._below.update(dict.fromkeys(visit.names, (one, len(visit.names) == 1)))
            self._client.loop.add_callback(self._follow, visit, one)
        return [future for visit in visits for future in visit.futures]

    async def _follow(self, visit: Visit, below: Any) -> None:
        """Waits for the end of a chunk, on the client's loop."""
        try:
            self._visits.tell(await below._result())
        except BaseException as error:  # noqa: BLE001 - a cancelled one is no Exception
            name = type(error).__name__
            lost = name in ("KilledWorker", "CancelledError", "FutureCancelledError", "FuturesCancelledError")
            text = "the Dask worker that ran this task, or the scheduler, is gone"
            self._visits.fail(visit.names, WorkerLost(text) if lost else error)
        finally:
            for name in visit.names:
                del self._below[name]

    def cancel(self, call: Call) -> bool:
        """Takes a task back, or ends it on the worker that runs it."""
        name = self._visits.name(call.task_id)
        if name is not None:
            self._client.loop.add_callback(self._end, call.task_id, name)
        return name is not None

    async def _end(self, task_id: str, name: str) -> None:
        """Ends it where it runs; if it runs nowhere, no worker begins it from now on."""
        below, is_alone = self._below.get(name, (None, False))
        try:
            ended = await self._client._run(self._stop, name)
            if not any(ended.values()):
                self._visits.tell([(name, *never(CANCELLED))])
                if is_alone:
                    await below.cancel()
        except Exception as error:  # noqa: BLE001 - the scheduler is gone, and the task with it
            _log.warning("task %s could not be ended: %s", task_id, error)

    def running(self, futures: Sequence[Future[Answer]]) -> Sequence[Future[Answer]]:
        """Returns the oldest, as many as there are threads."""
        return oldest(futures, self.figures().alive)

    def figures(self) -> Figures:
        """Counts threads of Dask's workers."""
        if self._client is None:
            return Figures(self._workers, 0)
        workers = self._client.scheduler_info(n_workers=-1).get("workers", {}).values()
        alive = sum(worker["nthreads"] for worker in workers)
        busy = sum(min(worker["nthreads"], _executing(worker["metrics"])) for worker in workers)
        if self._address is None:
            return Figures(max(self._workers, alive), alive, busy)
        memory = sum(worker["memory_limit"] for worker in workers)
        taken = sum(worker["metrics"].get("memory", 0) for worker in workers)
        resources = Resources(alive, memory, max(0, memory - taken))
        return Figures(alive, alive, busy, resources=resources, elsewhere=True)

    def close(self) -> None:
        """Lets go of the scheduler, and ends a cluster of our own."""
        client, self._client = self._client, None
        cluster, self._cluster = self._cluster, None
        for thing in (client, cluster):
            if thing is not None:
                try:
                    thing.close(timeout=CLOSE_S)
                except Exception as error:  # noqa: BLE001 - it ends here whatever it says
                    _log.warning("Dask did not end well: %s", error)


def _executing(metrics: Mapping[str, Any]) -> int:
    """How many tasks a worker runs, as its last heartbeat told its scheduler."""
    return int(metrics.get("task_counts", metrics).get("executing", 0))


def _plugins() -> tuple[Any, Any]:
    space: dict[str, Any] = {"__name__": "compute_nb_plugins", "TEXT": PLUGINS, "BUILD": BUILD}
    exec(PLUGINS, space)
    return space["OneLife"](), space["Runner"](*luggage())
