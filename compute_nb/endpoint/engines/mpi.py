"""This module is the pool of MPI: tasks that get ranks on nodes, and the command that starts them there.

Each task runs in a worker process of this machine; what it starts by `$PARSL_MPI_PREFIX` runs on its nodes.
A task without a resource_specification takes one rank and gets no launcher.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from compute_nb.endpoint.engine import Capabilities
from compute_nb.endpoint.engines.pool import Figures, begun, refused
from compute_nb.endpoint.runner.answer import Answer, Call
from compute_nb.endpoint.runner.keeper import Keeper
from compute_nb.errors import ComputeError
from compute_nb.mpi import completed

CAPABILITIES = Capabilities("mpi", live_text=True, resource_specification=True)
LAUNCHERS = ("mpiexec", "srun", "aprun")
ASK_S = 20.0
IDLE_S = 600.0

_OPEN_MPI = "Open MPI", "OpenRTE", "PRRTE"  # what its launchers of different ages call themselves


@dataclass(frozen=True, slots=True)
class Cluster:
    """The nodes that tasks share.

    Attributes:
        nodes: Their host names.
        slots: How many ranks each takes.
        launcher: One of `LAUNCHERS`, or the path of such a program.
    """

    nodes: tuple[str, ...]
    slots: int
    launcher: str = "mpiexec"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a task asks for."""

    num_nodes: int
    ranks_per_node: int
    num_ranks: int
    launcher_options: str


def require(program: str) -> None:
    """Sees that a launcher is here.

    Raises:
        ComputeError: There is no such program on this machine.
    """
    if shutil.which(program) is None:
        raise ComputeError(
            f"the engine mpi needs {program}, which is not on this machine: install an MPI, on Debian by "
            "`apt-get install openmpi-bin`, or name another launcher in endpoint.toml"
        )


class Launcher:
    """Spells the command that starts ranks on nodes.

    Raises:
        ComputeError: There is no such program here.
    """

    def __init__(self, program: str) -> None:
        self.program = program
        self.kind = Path(program).name
        require(program)
        self.is_open_mpi = self.kind == "mpiexec" and any(name in _version(program) for name in _OPEN_MPI)

    def variables(self, wish: Wish, nodes: Sequence[str]) -> dict[str, str]:
        """Returns the environment of a task: the published names, each with a blank at its end."""
        prefix = f"{self._command(wish, nodes)} "
        kind = self.kind.upper()
        own = {"PARSL_MPI_PREFIX": prefix, f"PARSL_{kind}_PREFIX": prefix}
        counts = {
            "PARSL_NUM_NODES": str(wish.num_nodes),
            "PARSL_NUM_RANKS": str(wish.num_ranks),
            "PARSL_RANKS_PER_NODE": str(wish.ranks_per_node),
        }
        as_root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        return {**own, **counts, **(as_root if self.is_open_mpi and os.geteuid() == 0 else {})}

    def _command(self, wish: Wish, nodes: Sequence[str]) -> str:
        ranks, each, hosts = wish.num_ranks, wish.ranks_per_node, ",".join(nodes)
        if self.kind == "srun":
            words = f"--ntasks {ranks} --ntasks-per-node {each} --nodes {len(nodes)} --nodelist={hosts}"
        elif self.kind == "aprun":
            words = f"-n {ranks} -N {each} -node-list {hosts}"
        elif self.is_open_mpi:
            slots = ",".join(f"{node}:{each}" for node in nodes)
            words = f"-n {ranks} --map-by ppr:{each}:node --bind-to none --oversubscribe --host {slots}"
        else:
            words = f"-n {ranks} -ppn {each} -hosts {hosts}"
        return f"{self.program} {words} {wish.launcher_options}".rstrip()


def _version(program: str) -> str:
    try:
        asked = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=ASK_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ComputeError(f"{program} can't be asked for its version: {error}") from error
    return asked.stdout + asked.stderr


_Placed = tuple[Call, list[str], int, Future[Answer]]


