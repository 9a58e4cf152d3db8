"""This module is the process engine: workers of any Python on this machine, fed through pipes.

A worker gets chunks of tasks (`endpoint.sizes`), and a second one while it runs the first if tasks are short,
so that it need not wait for the journal. What a chunk can't begin soon is taken back: see `_recall`.
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
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from compute_nb.endpoint.engine import (
    Begun,
    Ended,
    EngineBatch,
    EngineStatus,
    EngineTask,
    News,
)
from compute_nb.endpoint.engines.newsbox import NewsBox
from compute_nb.endpoint.engines.worker import (
    Chunk,
    Worker,
    WorkerPlan,
    describe_exit,
)
from compute_nb.endpoint.sizes import ChunkSizes
from compute_nb.endpoint.slots import Slot, Slots
from compute_nb.endpoint.timers import Timers
from compute_nb.endpoint.turns import Turns
from compute_nb.tasks import ErrorCode, Outcome, RunResult

LOOK_S = 0.05
RECALL_S = 0.02
KILL_S = 5.0
EXIT_S = 2.0
RESTART_S = 5.0
START_LIMIT = 3

_log = logging.getLogger(__name__)


class Doom(NamedTuple):
    """How a task ends that is being ended by force."""

    outcome: Outcome
    text: str
    error_code: str | None


CANCELLED = Doom(Outcome.CANCELLED, "the task was cancelled", ErrorCode.CANCELLED)


class ProcessEngine:
    """Runs tasks in worker processes; its thread `engine` starts, feeds, reads and kills them.

    Every public method may be called from any thread.

    Args:
        plan: How workers are started.
        slots_path: The slots file, made anew.
        journal_id: The journal that the task numbers belong to.
        workers: How many workers run at most.
        idle_s: A worker that had nothing to do for so long ends; it is started again when it is needed.
        kill_s: How long a task that is to end may take over it before its worker is killed.
    """

    def __init__(
        self,
        plan: WorkerPlan,
        slots_path: Path,
        journal_id: UUID,
        workers: int,
        *,
        idle_s: float = 600.0,
        kill_s: float = KILL_S,
    ) -> None:
        self._plan, self._max, self._idle_s, self._kill_s = plan, workers, idle_s, kill_s
        self._slots = Slots(slots_path, journal_id, workers)
        self._slot = [Slot(self._slots, place) for place in range(workers)]
        self._places = deque(range(workers))
        self._unsettled: deque[tuple[int, Slot, int]] = deque()
        self._settled = self._settleable = 0
        self._starved = False
        self._turns, self._sizes, self._timers = Turns(), ChunkSizes(), Timers()
        self._workers: list[Worker] = []
        self._flying: dict[int, tuple[Worker, Chunk]] = {}
        self._doomed: dict[int, Doom] = {}
        self._serials = itertools.cycle(range(1, 1 << 32))
        self._failed_starts = 0
        self._no_start_before = 0.0
        self._commands: deque[Callable[[], None]] = deque()
        self._selector = selectors.DefaultSelector()
        self._bell, self._ear = socket.socketpair()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    # called by the agent

    def start(self, on_news: Callable[[], None]) -> None:
        """Starts the thread and a first worker, so that the first task finds it up."""
        self._news = NewsBox(on_news)
        self._bell.setblocking(False)
        self._ear.setblocking(False)
        self._selector.register(self._ear, selectors.EVENT_READ, self._on_bell)
        self._commands.append(self._start_worker)
        self._thread.start()
        self._ring()

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
        """Lets the records of tasks go whose ends are journalled; wakes the engine only if it needs one."""
        self._settleable = serial
        if self._starved:
            self._ring()

    def status(self) -> EngineStatus:
        """Returns how busy the engine is."""
        return EngineStatus(self._max, len(self._workers), len(self._turns), len(self._flying))

    def stop(self) -> None:
        """Kills all workers and waits for the thread."""
        self._order(self._stop)
        self._thread.join()
        self._slots.close()

    def _order(self, command: Callable[[], None]) -> None:
        self._commands.append(command)
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):
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
            self._clean_up()

    def _on_bell(self) -> None:
        self._ear.recv(4096)
        while self._commands:
            self._commands.popleft()()

    def _stop(self) -> None:
        self._stopping = True

    def _clean_up(self) -> None:
        for worker in self._workers:
            worker.signal(signal.SIGKILL)
        for worker in self._workers:
            worker.bury()
        self._selector.close()
        self._bell.close()
        self._ear.close()

    # tasks come

    def _accept(self, batches: Sequence[EngineBatch]) -> None:
        for batch in batches:
            wanted = batch.options.get("resource_specification")
            if wanted:
                text = (
                    "this endpoint runs tasks in processes of one machine and takes no "
                    f"resource_specification ({wanted}): leave it out, or choose an endpoint that does"
                )
                for task in batch.tasks:
                    self._end(task, Doom(Outcome.ERROR, text, ErrorCode.REMOTE), None, None)
            else:
                self._turns.put(batch)

    def _assign(self) -> None:
        """Gives waiting tasks to workers and starts workers while tasks wait."""
        self._starved = False
        while len(self._turns):
            worker = self._idle_worker() or self._half_full_worker()
            if worker is None:
                self._starved = True
                if self._settleable == self._settled:
                    return
                self._settle(self._settleable)
            else:
                self._feed(worker)

    def _idle_worker(self) -> Worker | None:
        for worker in self._workers:
            if worker.ready and not worker.closing and not worker.chunks and worker.free:
                return worker
        return None

    def _half_full_worker(self) -> Worker | None:
        """A worker that may have a second chunk, since all can be started and all tasks are short."""
        self._start_for_waiting()
        head = self._turns.head()
        if self._starting() or head is None or not self._is_short(head):
            return None
        for worker in self._workers:
            ready = worker.ready and worker.free and not worker.closing and not worker.blocked
            if ready and len(worker.chunks) == 1 and self._is_short(worker.chunks[0].batch):
                return worker
        return None

    def _is_short(self, batch: EngineBatch) -> bool:
        return self._sizes.size(batch) > 1

    def _starting(self) -> int:
        return sum(not worker.ready for worker in self._workers)

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
            self._watch_sink(worker)
        if worker.chunks[0] is chunk:
            self._becomes_first(worker, chunk)

    def _watch_sink(self, worker: Worker) -> None:
        if worker.sink not in worker.watched:
            self._watch(worker, worker.sink, selectors.EVENT_WRITE, self._drain)

    def _drain(self, worker: Worker) -> None:
        if not worker.flush():
            self._unwatch(worker, worker.sink)

    def _watch(self, worker: Worker, fd: int, events: int, call: Callable[[Worker], None]) -> None:
        worker.watched.add(fd)
        self._selector.register(fd, events, lambda: call(worker))

    def _unwatch(self, worker: Worker, fd: int) -> None:
        if fd in worker.watched:
            worker.watched.remove(fd)
            self._selector.unregister(fd)

    def _becomes_first(self, worker: Worker, chunk: Chunk) -> None:
        self._timers.later(LOOK_S, lambda: self._look(worker, chunk))
        walltime_s = chunk.batch.options.get("walltime_s")
        if walltime_s is not None:
            self._timers.later(walltime_s, lambda: self._out_of_time(worker, chunk, walltime_s))

    # workers start

    def _start_for_waiting(self) -> None:
        """Starts one worker if the tasks that wait could use it."""
        wanted = len(self._turns) > self._starting() and bool(self._places)
        if wanted and time.monotonic() >= self._no_start_before:
            self._start_worker()
            self._ring()

    def _start_worker(self) -> None:
        place = self._places.popleft()
        try:
            worker = Worker(self._plan, self._slot[place], place)
        except OSError as error:
            self._places.appendleft(place)
            self._start_failed(f"{type(error).__name__}: {error}", for_good=True)
            return
        self._workers.append(worker)
        self._watch(worker, worker.source, selectors.EVENT_READ, self._read)
        try:
            self._watch(worker, worker.watch_exit(), selectors.EVENT_READ, self._exited)
        except (AttributeError, OSError):  # no pidfd here
            self._timers.later(EXIT_S, lambda: self._await_exit(worker))
        _log.info("worker %d started, pid %d", place, worker.pid)

    def _start_failed(self, reason: str, for_good: bool) -> None:
        """After a few failures in a row, fails what waits, unless another worker is up to take it."""
        self._failed_starts += 1
        self._no_start_before = 0.0
        if any(worker.ready for worker in self._workers):
            self._no_start_before = time.monotonic() + RESTART_S
            self._timers.later(RESTART_S, lambda: None)
        elif for_good or self._failed_starts >= START_LIMIT:
            self._failed_starts = 0
            text = (
                f"no worker could be started with {self._plan.python}: {reason}. The task has not begun; "
                "give the endpoint a Python 3.8 or newer that works (its option `python`), then submit again"
            )
            _log.warning("%s", text)
            for task in self._turns.clear():
                self._end(task, Doom(Outcome.ERROR, text, ErrorCode.WORKER_DIED), None, None)

    def _becomes_ready(self, worker: Worker) -> None:
        worker.ready = True
        self._failed_starts = 0
        self._becomes_idle(worker)
        self._timers.later(self._idle_s, lambda: self._end_idle(worker))

    def _becomes_idle(self, worker: Worker) -> None:
        worker.idle_since = time.monotonic()

    def _end_idle(self, worker: Worker) -> None:
        if worker not in self._workers or worker.closing:
            return
        idle_s = 0.0 if worker.chunks else time.monotonic() - worker.idle_since
        if idle_s >= self._idle_s:
            worker.close()
        else:
            self._timers.later(self._idle_s - idle_s, lambda: self._end_idle(worker))

    # workers answer

    def _read(self, worker: Worker) -> None:
        frames, at_end = worker.receive()
        for frame in frames:
            self._on_frame(worker, frame)
        if at_end:
            self._unwatch(worker, worker.source)
            self._ended_pipe(worker)

    def _on_frame(self, worker: Worker, frame: list[Any]) -> None:
        if not frame:
            self._becomes_ready(worker)
        elif len(frame) == 2:
            self._cut_short(worker, worker.chunks[0], frame[1])
        else:
            self._on_result(worker, worker.chunks[0], frame)

    def _on_result(self, worker: Worker, chunk: Chunk, frame: list[Any]) -> None:
        _, index, ok, data, error_code, started_at, ended_at = frame
        task = chunk.tasks[index]
        chunk.ended = index + 1
        doom = self._doomed.get(task.number)
        failed = doom or Doom(Outcome.ERROR, data, error_code)
        end = Doom(Outcome.SUCCESS, data, None) if ok else failed
        chunk.last_news = self._end(task, end, started_at, ended_at)
        if index == 0:
            chunk.began = started_at
        if chunk.ended == chunk.size:
            self._sizes.learn(chunk.batch.function_id, chunk.size, ended_at - chunk.began)
            self._chunk_over(worker, chunk)

    def _cut_short(self, worker: Worker, chunk: Chunk, begun: int) -> None:
        """The worker says that it has begun only so many: the rest may run elsewhere."""
        self._give_back(chunk, begun)
        self._chunk_over(worker, chunk)

    def _give_back(self, chunk: Chunk, begun: int) -> None:
        rest, chunk.tasks = chunk.tasks[begun:], chunk.tasks[:begun]
        wanted = []
        for task in rest:
            del self._flying[task.number]
            doom = self._doomed.get(task.number)
            if doom:
                chunk.last_news = self._end(task, doom, None, None)
            else:
                wanted.append(task)
        self._turns.put_back(chunk.batch, wanted)

    def _chunk_over(self, worker: Worker, chunk: Chunk) -> None:
        chunk.over = True
        worker.chunks.remove(chunk)
        if chunk.last_news > self._settled:
            self._unsettled.append((chunk.last_news, worker.slot, chunk.record))
        else:
            worker.slot.clear(chunk.record)
        if worker.chunks:
            self._becomes_first(worker, worker.chunks[0])
        else:
            self._becomes_idle(worker)

    def _settle(self, serial: int) -> None:
        self._settled = serial
        while self._unsettled and self._unsettled[0][0] <= serial:
            _, slot, record = self._unsettled.popleft()
            slot.clear(record)

    def _end(self, task: EngineTask, end: Doom, started_at: float | None, ended_at: float | None) -> int:
        self._flying.pop(task.number, None)
        self._doomed.pop(task.number, None)
        result = RunResult(task.run, *end, started_at, ended_at or time.time())
        return self._news.ended(Ended(task.number, result))

    # tasks are ended by force

    def _cancel(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            task = self._turns.find(number)
            if task is not None:
                self._turns.drop(number)
                self._end(task, CANCELLED, None, None)
            elif number in self._flying:
                self._doom(number, CANCELLED)

    def _doom(self, number: int, doom: Doom) -> None:
        worker, chunk = self._flying[number]
        self._doomed.setdefault(number, doom)
        self._recall(worker)
        self._interrupt_doomed(worker, chunk)

    def _interrupt_doomed(self, worker: Worker, chunk: Chunk) -> None:
        """Interrupts the running task of a chunk if it is to end."""
        index = worker.slot.begun(chunk.record) - 1
        if not chunk.ended <= index < len(chunk.tasks):
            return
        number = chunk.tasks[index].number
        if number in self._doomed:
            worker.interrupt(chunk, index)
            self._timers.later(self._kill_s, lambda: self._kill_doomed(worker, number))

    def _kill_doomed(self, worker: Worker, number: int) -> None:
        if number in self._flying and number in self._doomed:
            worker.signal(signal.SIGKILL)

    def _out_of_time(self, worker: Worker, chunk: Chunk, walltime_s: float) -> None:
        if chunk.over or not chunk.tasks:
            return
        text = (
            f"WalltimeExceeded: the task had run for its walltime of {walltime_s:g} s and was ended; "
            "give it a longer walltime or less to do"
        )
        self._doom(chunk.tasks[0].number, Doom(Outcome.ERROR, text, ErrorCode.WALLTIME))

    # slow chunks

    def _look(self, worker: Worker, chunk: Chunk) -> None:
        """A chunk that was thought to be short still runs: say so, and let others have the rest of it."""
        if chunk.over or worker not in self._workers:
            return
        begun = worker.slot.begun(chunk.record)
        if begun > chunk.ended and not chunk.marked:
            chunk.marked = True
            task = chunk.tasks[begun - 1]
            self._news.begun(Begun(task.number, task.run, worker.slot.begun_at()))
        if sum(len(one.tasks) for one in worker.chunks) > max(begun, 1):
            self._sizes.learn(chunk.batch.function_id, 1, LOOK_S)
            self._recall(worker)
        if not chunk.marked:
            self._timers.later(LOOK_S, lambda: self._look(worker, chunk))

    def _recall(self, worker: Worker) -> None:
        """Takes back what the worker has not begun; what that is, is certain a moment later."""
        for chunk in worker.chunks:
            if not chunk.recalled:
                chunk.recalled = True
                worker.slot.limit(chunk.record, worker.slot.begun(chunk.record))
                self._timers.later(RECALL_S, lambda chunk=chunk: self._recalled(worker, chunk))  # type: ignore[misc]

    def _recalled(self, worker: Worker, chunk: Chunk) -> None:
        if not chunk.over and worker in self._workers:
            self._give_back(chunk, worker.slot.begun(chunk.record))
            self._interrupt_doomed(worker, chunk)

    # workers end

    def _ended_pipe(self, worker: Worker) -> None:
        """The worker talks no more: its exit follows, or is made to."""
        if worker.pidfd is None:
            self._await_exit(worker)
        self._timers.later(EXIT_S, lambda: self._kill_silent(worker))

    def _await_exit(self, worker: Worker) -> None:
        if worker not in self._workers:
            return
        if worker.process.poll() is None:
            pause_s = EXIT_S if worker.source in worker.watched else RECALL_S
            self._timers.later(pause_s, lambda: self._await_exit(worker))
        else:
            self._exited(worker)

    def _kill_silent(self, worker: Worker) -> None:
        if worker in self._workers:
            worker.signal(signal.SIGKILL)

    def _exited(self, worker: Worker) -> None:
        """The process is gone: read what it left, then say how its task ended."""
        if worker.source in worker.watched:
            for frame in worker.receive()[0]:
                self._on_frame(worker, frame)
        for fd in tuple(worker.watched):
            self._unwatch(worker, fd)
        self._workers.remove(worker)
        code = worker.bury()
        _log.info("worker %d, pid %d, %s", worker.place, worker.pid, describe_exit(code))
        for chunk in list(worker.chunks):
            self._break(worker, chunk, code)
        self._places.append(worker.place)
        if not worker.ready:
            reason = f"it {describe_exit(code)}; its last words: {worker.last_words() or 'none'}"
            self._start_failed(reason, for_good=False)

    def _break(self, worker: Worker, chunk: Chunk, code: int) -> None:
        begun = worker.slot.begun(chunk.record)
        self._give_back(chunk, max(begun, chunk.ended))
        for task in chunk.tasks[chunk.ended :]:
            end = self._doomed.get(task.number) or death(worker, code)
            chunk.last_news = self._end(task, end, worker.slot.begun_at(), None)
        self._chunk_over(worker, chunk)


def death(worker: Worker, code: int) -> Doom:
    """Returns the end of a task whose worker died under it."""
    hint = {
        -signal.SIGKILL: "often that is the system's answer to too little memory",
        -signal.SIGSEGV: "a compiled library has failed",
    }.get(code, "the code or a library ended the process")
    text = (
        f"WorkerDied: the worker (pid {worker.pid}) {describe_exit(code)} while it ran this task: {hint}. "
        "The other tasks go on; `retries=1` runs such a task once more"
    )
    words = worker.last_words() if code == -signal.SIGSEGV else ""
    return Doom(Outcome.DIED, text + (f"\n{words}" if words else ""), ErrorCode.WORKER_DIED)
