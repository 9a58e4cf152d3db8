"""This module is the process engine: workers of any Python on this machine, fed through pipes.

A worker gets chunks of tasks (`endpoint.sizes`), and a second one while it runs the first if tasks are
short, so that it need not wait for the journal. A chunk that turns out to be long is taken back.
"""

from __future__ import annotations

import itertools
import logging
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
from compute_nb.endpoint.engines.death import MAX_DUMP_CHARS, death, describe_exit, lost
from compute_nb.endpoint.engines.end import CANCELLED, End, failed, out_of_time
from compute_nb.endpoint.engines.fleet import Fleet
from compute_nb.endpoint.engines.force import Force
from compute_nb.endpoint.engines.intake import Intake
from compute_nb.endpoint.engines.listener import Listener
from compute_nb.endpoint.engines.loop import Loop
from compute_nb.endpoint.engines.newsbox import NewsBox
from compute_nb.endpoint.engines.worker import Chunk, Worker, WorkerPlan
from compute_nb.endpoint.gate import Gate, Limits
from compute_nb.endpoint.runner.worker import SPENT
from compute_nb.endpoint.sizes import ChunkSizes
from compute_nb.endpoint.slots import Slot, Slots
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
        min_workers: How many are kept, also if there is nothing to do. One starts with the engine anyway.
        idle_s: Another one that had nothing to do for so long ends; it is started again when it is needed.
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
        min_workers: int = 0,
        idle_s: float = IDLE_S,
        kill_s: float = KILL_S,
        limits: Limits | None = None,
    ) -> None:
        self._max = workers
        self._turns = Intake(Gate(CAPABILITIES, limits or Limits()), self._end)
        self._memory_bytes = plan.memory_bytes
        self._slots = Slots(slots_path, journal_id, workers)
        self._sizes = ChunkSizes()
        self._loop = Loop(self._step, self._last)
        self._timers = self._loop.timers
        slots = [Slot(self._slots, place) for place in range(workers)]
        self._fleet = Fleet(
            plan, slots, self._loop.selector, self._timers, idle_s=idle_s, min_workers=min_workers, owner=self
        )
        self._force = Force(self._timers, kill_s, self._give_back)
        self._flying: dict[int, tuple[Worker, Chunk]] = {}
        self._stillborn: Counter[int] = Counter()
        self._serials = itertools.cycle(range(1, 1 << 32))
        self._unsettled: deque[tuple[int, Slot, int]] = deque()
        self._settled = self._settleable = 0
        self._starved = self._ending = False

    # called by the agent

    def start(self, on_news: Callable[[], None]) -> None:
        """Starts the thread and a first worker, so that the first task finds it up."""
        self._news = NewsBox(on_news)
        self._listener = Listener(self._timers, self._fleet.workers, self._news)
        self._loop.start()
        self._loop.order(self._fleet.start)

    def submit(self, batches: Sequence[EngineBatch]) -> None:
        """Lines up tasks."""
        self._loop.order(lambda: self._turns.accept(batches))

    def cancel(self, numbers: Sequence[int]) -> None:
        """Ends tasks: waiting ones at once, running ones by SIGINT and, `kill_s` later, SIGKILL."""
        self._loop.order(lambda: self._cancel(numbers))

    def take(self) -> News:
        """Returns the news."""
        return self._news.take()

    def settle(self, serial: int) -> None:
        """Lets the records of tasks go whose ends are journalled; wakes the engine only if it waits."""
        self._settleable = serial
        if self._starved:
            self._loop.ring()

    def status(self) -> EngineStatus:
        """Returns how busy the engine is."""
        workers, flying = tuple(self._fleet.workers), len(self._flying)
        busy, waiting = sum(bool(worker.chunks) for worker in workers), len(self._turns)
        queued = max(0, waiting + flying - busy)
        return EngineStatus(self._max, len(workers), waiting, flying, busy, queued)

    def stop(self, patience_s: float = 0.0) -> None:
        """Takes back what has not begun, waits for what has, kills all workers and waits for the thread."""
        self._loop.order(lambda: self._stop(patience_s))
        self._loop.join()
        self._slots.close()

    # the thread

    def _step(self) -> None:
        self._assign()
        self._news.ring()

    def _last(self) -> None:
        self._fleet.kill_all()

    def _stop(self, patience_s: float) -> None:
        self._ending = True
        for worker in self._fleet.workers:
            self._force.recall(worker)
        self._timers.later(patience_s, self._loop.end)

    # tasks come

    def _assign(self) -> None:
        """Gives waiting tasks to workers and starts workers while tasks wait."""
        self._starved = False
        if self._ending:
            if not self._flying:
                self._loop.end()
            return
        self._fleet.keep()
        while len(self._turns):
            worker = self._fleet.idle()
            if worker is None and self._settleable != self._settled:
                self._settle(self._settleable)
                continue
            worker = worker or self._half_full_worker()
            if worker is not None:
                self._feed(worker)
                continue
            self._starved = True  # before it is looked once more
            if self._settleable == self._settled:
                return

    def _half_full_worker(self) -> Worker | None:
        """A worker that may have a second chunk, since all are up and all tasks are short."""
        self._start_for_waiting()
        head = self._turns.head()
        if self._fleet.starting or head is None or not self._is_short(head):
            return None
        for worker in self._fleet.workers:
            ready = worker.ready and worker.free and not worker.closing and not worker.blocked
            if (
                ready
                and worker.left > 0
                and len(worker.chunks) == 1
                and self._is_short(worker.chunks[0].batch)
            ):
                return worker
        return None

    def _start_for_waiting(self) -> None:
        """Starts one worker if the tasks that wait could use it; the loop comes back for more."""
        if len(self._turns) > self._fleet.starting and self._fleet.may_start():
            self._fleet.start()
            self._loop.ring()

    def _is_short(self, batch: EngineBatch) -> bool:
        return self._sizes.size(batch) > 1

    def _fair_size(self, batch: EngineBatch, most: int) -> int:
        """At most this function's size, and so few that all workers end together."""
        share = -(-len(self._turns) // (2 * self._max))
        return min(self._sizes.size(batch), share, most)

    def _feed(self, worker: Worker) -> None:
        left = worker.left
        taken = self._turns.take(lambda batch: self._fair_size(batch, left))
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
        serial, index, *rest = frame
        if (serial, index) != (chunk.serial, chunk.ended):  # an end that comes twice is not the worker's own
            raise ValueError(f"a frame of task {index} of chunk {serial}")
        if not rest:
            self._give_back(chunk, index)
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
                chunk.last_news = self._end(task, doom)
            else:
                wanted.append(task)
        self._turns.put_back(chunk.batch, wanted)

    def _chunk_over(self, worker: Worker, chunk: Chunk) -> None:
        chunk.over = True
        if chunk.alarm is not None:
            chunk.alarm.cancel()
        worker.chunks.remove(chunk)
        worker.done += len(chunk.tasks)
        if chunk.last_news > self._settled:
            self._unsettled.append((chunk.last_news, worker.slot, chunk.record))
        else:
            worker.slot.clear(chunk.record)
        if worker.chunks:
            self._becomes_first(worker, worker.chunks[0])
        elif worker.left <= 0:
            self._fleet.retire(worker)
        else:
            worker.idle_since = time.monotonic()

    def _settle(self, serial: int) -> None:
        self._settled = serial
        while self._unsettled and self._unsettled[0][0] <= serial:
            _, slot, record = self._unsettled.popleft()
            slot.clear(record)

    def _end(
        self, task: EngineTask, end: End, started_at: float | None = None, ended_at: float | None = None
    ) -> int:
        self._flying.pop(task.number, None)
        self._force.forget(task.number)
        self._stillborn.pop(task.number, None)
        result = RunResult(task.run, *end, started_at, ended_at or time.time())
        return self._news.ended(Ended(task.number, result))

    # tasks are ended

    def _cancel(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            if not self._turns.cancel(number) and number in self._flying:
                worker, chunk = self._flying[number]
                self._force.end(worker, chunk, number, CANCELLED)

    def _out_of_time(self, worker: Worker, chunk: Chunk, walltime_s: float) -> None:
        if chunk.over or not chunk.tasks:
            return
        self._force.end(worker, chunk, chunk.tasks[0].number, out_of_time(walltime_s))

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
            if not begun and not place and code != SPENT:
                self._end_stillborn(worker, chunk, code)
            self._give_back(chunk, begun)
            for task in chunk.tasks[chunk.ended :]:
                end = self._force.doom(task.number) or self._death(worker, code, dump)
                chunk.last_news = self._end(task, end, worker.slot.begun_at(), None)
            self._chunk_over(worker, chunk)

    def _death(self, worker: Worker, code: int, dump: str) -> End:
        return death(f"pid {worker.pid}", code, dump, memory_bytes=self._memory_bytes)

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
            end = self._force.doom(task.number) or lost(text)
            chunk.last_news = self._end(task, end)

    def on_no_worker(self, reason: str) -> None:
        """Fails all that waits: nothing would ever run it."""
        text = (
            f"no worker could be started with {reason}. The task has not begun; give the endpoint a "
            "Python 3.8 or newer that works (its option `python`), then submit again"
        )
        _log.warning("%s", text)
        self._turns.end_all(failed(text, ErrorCode.WORKER_DIED))