@dataclass(slots=True, eq=False)
class _Hand:
    """A thread with its keeper, and what it is given to run."""

    keeper: Keeper
    calls: SimpleQueue[_Placed | None]
    thread: threading.Thread | None = None


class MPIPool:
    """Runs calls on ranks of a cluster, in the order in which they come; owns its threads `mpi-N`.

    Args:
        cluster: What there is.
        setup: For the keepers of its workers.
        min_workers: How many of these are kept, also if there is nothing to do.
        idle_s: How long others may have nothing to do.
    """

    capabilities = CAPABILITIES
    most = 1

    def __init__(
        self, cluster: Cluster, setup: Mapping[str, Any], *, min_workers: int = 0, idle_s: float = IDLE_S
    ) -> None:
        self._cluster, self._setup = cluster, dict(setup)
        self._min, self._idle_s = min_workers, idle_s
        self._launcher: Launcher | None = None
        self._ranks = len(cluster.nodes) * cluster.slots
        self._placed = 0
        self._free = dict.fromkeys(cluster.nodes, cluster.slots)
        self._lock = threading.Lock()
        self._line: deque[tuple[Call, Wish, Future[Answer]]] = deque()
        self._hands: list[_Hand] = []
        self._resting: list[_Hand] = []

    @property
    def window(self) -> int:
        """One waits for its ranks, not more: tasks of others come before the next."""
        return min(self._placed + 1, self._ranks)

    def open(self) -> None:
        """Finds the launcher, and starts the workers that are kept.

        Raises:
            ComputeError: There is none.
        """
        if self._launcher is None:
            self._launcher = Launcher(self._cluster.launcher)
            with self._lock:
                while len(self._hands) < self._min:
                    self._resting.append(self._start_hand(is_warm=True))

    def submit(self, chunks: Sequence[Sequence[Call]]) -> Sequence[Future[Answer]]:
        """Lines calls up for their nodes; refuses what is wrong, or more than the cluster has."""
        return [self._submit(call) for chunk in chunks for call in chunk]

    def _submit(self, call: Call) -> Future[Answer]:
        try:
            wish, options = self._wish_of(call), dict(call.options)
        except ComputeError as error:
            return refused(error)
        options.pop("resource_specification", None)
        future: Future[Answer] = Future()
        with self._lock:
            self._line.append((call._replace(options=options), wish, future))
        self._place()
        return future

    def _wish_of(self, call: Call) -> Wish:
        asked = call.options.get("resource_specification")
        if not asked:
            return Wish(1, 1, 0, "")
        try:
            wish = Wish(**{"launcher_options": "", **completed(asked)})
        except ValueError as error:
            raise ComputeError(f"the engine mpi can't start this task: {error}") from error
        nodes, slots = len(self._cluster.nodes), self._cluster.slots
        if wish.num_nodes > nodes or wish.ranks_per_node > slots:
            raise ComputeError(
                f"the engine mpi can't start this task: it asks for {_nodes(wish.num_nodes)} with "
                f"{wish.ranks_per_node} ranks each, and this endpoint has {nodes} with {slots} "
                f"({', '.join(self._cluster.nodes)}): ask for less"
            )
        return wish

    def _place(self) -> None:
        """Gives nodes to the calls at the head of the line, as long as there are enough."""
        assert self._launcher is not None
        with self._lock:
            while self._line:
                call, wish, future = self._line[0]
                nodes = self._nodes_for(wish)
                if not nodes:
                    return
                self._line.popleft()
                if not future.set_running_or_notify_cancel():
                    continue
                self._placed += 1
                for node in nodes:
                    self._free[node] -= wish.ranks_per_node
                if wish.num_ranks:
                    environ = self._launcher.variables(wish, nodes)
                    call = call._replace(options={**call.options, "environ": environ})
                self._hand().calls.put((call, nodes, wish.ranks_per_node, future))

    def _nodes_for(self, wish: Wish) -> list[str]:
        """Returns the emptiest nodes that have room, or none."""
        fit = [node for node, free in self._free.items() if free >= wish.ranks_per_node]
        fit.sort(key=lambda node: -self._free[node])
        return fit[: wish.num_nodes] if len(fit) >= wish.num_nodes else []

    def _hand(self) -> _Hand:
        """Returns a hand that rests, one whose worker is up if there is one; else a new one."""
        if not self._resting:
            return self._start_hand()
        self._resting.sort(key=lambda hand: hand.keeper.process is not None)
        return self._resting.pop()

    def _start_hand(self, is_warm: bool = False) -> _Hand:
        hand = _Hand(Keeper(self._setup), SimpleQueue())
        name = f"mpi-{len(self._hands)}"
        hand.thread = threading.Thread(target=self._work, args=(hand, is_warm), name=name, daemon=True)
        self._hands.append(hand)
        hand.thread.start()
        return hand

    def _work(self, hand: _Hand, is_warm: bool) -> None:
        """Is a thread: runs one call after the other on its keeper."""
        if is_warm:
            with contextlib.suppress(OSError):  # its first task will say it
                hand.keeper.ready()
        while (placed := self._next(hand)) is not None:
            call, nodes, ranks, future = placed
            try:
                answer = hand.keeper.call(call)
            except Exception as error:  # noqa: BLE001 - the top of the thread
                answer = None
                future.set_exception(error)
            with self._lock:
                self._resting.append(hand)
                self._placed -= 1
                for node in nodes:
                    self._free[node] += ranks
            self._place()
            if answer is not None:
                future.set_result(answer)
        hand.keeper.close()

    def _next(self, hand: _Hand) -> _Placed | None:
        """Waits for a call; ends the worker meanwhile if it is idle for long and others are kept."""
        while True:
            try:
                return hand.calls.get(timeout=self._idle_s)
            except Empty:
                with self._lock:
                    alive = sum(one.keeper.process is not None for one in self._hands)
                    if hand in self._resting and alive > self._min:
                        hand.keeper.kill()

    def cancel(self, call: Call) -> bool:
        """Takes a call out of the line, or ends it."""
        with self._lock:
            waiting = [entry for entry in self._line if entry[0].task_id == call.task_id]
            for entry in waiting:
                self._line.remove(entry)
                entry[2].cancel()
        return bool(waiting) or any(hand.keeper.stop(call.task_id) for hand in self._hands)

    def running(self, futures: Sequence[Future[Answer]]) -> Sequence[Future[Answer]]:
        """Returns those that have nodes."""
        return begun(futures)

    def figures(self) -> Figures:
        """Counts ranks as workers, and as alive those that may be used."""
        with self._lock:
            busy, queued = self._ranks - sum(self._free.values()), len(self._line)
        elsewhere = len(self._cluster.nodes) > 1
        return Figures(self._ranks, self._ranks if self._launcher else 0, busy, queued, elsewhere=elsewhere)

    def close(self) -> None:
        """Ends what runs and all workers."""
        with self._lock:
            self._line.clear()
        for hand in self._hands:
            hand.calls.put(None)
            hand.keeper.stop_all()
        for hand in self._hands:
            if hand.thread is not None:
                hand.thread.join()


def nodes_here(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the nodes that a batch system, PBS or Slurm, has given this process; or this machine.

    Raises:
        ComputeError: The batch system says that there are some, and they can't be read.
    """
    try:
        if "PBS_NODEFILE" in environ:
            names = Path(environ["PBS_NODEFILE"]).read_text().split()
            return tuple(dict.fromkeys(names))
        if "SLURM_JOB_NODELIST" in environ:
            command = ["scontrol", "show", "hostnames", environ["SLURM_JOB_NODELIST"]]
            asked = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, check=True)
            return tuple(asked.stdout.split())
    except (OSError, subprocess.SubprocessError) as error:
        raise ComputeError(
            f"the nodes of this job can't be read ({error}): name them by `nodes` under [mpi] in "
            "endpoint.toml"
        ) from error
    return ("localhost",)


def _nodes(count: int) -> str:
    return f"{count} node{'s' * (count != 1)}"
