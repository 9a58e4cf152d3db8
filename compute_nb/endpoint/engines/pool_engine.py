"""This module is the pool engine: tasks handed to what runs them (threads, Parsl, Dask, MPI).

At most `window` chunks are handed over at a time, each of one task or of several short ones; the rest waits
here, so that task groups take turns and a cancel of what waits is exact. What is handed over stands in the
custody file, which says after a kill what had begun.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from compute_nb.endpoint.custody import Custody
from compute_nb.endpoint.engine import (
    Begun,
    Ended,
    EngineBatch,
    EngineStatus,
    EngineTask,
    News,
)
from compute_nb.endpoint.engines.death import death, gone
from compute_nb.endpoint.engines.ear import Ear
from compute_nb.endpoint.engines.force import CANCELLED, End
from compute_nb.endpoint.engines.intake import Intake
from compute_nb.endpoint.engines.newsbox import NewsBox
from compute_nb.endpoint.engines.pool import MOST, NotBegun, OutOfReach, Pool, WorkerLost
from compute_nb.endpoint.gate import Gate, Limits
from compute_nb.endpoint.runner import keeper
from compute_nb.endpoint.runner.keeper import Answer, Call
from compute_nb.endpoint.runner.voice import joined
from compute_nb.endpoint.sizes import Paces
from compute_nb.endpoint.timers import Timer, Timers
from compute_nb.errors import ComputeError
from compute_nb.tasks import ErrorCode, Outcome, Printed, RunResult

LOOK_S = 0.25
LISTEN_S = 0.1
IDLE_LOOK_S = 5.0
MAX_LOSSES = 3
UNSETTLED = 4
MAX_PLACES = 1 << 16

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Chunk:
    """Tasks of a function that were handed over together; `left` of them are still there."""

    batch: EngineBatch
    left: int
    back: list[EngineTask]


@dataclass(slots=True, eq=False)
class Flight:
    """A task that was handed over."""

    chunk: Chunk
    task: EngineTask
    call: Call
    place: int
    future: Future[Answer] | None = None
    doom: End | None = None
    marked: bool = False
    over: bool = False
    last_news: int = 0


class PoolEngine:
    """Hands tasks to a pool; its thread `engine` owns the pool. The contract's methods run on any thread.

    Args:
        pool: Not open.
        make_custody: Makes the file for so many tasks.
        limits: What the endpoint allows.
        ear: Hears what tasks print; closed here.
    """

    def __init__(self, pool: Pool, make_custody: Callable[[int], Custody], limits: Limits, ear: Ear) -> None:
        self.capabilities = pool.capabilities
        self._pool, self._make_custody = pool, make_custody
        self._turns = Intake(Gate(pool.capabilities, limits), self._end)
        self._memory_bytes = limits.memory_bytes
        self._timers, self._paces = Timers(), Paces(MOST)
        self._flights: dict[int, Flight] = {}
        self._losses: dict[int, int] = {}
        self._ear, self._talking = ear, dict[str, Flight]()
        self._unsaid: dict[int, tuple[int, str]] = {}
        self._chunks = 0
        self._back: list[Chunk] = []
        self._landed: list[Flight] = []
        self._settled = self._settleable = 0
        self._custody: Custody | None = None
        self._figures = pool.figures()
        self._is_open = self._ending = self._stopping = self._looks = self._listens = False
        self._next_look: Timer | None = None
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    # called by the agent

    def start(self, on_news: Callable[[], None]) -> None:
        """Starts the thread, which opens the pool, so that the first task finds it open."""
        self._news = NewsBox(on_news)
        self._thread.start()
        self._commands.put(self._try_early)

    def submit(self, batches: Sequence[EngineBatch]) -> None:
        """Lines up tasks."""
        self._commands.put(lambda: self._turns.accept(batches))

    def cancel(self, numbers: Sequence[int]) -> None:
        """Ends tasks: waiting ones at once, others as far as the pool can."""
        self._commands.put(lambda: self._cancel(numbers))

    def take(self) -> News:
        """Returns the news."""
        return self._news.take()

    def settle(self, serial: int) -> None:
        """Lets go of tasks whose ends are journalled."""
        self._settleable = serial
        if self._custody is not None and self._custody.is_full:
            self._commands.put(lambda: None)

    def status(self) -> EngineStatus:
        """Returns how busy the engine is."""
        figures, waiting, flights = self._figures, len(self._turns), len(self._flights)
        busy = min(flights, figures.alive) if figures.busy is None else figures.busy * bool(flights)
        below = max(0, flights - busy) if figures.queued is None else figures.queued
        told = figures.resources, figures.elsewhere
        return EngineStatus(figures.workers, figures.alive, waiting, flights, busy, waiting + below, *told)

    def stop(self, patience_s: float = 0.0) -> None:
        """Waits for what was handed over, then closes the pool and waits for the thread."""
        self._commands.put(lambda: self._end_all(patience_s))
        self._thread.join()

    # the thread

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._wait()
                self._timers.run_due()
                self._assign()
                self._news.ring()
        except Exception:  # noqa: BLE001 - the top of the thread
            _log.critical("the engine failed; the agent ends and starts anew", exc_info=True)
            os.kill(os.getpid(), signal.SIGABRT)
        finally:
            self._pool.close()
            self._ear.close()
            if self._custody is not None:
                self._custody.close()

    def _wait(self) -> None:
        """Runs what others have asked for, once there is something."""
        try:
            command = self._commands.get(timeout=self._timers.timeout_s())
            while True:
                command()
                command = self._commands.get_nowait()
        except queue.Empty:
            pass

    def _end_all(self, patience_s: float) -> None:
        self._ending = True
        self._timers.later(patience_s, self._halt)

    def _halt(self) -> None:
        self._stopping = True

    def _try_early(self) -> None:
        try:
            self._open()
        except ComputeError as error:
            _log.warning("%s", error)

    def _open(self) -> None:
        if not self._is_open:
            self._pool.open()
            self._figures = self._pool.figures()
            if self._custody is None:
                window = max(self._pool.window, self._figures.workers)
                places = min(UNSETTLED * window * MOST, MAX_PLACES)
                self._custody = self._make_custody(max(places, UNSETTLED * window))
            self._is_open = True
            self._look_again(IDLE_LOOK_S)

    # tasks come

    def _assign(self) -> None:
        """Hands over what waits, as far as there is room."""
        self._line_up_again()
        if self._ending:
            self._stopping = self._stopping or not self._flights
            return
        if not len(self._turns):
            return
        try:
            self._open()
        except ComputeError as error:
            _log.warning("%s", error)
            self._turns.end_all(failed(f"{error}. The task has not begun"))
            return
        self._settle()
        while chunks := self._next_chunks():
            self._hand_over(chunks)

    def _next_chunks(self) -> list[list[Flight]]:
        assert self._custody is not None
        chunks: list[list[Flight]] = []
        while self._has_room() and not self._custody.is_full:
            taken = self._turns.take(self._fair_size)
            if taken is not None:
                chunks.append(self._take_in(*taken))
        return chunks

    def _has_room(self) -> bool:
        """True if the task whose turn it is may be handed over; a long one only once a worker is free for it.

        What was handed over comes before all that waits here, whosever it is.
        """
        head = self._turns.head()
        if head is None:
            return False
        workers = max(self._figures.workers, self._figures.alive, 1)
        return self._chunks < min(self._pool.window, workers * (1 + self._paces.ahead(head)))

    def _line_up_again(self) -> None:
        """Puts what has come back where it was in the line."""
        for chunk in self._back:
            self._turns.put_back(chunk.batch, chunk.back)
            chunk.back = []
        self._back = []

    def _fair_size(self, batch: EngineBatch) -> int:
        """At most what takes a moment, and so few that all workers end together."""
        assert self._custody is not None
        share = -(-len(self._turns) // (2 * max(self._figures.workers, 1)))
        return min(self._paces.size(batch), self._pool.most, share, self._custody.room)

    def _take_in(self, batch: EngineBatch, tasks: Sequence[EngineTask]) -> list[Flight]:
        assert self._custody is not None
        options = {name: value for name, value in batch.options.items() if name != "user_endpoint_config"}
        chunk, function_id = Chunk(batch, len(tasks), []), batch.function_id.hex
        self._chunks += 1
        flights = []
        for task in tasks:
            place = self._custody.add(task.number)
            call = Call(
                str(task.run.task_id), function_id, batch.code, task.args, options, place, task.number
            )
            flight = Flight(chunk, task, call, place)
            self._flights[task.number] = self._talking[call.task_id] = flight
            flights.append(flight)
        return flights

    def _hand_over(self, chunks: Sequence[Sequence[Flight]]) -> None:
        flights = [flight for chunk in chunks for flight in chunk]
        try:
            futures = self._pool.submit([[flight.call for flight in chunk] for chunk in chunks])
        except ComputeError as error:
            for flight in flights:
                self._land(flight, failed(str(error)))
            return
        for flight, future in zip(flights, futures, strict=True):
            flight.future = future
            future.add_done_callback(self._teller(flight))
        if not self._looks:
            self._looks = True
            self._look_again(LOOK_S)
        if not self._listens:
            self._listens = True
            self._timers.later(LISTEN_S, self._listen)

    def _teller(self, flight: Flight) -> Callable[[Future[Answer]], None]:
        return lambda future: self._commands.put(lambda: self._ended(flight))

    def _settle(self) -> None:
        """Takes what is journalled out of the custody file."""
        assert self._custody is not None
        if self._settled == self._settleable:
            return
        self._settled = self._settleable
        kept = []
        for flight in self._landed:
            if flight.last_news <= self._settled:
                self._custody.remove(flight.place)
            else:
                kept.append(flight)
        self._landed = kept

    # tasks end

    def _ended(self, flight: Flight) -> None:
        """A future was set."""
        assert flight.future is not None
        self._hear()
        if flight.future.cancelled():
            end = flight.doom or gone("the task was given up by what ran it")
            self._land(flight, end)
            return
        error = flight.future.exception()
        if error is None:
            answer = flight.future.result()
            self._paces.learn(flight.chunk.batch.function_id, answer.ended - answer.started)
            self._land(flight, self._end_of(answer, flight), answer.started, answer.ended)
        elif isinstance(error, NotBegun) and flight.doom is None:
            self._take_back(flight)
        elif isinstance(error, OutOfReach):
            self._let_run(flight)
            self._land(flight, CANCELLED)
        elif isinstance(error, ComputeError):
            self._land(flight, flight.doom or failed(str(error)))
        elif isinstance(error, WorkerLost) and self._may_begin_elsewhere(flight):
            self._take_back(flight)
        elif isinstance(error, WorkerLost):
            self._land(flight, flight.doom or gone(str(error)))
        else:
            name = self.capabilities.name
            text = f"the engine {name} could not run this task: {type(error).__name__}: {error}"
            self._land(flight, flight.doom or failed(text))

    def _may_begin_elsewhere(self, flight: Flight) -> bool:
        """True if a task whose worker was lost had not begun, and this was not so time and again."""
        assert self._custody is not None
        if flight.doom is not None or flight.over or not self._custody.withdraw(flight.place):
            return False
        self._losses[flight.task.number] = losses = self._losses.get(flight.task.number, 0) + 1
        return losses < MAX_LOSSES

    def _end_of(self, answer: Answer, flight: Flight) -> End:
        match answer.kind:
            case keeper.SUCCESS:
                return End(Outcome.SUCCESS, answer.data, None)
            case keeper.DIED:
                worker, is_shared = f"pid {answer.pid} on {answer.host}", self.capabilities.shares_process
                limit = self._memory_bytes
                return death(worker, answer.code, answer.data, is_shared=is_shared, memory_bytes=limit)
            case keeper.CANCELLED:
                return CANCELLED
            case keeper.WALLTIME:
                return out_of_time(flight.call.options.get("walltime_s") or 0.0)
            case keeper.NO_WORKER:
                return failed(
                    f"no worker could be started on {answer.host} with {answer.data}. The task has not "
                    "begun; give the endpoint a Python 3.8 or newer that works there (its option `python`)"
                )
        return flight.doom or End(Outcome.ERROR, answer.data, answer.code or ErrorCode.REMOTE)

    def _land(
        self, flight: Flight, end: End, started_at: float | None = None, ended_at: float | None = None
    ) -> None:
        """A task has left the pool; it may have ended for its owner before."""
        self._leave(flight)
        self._losses.pop(flight.task.number, None)
        if not flight.over:
            flight.over = True
            flight.last_news = self._end(flight.task, end, started_at, ended_at)
        self._landed.append(flight)

    def _take_back(self, flight: Flight) -> None:
        assert self._custody is not None
        self._leave(flight)
        self._custody.remove(flight.place)
        if not flight.chunk.back:
            self._back.append(flight.chunk)
        flight.chunk.back.append(flight.task)

    def _leave(self, flight: Flight) -> None:
        del self._flights[flight.task.number], self._talking[flight.call.task_id]
        self._tell(flight)
        flight.chunk.left -= 1
        if not flight.chunk.left:
            self._chunks -= 1

    def _end(
        self, task: EngineTask, end: End, started_at: float | None = None, ended_at: float | None = None
    ) -> int:
        result = RunResult(task.run, *end, started_at, ended_at or time.time())
        return self._news.ended(Ended(task.number, result))

    # tasks are ended, and looked at

    def _cancel(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            flight = self._flights.get(number)
            if not self._turns.cancel(number) and flight is not None and not flight.over:
                flight.doom = CANCELLED
                if not self._pool.cancel(flight.call):
                    self._let_run(flight)

    def _let_run(self, flight: Flight) -> None:
        """Ends a task for its owner that can't be ended where it is."""
        name, because = self.capabilities.name, self.capabilities.because
        text = (
            f"the task was cancelled, but this endpoint's engine, {name}, can't end a task that was begun: "
            f"{because}. It may run on; its value will be set aside"
        )
        _log.warning("task %s: %s", flight.call.task_id, text)
        flight.over = True
        flight.last_news = self._end(flight.task, CANCELLED._replace(data=text))

    def _listen(self) -> None:
        """Tells what running tasks print, once what was told before has been taken."""
        self._hear()
        if self._news.has_room:
            for number in tuple(self._unsaid):
                self._tell(self._flights[number])
        self._listens = bool(self._flights)
        if self._listens:
            self._timers.later(LISTEN_S, self._listen)

    def _hear(self) -> None:
        for task_id, start, text in self._ear.take():
            flight = self._talking.get(task_id)
            if flight is not None and not flight.over:
                number = flight.task.number
                self._unsaid[number] = joined(self._unsaid.get(number), (start, text))

    def _tell(self, flight: Flight) -> None:
        piece = self._unsaid.pop(flight.task.number, None)
        if piece is not None and not flight.over:
            self._news.printed(Printed(flight.task.run, flight.chunk.batch.task_group_id, *piece))

    def _look(self) -> None:
        """Tells which tasks run, and how large the pool is."""
        self._figures = self._pool.figures()
        flights = {
            flight.future: flight
            for flight in self._flights.values()
            if flight.future is not None and not flight.future.done()
        }
        for future in self._pool.running(tuple(flights)):
            flight = flights[future]
            if not flight.marked and not flight.over:
                flight.marked = True
                self._news.begun(Begun(flight.task.number, flight.task.run, time.time()))
        self._looks = bool(self._flights)
        self._look_again(LOOK_S if self._looks else IDLE_LOOK_S)

    def _look_again(self, seconds: float) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
        self._next_look = self._timers.later(seconds, self._look)


def failed(text: str, code: str = ErrorCode.REMOTE) -> End:
    """Returns the end of a task that could not be run as it asked."""
    return End(Outcome.ERROR, text, code)


def out_of_time(walltime_s: float) -> End:
    """Returns the end of a task that was ended after its walltime."""
    text = (
        f"WalltimeExceeded: the task had run for its walltime of {walltime_s:g} s and was ended; "
        "give it a longer walltime or less to do"
    )
    return failed(text, ErrorCode.WALLTIME)
