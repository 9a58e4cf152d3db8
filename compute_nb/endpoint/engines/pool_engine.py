"""This module is the pool engine: tasks handed to what runs them (threads, Parsl, Dask, MPI).

At most `window` chunks are handed over at a time, each of one task or of several short ones; the rest waits
here, so that task groups take turns and a cancel of what waits is exact.
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

from compute_nb.endpoint.custody import Custody
from compute_nb.endpoint.engine import (
    Begun,
    Ended,
    EngineBatch,
    EngineStatus,
    EngineTask,
    News,
)
from compute_nb.endpoint.engines.ear import Ear
from compute_nb.endpoint.engines.end import CANCELLED, End, failed
from compute_nb.endpoint.engines.flights import Flight, Flights
from compute_nb.endpoint.engines.hearsay import Hearsay
from compute_nb.endpoint.engines.intake import Intake
from compute_nb.endpoint.engines.newsbox import NewsBox
from compute_nb.endpoint.engines.pool import MOST, NotBegun, OutOfReach, Pool
from compute_nb.endpoint.engines.verdict import Verdict
from compute_nb.endpoint.gate import Gate, Limits
from compute_nb.endpoint.runner.answer import Answer
from compute_nb.endpoint.sizes import Paces
from compute_nb.endpoint.timers import Timer, Timers
from compute_nb.errors import ComputeError
from compute_nb.tasks import RunResult

LOOK_S = 0.25
LISTEN_S = 0.1
IDLE_LOOK_S = 5.0
UNSETTLED = 4
MAX_PLACES = 1 << 16

_log = logging.getLogger(__name__)


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
        self._pool = pool
        self._turns = Intake(Gate(pool.capabilities, limits), self._end)
        self._verdict = Verdict(pool.capabilities, limits.memory_bytes)
        self._timers, self._paces = Timers(), Paces(MOST)
        self._flights = Flights(make_custody)
        self._hearsay = Hearsay(ear, self._flights)
        self._settleable = 0
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
        if self._flights.is_full:
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
            self._hearsay.close()
            self._flights.close()

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
            window = max(self._pool.window, self._figures.workers)
            places = min(UNSETTLED * window * MOST, MAX_PLACES)
            self._flights.open(max(places, UNSETTLED * window))
            self._is_open = True
            self._look_again(IDLE_LOOK_S)

    # tasks come

    def _assign(self) -> None:
        """Hands over what waits, as far as there is room."""
        for returned in self._flights.returned():
            self._turns.put_back(*returned)
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
        self._flights.settle(self._settleable)
        while chunks := self._next_chunks():
            self._hand_over(chunks)

    def _next_chunks(self) -> list[list[Flight]]:
        chunks: list[list[Flight]] = []
        while self._has_room() and not self._flights.is_full:
            taken = self._turns.take(self._fair_size)
            if taken is not None:
                chunks.append(self._flights.begin(*taken))
        return chunks

    def _has_room(self) -> bool:
        """True if the task whose turn it is may be handed over; a long one only once a worker is free for it.

        What was handed over comes before all that waits here, whosever it is.
        """
        head = self._turns.head()
        if head is None:
            return False
        workers = max(self._figures.workers, self._figures.alive, 1)
        return self._flights.chunks < min(self._pool.window, workers * (1 + self._paces.ahead(head)))

    def _fair_size(self, batch: EngineBatch) -> int:
        """At most what takes a moment, and so few that all workers end together."""
        share = -(-len(self._turns) // (2 * max(self._figures.workers, 1)))
        return min(self._paces.size(batch), self._pool.most, share, self._flights.room)

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

    # tasks end

    def _ended(self, flight: Flight) -> None:
        """A future was set."""
        assert flight.future is not None
        self._hearsay.hear()
        cancelled = flight.future.cancelled()
        error = None if cancelled else flight.future.exception()
        if isinstance(error, NotBegun) and flight.doom is None:
            self._hearsay.tell(flight, self._news)
            self._flights.take_back(flight)
        elif isinstance(error, OutOfReach):
            self._let_run(flight)
            self._land(flight, CANCELLED)
        elif cancelled or error is not None:
            self._land(flight, self._verdict.on_error(flight, error))
        else:
            answer = flight.future.result()
            self._paces.learn(flight.chunk.batch.function_id, answer.ended - answer.started)
            self._land(flight, self._verdict.on_answer(flight, answer), answer.started, answer.ended)

    def _land(
        self, flight: Flight, end: End, started_at: float | None = None, ended_at: float | None = None
    ) -> None:
        """A task has left the pool; it may have ended for its owner before."""
        self._hearsay.tell(flight, self._news)
        self._flights.land(flight)
        if not flight.over:
            flight.over = True
            flight.last_news = self._end(flight.task, end, started_at, ended_at)

    def _end(
        self, task: EngineTask, end: End, started_at: float | None = None, ended_at: float | None = None
    ) -> int:
        result = RunResult(task.run, *end, started_at, ended_at or time.time())
        return self._news.ended(Ended(task.number, result))

    # tasks are ended, and looked at

    def _cancel(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            flight = self._flights.find(number)
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
        self._hearsay.hear()
        self._hearsay.tell_all(self._news)
        self._listens = bool(self._flights)
        if self._listens:
            self._timers.later(LISTEN_S, self._listen)

    def _look(self) -> None:
        """Tells which tasks run, and how large the pool is."""
        self._figures = self._pool.figures()
        flights = {
            flight.future: flight
            for flight in self._flights
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
