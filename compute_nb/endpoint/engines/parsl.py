"""This module is the pool of Parsl: tasks on what a Parsl `Config` describes, a laptop, Slurm, Kubernetes.

Parsl starts blocks of workers and ends them again as its own strategy says; each of its workers keeps a
worker process of ours, in which the task runs (`endpoint.runner.visit`).
"""

from __future__ import annotations

import importlib.util
import logging
import math
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from compute_nb.endpoint.engine import Capabilities
from compute_nb.endpoint.engines.line import MAX_LINES, Lines
from compute_nb.endpoint.engines.luggage import visitor
from compute_nb.endpoint.engines.pool import MOST, Figures, OutOfReach, WorkerLost, oldest
from compute_nb.endpoint.engines.visits import Visit, Visits
from compute_nb.endpoint.machine import WORKER_MARK
from compute_nb.endpoint.runner.answer import CANCELLED, Answer, Call, never
from compute_nb.errors import ComputeError

CAPABILITIES = Capabilities(
    "parsl",
    live_text=True,
    resource_specification=True,
    because="Parsl has no way to take back what it was given, and the worker can't be reached",
)
MAX_WINDOW = 4096
STRATEGY_S = 0.5
IDLE_S = 600.0
HEARTBEAT_S = 3
CLOSE_S, BROKEN_S = 10.0, 1.0
DIE_WITH_PARENT = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9, 0, 0, 0); os.setsid(); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)
_LOST = ("WorkerLost", "ManagerLost", "VersionMismatch", "InterchangeDied")

_log = logging.getLogger(__name__)


