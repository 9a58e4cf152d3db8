"""This module is the process engine: workers of any Python on this machine, fed through pipes.

A worker gets chunks of tasks (`endpoint.sizes`), and a second one while it runs the first if tasks are
short, so that it need not wait for the journal. A chunk that turns out to be long is taken back.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import selectors
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from compute_nb.endpoint.engine import (
    Begun,
    Capabilities,
    Ended,
    EngineBatch,
    EngineStatus,
    EngineTask,
    News,
)
from compute_nb.endpoint.engines.death import MAX_DUMP_CHARS, death, describe_exit
from compute_nb.endpoint.engines.fleet import Fleet
from compute_nb.endpoint.engines.force import CANCELLED, End, Force
from compute_nb.endpoint.engines.listener import Listener
from compute_nb.endpoint.engines.newsbox import NewsBox
from compute_nb.endpoint.engines.worker import Chunk, Worker, WorkerPlan
from compute_nb.endpoint.gate import Gate, Limits
from compute_nb.endpoint.sizes import ChunkSizes
from compute_nb.endpoint.slots import Slot, Slots
from compute_nb.endpoint.timers import Timers
from compute_nb.endpoint.turns import Turns
from compute_nb.errors import ComputeError
from compute_nb.tasks import ErrorCode, Outcome, RunResult

LOOK_S = 0.05
MAX_STILLBORN = 3
KILL_S = 5.0
IDLE_S = 600.0
CAPABILITIES = Capabilities(
    "processes", live_text=True, because="it runs each task in one process of one machine"
)

_log = logging.getLogger(__name__)


class ProcessEngine:
    """Runs tasks in worker processes; its thread `engine` starts, feeds, reads and kills them.

    The methods of the contract may be called from any thread; what begins with an underscore or `on_`
    belongs to the engine's.

    Args:
        plan: How workers are started.
        slots_path: The slots file, made anew.
        journal_id: The journal that the task numbers belong to.
        workers: How many workers run at most.
        idle_s: A worker that had nothing to do for so long ends; it is started again when it is needed.
        kill_s: How long a task that is to end may take over it before its worker is killed.
        limits: What the endpoint allows.
    """

    capabilities = CAPABILITIES

    def __init__(
        self,
        plan: WorkerPlan,
        slots_path: Path,
        journal_id: UUID,
        workers: int,
        *,
        idle_s: float = IDLE_S,
        kill_s: float = KILL_S,
        limits: Limits | None = None,
    ) -> None:
        self._max = workers
        self._gate = Gate(CAPABILITIES, limits or Limits())
        self._slots = Slots(slots_path, journal_id, workers)
        self._turns, self._sizes, self._timers = Turns(), ChunkSizes(), Timers()
        self._selector = selectors.DefaultSelector()
        slots = [Slot(self._slots, place) for place in range(workers)]
        self._fleet = Fleet(plan, slots, self._selector, self._timers, idle_s=idle_s, owner=self)
        self._force = Force(self._timers, kill_s, self._give_back)
        self._flying: dict[int, tuple[Worker, Chunk]] = {}
        self._stillborn: Counter[int] = Counter()
        self._serials = itertools.cycle(range(1, 1 << 32))
        self._unsettled: deque[tuple[int, Slot, int]] = deque()
        self._settled = self._settleable = 0
        self._starved = False
        self._commands: deque[Callable[[], None]] = deque()
        self._bell, self._ear = socket.socketpair()
        self._stopping = self._ending = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    # called by the agent

    def start(self, on_news: Callable[[], None]) -> None:
        """Starts the thread and a first worker, so that the first task finds it up."""
        self._news = NewsBox(on_news)
        self._listener = Listener(self._timers, self._fleet.workers, self._news)
        self._bell.setblocking(False)
        self._ear.setblocking(False)
        self._selector.register(self._ear, selectors.EVENT_READ, self._on_bell)
        self._thread.start()
        self._order(self._fleet.start)

    def submit(self, batches: Sequence[EngineBatch]) -> None:
        """Lines up tasks."""
        self._order(lambda: self._accept(batches))

    def cancel(self, numbers: Sequence[int]) -> None:
        """Ends tasks: waiting ones at once, running ones by SIGINT and, `kill_s` later, SIGKILL."""
        self._order(lambda: self._cancel(numbers))

    def take(self) -> News:
        """Returns the news."""
        return self._news.take()

    def settle(self, serial: int) -> None:
        """Lets the records of tasks go whose ends are journalled; wakes the engine only if it waits."""
        self._settleable = serial
        if self._starved:
            self._ring()

    def status(self) -> EngineStatus:
        """Returns how busy the engine is."""
        workers, flying = tuple(self._fleet.workers), len(self._flying)
        busy, waiting = sum(bool(worker.chunks) for worker in workers), len(self._turns)
        queued = max(0, waiting + flying - busy)
        return EngineStatus(self._max, len(workers), waiting, flying, busy, queued)

    def stop(self, patience_s: float = 0.0) -> None:
        """Takes back what has not begun, waits for what has, kills all workers and waits for the thread."""
        self._order(lambda: self._stop(patience_s))
        self._thread.join()
        self._slots.close()

    def _order(self, command: Callable[[], None]) -> None:
        self._commands.append(command)
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # a full pipe rings already, a closed one rings nobody
            self._bell.send(b"\0")

    # the thread

    def _run(self) -> None:
        try:
            while not self._stopping:
                for key, _ in self._selector.select(self._timers.timeout_s()):
                    key.data()
                self._timers.run_due()
                self._assign()
                self._news.ring()
        except Exception:  # noqa: BLE001 - the top of the thread
            _log.critical("the engine failed; the agent ends and starts anew", exc_info=True)
            os.kill(os.getpid(), signal.SIGABRT)
        finally:
            self._fleet.kill_all()
            self._selector.close()
            self._bell.close()
            self._ear.close()

    def _on_bell(self) -> None:
        self._ear.recv(4096)
        while self._commands:
            self._commands.popleft()()

    def _stop(self, patience_s: float) -> None:
        self._ending = True
        for worker in self._fleet.workers:
            self._force.recall(worker)
        self._timers.later(patience_s, self._halt)

    def _halt(self) -> None:
        self._stopping = True

    # tasks come

    def _accept(self, batches: Sequence[EngineBatch]) -> None:
        for batch in batches:
            try:
                self._turns.put(self._gate.admit(batch))
            except ComputeError as error:
                for task in batch.tasks:
                    self._end(task, End(Outcome.ERROR, str(error), ErrorCode.REMOTE), None, None)

    def _assign(self) -> None:
        """Gives waiting tasks to workers and starts workers while tasks wait."""
        self._starved = False
        if self._ending:
            self._stopping = self._stopping or not self._flying
            return
        while len(self._turns):
            worker = self._fleet.idle() or self._half_full_worker()
            if worker is not None:
                self._feed(worker)
                continue
            self._starved = True
            if self._settleable == self._settled:
                return
            self._settle(self._settleable)

    def _half_full_worker(self) -> Worker | None:
        """A worker that may have a second chunk, since all are up and all tasks are short."""
        self._start_for_waiting()
        head = self._turns.head()
        if self._fleet.starting or head is None or not self._is_short(head):
            return None
        for worker in self._fleet.workers:
            ready = worker.ready and worker.free and not worker.closing and not worker.blocked
            if ready and len(worker.chunks) == 1 and self._is_short(worker.chunks[0].batch):
                return worker
        return None

    def _start_for_waiting(self) -> None:
        """Starts one worker if the tasks that wait could use it; the loop comes back for more."""
        if len(self._turns) > self._fleet.starting and self._fleet.may_start():
            self._fleet.start()
            self._ring()

    def _is_short(self, batch: EngineBatch) -> bool:
        return self._sizes.size(batch) > 1

    def _fair_size(self, batch: EngineBatch) -> int:
        """At most this function's size, and so few that all workers end together."""
        share = -(-len(self._turns) // (2 * self._max))
        return min(self._sizes.size(batch), share)

    def _feed(self, worker: Worker) -> None:
        taken = self._turns.take(self._fair_size)
        if taken is None:
            return
        batch, tasks = taken
        chunk = Chunk(next(self._serials), worker.free.pop(), batch, tasks)
        pair = (worker, chunk)
        for task in tasks:
            self._flying[task.number] = pair
        worker.send(chunk)
        if worker.blocked:
            self._fleet.flush_later(worker)
        if worker.chunks[0] is chunk:
            self._becomes_first(worker, chunk)

    def _becomes_first(self, worker: Worker, chunk: Chunk) -> None:
        self._timers.later(LOOK_S, lambda: self._look(worker, chunk))
        walltime_s = chunk.batch.options.get("walltime_s")
        if walltime_s is not None:
            chunk.alarm = self._timers.later(walltime_s, lambda: self._out_of_time(worker, chunk, walltime_s))

    # workers answer

    def on_frame(self, worker: Worker, frame: list[Any]) -> None:
        """Takes a result, or the news that a worker has begun no more than so many tasks of a chunk."""
        chunk = worker.chunks[0]
        if len(frame) == 2:
            self._give_back(chunk, frame[1])
            self._chunk_over(worker, chunk)
        else:
            self._on_result(worker, chunk, frame)

    def _on_result(self, worker: Worker, chunk: Chunk, frame: list[Any]) -> None:
        _, index, ok, data, error_code, started_at, ended_at = frame
        task = chunk.tasks[index]
        chunk.ended = index + 1
        if ok:
            end = End(Outcome.SUCCESS, data, None)
        else:
            end = self._force.doom(task.number) or End(Outcome.ERROR, data, error_code)
        chunk.last_news = self._end(task, end, started_at, ended_at)
        if index == 0:
            chunk.began = started_at
        if chunk.ended == chunk.size:
            self._sizes.learn(chunk.batch.function_id, chunk.size, ended_at - chunk.began)
            self._chunk_over(worker, chunk)

    def _give_back(self, chunk: Chunk, begun: int) -> None:
        """Lines up again what a worker has not begun of a chunk and will not begin."""
        rest, chunk.tasks = chunk.tasks[begun:], chunk.tasks[:begun]
        wanted = []
        for task in rest:
            del self._flying[task.number]
            doom = self._force.doom(task.number)
            if doom:
                chunk.last_news = self._end(task, doom, None, None)
            else:
                wanted.append(task)
        self._turns.put_back(chunk.batch, wanted)

    def _chunk_over(self, worker: Worker, chunk: Chunk) -> None:
        chunk.over = True
        if chunk.alarm is not None:
            chunk.alarm.cancel()
        worker.chunks.remove(chunk)
        if chunk.last_news > self._settled:
            self._unsettled.append((chunk.last_news, worker.slot, chunk.record))
        else:
            worker.slot.clear(chunk.record)
        if worker.chunks:
            self._becomes_first(worker, worker.chunks[0])
        else:
            worker.idle_since = time.monotonic()

    def _settle(self, serial: int) -> None:
        self._settled = serial
        while self._unsettled and self._unsettled[0][0] <= serial:
            _, slot, record = self._unsettled.popleft()
            slot.clear(record)

    def _end(self, task: EngineTask, end: End, started_at: float | None, ended_at: float | None) -> int:
        self._flying.pop(task.number, None)
        self._force.forget(task.number)
        self._stillborn.pop(task.number, None)
        result = RunResult(task.run, *end, started_at, ended_at or time.time())
        return self._news.ended(Ended(task.number, result))

    # tasks are ended

    def _cancel(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            task = self._turns.find(number)
            if task is not None:
                self._turns.drop(number)
                self._end(task, CANCELLED, None, None)
            elif number in self._flying:
                worker, chunk = self._flying[number]
                self._force.end(worker, chunk, number, CANCELLED)

    def _out_of_time(self, worker: Worker, chunk: Chunk, walltime_s: float) -> None:
        if chunk.over or not chunk.tasks:
            return
        text = (
            f"WalltimeExceeded: the task had run for its walltime of {walltime_s:g} s and was ended; "
            "give it a longer walltime or less to do"
        )
        end = End(Outcome.ERROR, text, ErrorCode.WALLTIME)
        self._force.end(worker, chunk, chunk.tasks[0].number, end)

    def _look(self, worker: Worker, chunk: Chunk) -> None:
        """A chunk that was thought to be short still runs: say so, and let others have the rest of it."""
        if chunk.over:
            return
        begun = worker.slot.begun(chunk.record)
        if chunk.ended < begun <= len(chunk.tasks) and not chunk.marked:
            chunk.marked = True
            task = chunk.tasks[begun - 1]
            self._news.begun(Begun(task.number, task.run, worker.slot.begun_at()))
            self._listener.wake()
        if sum(len(one.tasks) for one in worker.chunks) > max(begun, 1):
            self._sizes.learn(chunk.batch.function_id, 1, LOOK_S)
            self._force.recall(worker)
        if not chunk.marked:
            self._timers.later(LOOK_S, lambda: self._look(worker, chunk))

    # workers end

    def on_exit(self, worker: Worker, code: int) -> None:
        """Ends the task that a worker has taken with it; what it had not begun goes back."""
        if worker.chunks:
            self._listener.hear(worker)  # its last words
        dump = worker.last_words(MAX_DUMP_CHARS)
        for place, chunk in enumerate(tuple(worker.chunks)):
            begun = max(worker.slot.begun(chunk.record), chunk.ended)
            if not begun and not place:
                self._end_stillborn(worker, chunk, code)
            self._give_back(chunk, begun)
            for task in chunk.tasks[chunk.ended :]:
                end = self._force.doom(task.number) or death(f"pid {worker.pid}", code, dump)
                chunk.last_news = self._end(task, end, worker.slot.begun_at(), None)
            self._chunk_over(worker, chunk)

    def _end_stillborn(self, worker: Worker, chunk: Chunk, code: int) -> None:
        """Ends tasks before which worker after worker dies: what kills them is in the chunk itself."""
        tasks, chunk.tasks = chunk.tasks, []
        for task in tasks:
            self._stillborn[task.number] += 1
            if self._stillborn[task.number] < MAX_STILLBORN:
                chunk.tasks.append(task)
                continue
            text = (
                f"WorkerDied: {MAX_STILLBORN} workers in a row ended before this task could begin, the last "
                f"(pid {worker.pid}) {describe_exit(code)}. Its options or the folder that it runs in may be "
                f"at fault; the worker's log is {worker.log}"
            )
            end = self._force.doom(task.number) or End(Outcome.DIED, text, ErrorCode.WORKER_DIED)
            chunk.last_news = self._end(task, end, None, None)

    def on_no_worker(self, reason: str) -> None:
        """Fails all that waits: nothing would ever run it."""
        text = (
            f"no worker could be started with {reason}. The task has not begun; give the endpoint a "
            "Python 3.8 or newer that works (its option `python`), then submit again"
        )
        _log.warning("%s", text)
        for task in self._turns.clear():
            self._end(task, End(Outcome.ERROR, text, ErrorCode.WORKER_DIED), None, None)