class ParslPool:
    """Gives calls to a DataFlowKernel of its own.

    Args:
        config_file: A Python file whose `config` is a `parsl.Config`; None for workers of this machine.
        workers: How many of those.
        setup: For the keepers of Parsl's workers.
        folder: For Parsl's run folder and its logs, unless the Config names another.
    """

    capabilities = CAPABILITIES

    def __init__(
        self, config_file: Path | None, workers: int, setup: Mapping[str, Any], folder: Path
    ) -> None:
        self._file, self._setup, self._folder = config_file, dict(setup), folder
        self._workers = workers
        self._kernel: Any = None
        self._handlers: list[logging.Handler] = []
        self._visits = Visits()
        self._lines: Lines | None = None
        self._alive = 0
        self._visitor = visitor("visit")
        self.window = MAX_WINDOW

    def open(self) -> None:
        """Loads the Config and starts Parsl, anew if it has failed.

        Raises:
            ComputeError: Parsl is not installed, or the Config can't be used.
        """
        if self._kernel is not None:
            if not self._is_broken():
                return
            _log.warning("Parsl has failed: it is started anew")
            self.close()
        try:
            import parsl
        except ImportError as error:
            raise ComputeError(
                f"the engine parsl needs Parsl, which {sys.executable} lacks: run `{sys.executable} -m pip "
                "install 'compute_nb[parsl]'`"
            ) from error
        config = self._config()
        if config.retries:
            raise ComputeError(
                f"{self._file}: `retries={config.retries}` in a Parsl Config would begin tasks again behind "
                "their owner's back: leave it out; who submits says `retries=`"
            )
        self._prepare(config)
        self._end_with_us(config)
        logger = logging.getLogger("parsl")
        logger.propagate = False  # it writes a log of its own
        before = tuple(logger.handlers)
        try:
            self._kernel = parsl.DataFlowKernel(config)
        except Exception as error:
            raise ComputeError(
                f"Parsl can't start with {self._file or 'its workers here'}: {error}"
            ) from error
        self._handlers = [one for one in logger.handlers if one not in before]
        self._workers = sum(_most_workers(one) for one in self._executors())
        self.window = min(4 * self._workers + 8, MAX_WINDOW)
        self._open_lines()

    def _open_lines(self) -> None:
        """Lets workers call, on the way on which Parsl's own reach its interchange."""
        import zmq

        for executor in self._executors() if zmq.has("curve") and self._workers <= MAX_LINES else ():
            addresses = getattr(executor, "all_addresses", None)
            ports = getattr(executor, "worker_port_range", None)
            if addresses and ports and self._lines is None:
                self._lines = Lines(addresses, ports, self._visits.tell, self._absent)

    def _absent(self, name: str, asked: int) -> None:
        """None of the workers that were asked had a task; called on the thread of the lines."""
        if asked >= max(1, self._alive):
            self._visits.tell([(name, *never(CANCELLED))])
        else:
            self._visits.fail([name], OutOfReach())

    @property
    def most(self) -> int:
        """Several only where a long one among them can be told of at once."""
        return MOST if self._lines is not None and self._lines.count >= max(1, self._alive) else 1

    def _config(self) -> Any:
        if self._file is None:
            return own_config(self._workers)
        try:
            spec = importlib.util.spec_from_file_location("compute_nb_parsl_config", self._file)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            raise ComputeError(f"{self._file} can't be run: {type(error).__name__}: {error}") from error
        from parsl import Config

        config = getattr(module, "config", None)
        if not isinstance(config, Config):
            raise ComputeError(f"{self._file} has no `config` that is a parsl.Config, but {config!r}")
        return config

    def _prepare(self, config: Any) -> None:
        """Lets Parsl find its own programs and write its logs beside ours."""
        if config.run_dir == "runinfo":
            config.run_dir = os.fspath(self._folder)
        programs = os.path.dirname(sys.executable)
        if programs not in os.environ.get("PATH", "").split(os.pathsep):
            os.environ["PATH"] = os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])
        mark = self._setup["environ"].get(WORKER_MARK)
        if mark:  # so that the next agent finds what this one has left
            os.environ[WORKER_MARK] = mark

    def _end_with_us(self, config: Any) -> None:
        """Has an interchange end when this process is killed, and not by Ctrl-C, which is for this process.

        Else it would go on for nobody, or take what runs with it.
        """
        for executor in config.executors if sys.platform == "linux" else ():
            command = getattr(executor, "interchange_launch_cmd", None)
            if isinstance(command, list):
                executor.interchange_launch_cmd = [sys.executable, "-c", DIE_WITH_PARENT, *command]

    def _executors(self) -> list[Any]:
        return [one for name, one in self._kernel.executors.items() if not name.startswith("_parsl")]

    def _is_broken(self) -> bool:
        return any(getattr(one, "bad_state_is_set", False) or _has_lost(one) for one in self._executors())

    def submit(self, chunks: Sequence[Sequence[Call]]) -> Sequence[Future[Answer]]:
        """Gives Parsl tasks.

        Raises:
            ComputeError: Parsl can't be started anew after it failed.
        """
        self.open()
        return [future for chunk in chunks for future in self._submit(chunk)]

    def _submit(self, chunk: Sequence[Call]) -> Sequence[Future[Answer]]:
        visit = self._visits.begin(chunk)
        options = dict(chunk[0].options)
        setup = {**self._setup, "line": self._lines and self._lines.facts}
        wanted = options.pop("resource_specification", None) or {}
        try:
            below = self._kernel.submit(
                self._visitor,
                app_args=(setup, *visit.arguments(options)),
                executors="all",
                cache=False,
                ignore_for_cache=None,
                app_kwargs={"parsl_resource_specification": wanted} if wanted else {},
            )
        except Exception as error:  # noqa: BLE001 - of its executors, whichever they are
            text = f"Parsl does not take this task: {type(error).__name__}: {error}"
            self._visits.fail(visit.names, ComputeError(text))
        else:
            below.add_done_callback(lambda done: self._pass_on(done, visit))
        return visit.futures

    def _pass_on(self, done: Future[Any], visit: Visit) -> None:
        """Called on a thread of Parsl's."""
        error = done.exception()
        if error is None:
            self._visits.tell(done.result())
            return
        kind = type(error).__name__
        lost = kind in _LOST or "lost" in kind.lower()
        text = f"a worker of Parsl was lost while it had this task ({error})"
        self._visits.fail(visit.names, WorkerLost(text) if lost else error)

    def _give_up(self) -> None:
        """Ends what Parsl will never tell the end of."""
        self._visits.fail_all(WorkerLost("Parsl's own process was lost while it had this task"))

    def cancel(self, call: Call) -> bool:
        """Has the worker asked that runs it; Parsl can't take back what it was given."""
        name = self._visits.name(call.task_id)
        if self._lines is None or name is None:
            return False
        self._lines.end(name)
        return True

    def running(self, futures: Sequence[Future[Answer]]) -> Sequence[Future[Answer]]:
        """Returns the oldest, as many as there are workers."""
        return oldest(futures, self.figures().alive)

    def figures(self) -> Figures:
        """Counts the workers that have connected."""
        if self._kernel is None:
            return Figures(self._workers, 0)
        if self._is_broken():  # who asked it now would wait for ever
            self._give_up()
            return Figures(self._workers, 0)
        executors = self._executors()
        up = [_workers_up(one) for one in executors]
        known = all(busy is not None for _, busy in up)
        self._alive = sum(alive for alive, _ in up)
        return Figures(
            self._workers,
            self._alive,
            sum(busy or 0 for _, busy in up) if known else None,
            elsewhere=not all(_is_here(one) for one in executors),
        )

    def close(self) -> None:
        """Ends Parsl and its blocks; with its interchange gone Parsl may wait for ever, so not long."""
        if self._kernel is None:
            return
        self._give_up()
        if self._lines is not None:
            self._lines.close()
            self._lines = None
        is_broken = self._is_broken()
        for executor in self._executors() if is_broken else ():
            blocks = getattr(executor, "blocks_to_job_id", {})
            executor.provider.cancel(list(blocks.values()))
        end = threading.Thread(target=_cleaned, args=(self._kernel,), name="parsl-end", daemon=True)
        self._kernel = None
        end.start()
        end.join(BROKEN_S if is_broken else CLOSE_S)
        if end.is_alive():
            _log.warning("Parsl does not end: it is left alone")
            return
        for handler in self._handlers:  # Parsl takes them off and leaves them open
            handler.close()


def own_config(workers: int) -> Any:
    """Returns a Config for so many workers on this machine, in a block that ends when it is idle.

    Not `htex_auto_scale`: with fewer tasks than workers that ends a block before it has connected.
    """
    from parsl import Config, HighThroughputExecutor
    from parsl.providers import LocalProvider

    executor = HighThroughputExecutor(
        label="here",
        encrypted=True,  # older versions of Parsl take what anybody on this machine sends
        address="127.0.0.1",
        loopback_address="127.0.0.1",
        max_workers_per_node=workers,
        cores_per_worker=1e-6,
        heartbeat_period=HEARTBEAT_S,  # so often it looks for workers that died
        heartbeat_threshold=10 * HEARTBEAT_S,
        provider=LocalProvider(init_blocks=1, min_blocks=0, max_blocks=1),
    )
    return Config(executors=[executor], strategy="simple", strategy_period=STRATEGY_S, max_idletime=IDLE_S)


def _cleaned(kernel: Any) -> None:
    try:
        kernel.cleanup()
    except Exception:  # noqa: BLE001 - it ends here whatever it says
        _log.warning("Parsl did not end well", exc_info=True)


def _has_lost(executor: Any) -> bool:
    """True if the process is gone through which an executor reaches its workers."""
    process = getattr(executor, "interchange_proc", None)
    return process is not None and process.poll() is not None


def _most_workers(executor: Any) -> int:
    """How many workers an executor may have at most."""
    provider = getattr(executor, "provider", None)
    blocks = getattr(provider, "max_blocks", 1) or 1
    nodes = getattr(provider, "nodes_per_block", 1) or 1
    each = getattr(executor, "max_workers_per_node", None) or getattr(executor, "max_threads", None) or 1
    if not math.isfinite(each):
        each = os.cpu_count() or 1
    return int(blocks * nodes * each)


def _workers_up(executor: Any) -> tuple[int, int | None]:
    """How many workers an executor has, and how many of them have a task, if it knows."""
    managers = getattr(executor, "connected_managers", None)
    if managers is None:
        return _most_workers(executor), None
    try:
        told = [(one["worker_count"], one["tasks"]) for one in managers() if one["active"]]
    except Exception:  # noqa: BLE001 - its interchange is gone, which the next task tells
        return 0, 0
    return sum(count for count, _ in told), sum(min(one) for one in told)


def _is_here(executor: Any) -> bool:
    """True if the workers of an executor stand on this machine."""
    return type(getattr(executor, "provider", None)).__name__ in ("LocalProvider", "NoneType")
