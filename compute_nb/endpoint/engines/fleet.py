"""This module is the fleet of the process engine: its workers as processes, from their start to their end."""

from __future__ import annotations

import logging
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from compute_nb.endpoint.engines.death import describe_exit
from compute_nb.endpoint.engines.worker import LIVE_LOG_BYTES, Worker, WorkerPlan
from compute_nb.endpoint.slots import Slot
from compute_nb.endpoint.timers import Timers

EXIT_S = 2.0
EXIT_LOOK_S = 0.02
RESTART_S = 5.0
SLOW_S = 30.0
LOG_LOOK_S = 60.0
GROWTH_LOOK_S, FAST_LOOK_S = 1.0, 0.1
START_LIMIT = 3

_log = logging.getLogger(__name__)


class FleetOwner(Protocol):
    """Who hears of the workers; all hooks are called by the fleet, on the engine's thread."""

    def on_frame(self, worker: Worker, frame: list[Any]) -> None:
        """A worker has answered."""

    def on_exit(self, worker: Worker, code: int) -> None:
        """A worker has ended; all that it wrote has been heard."""

    def on_no_worker(self, reason: str) -> None:
        """Workers can't be started, and none is up."""


class Fleet:
    """Starts workers, reads them, ends idle ones and buries dead ones; belongs to the engine's thread.

    Args:
        plan: How workers are started.
        slots: One for each worker that may run.
        selector: Of the engine's loop, which calls what is registered as data.
        timers: Of the same loop.
        idle_s: How long a worker may have nothing to do.
        min_workers: How many are kept however long that is.
        owner: Hears of them.
    """

    def __init__(
        self,
        plan: WorkerPlan,
        slots: Sequence[Slot],
        selector: selectors.BaseSelector,
        timers: Timers,
        *,
        idle_s: float,
        min_workers: int,
        owner: FleetOwner,
    ) -> None:
        self.workers: list[Worker] = []
        self._min, self._keeps = min_workers, True
        self._not_preloaded: set[str] = set()
        self._plan, self._slots, self._idle_s, self._owner = plan, slots, idle_s, owner
        self._selector, self._timers = selector, timers
        self._places = deque(range(len(slots)))
        self._failed_starts = 0
        self._not_before = 0.0

    def __contains__(self, worker: Worker) -> bool:
        return worker in self.workers

    def idle(self) -> Worker | None:
        """Returns a worker that has nothing to do."""
        for worker in self.workers:
            if worker.ready and not worker.closing and not worker.chunks and worker.free:
                return worker
        return None

    @property
    def starting(self) -> int:
        """How many workers are not up yet."""
        return sum(not worker.ready for worker in self.workers)

    def may_start(self) -> bool:
        """True if there is room for another worker and no start has failed just now."""
        return bool(self._places) and time.monotonic() >= self._not_before

    def keep(self) -> None:
        """Starts workers up to those that are kept, unless the last start has failed."""
        while len(self.workers) < self._min and self._keeps and self.may_start():
            self.start()

    def start(self) -> None:
        """Starts a worker."""
        place = self._places.popleft()
        try:
            worker = Worker(self._plan, self._slots[place], place)
        except OSError as error:
            self._places.appendleft(place)
            self._start_failed(f"{type(error).__name__}: {error}", for_good=True)
            return
        self.workers.append(worker)
        self._watch(worker, worker.source, selectors.EVENT_READ, self._read)
        try:
            self._watch(worker, worker.watch_exit(), selectors.EVENT_READ, self._exited)
        except (AttributeError, OSError):  # no pidfd here
            self._timers.later(EXIT_S, lambda: self._await_exit(worker))
        self._timers.later(SLOW_S, lambda: self._tell_slow(worker))
        _log.info("worker %d started, pid %d", place, worker.pid)

    def retire(self, worker: Worker) -> None:
        """Ends a worker that has nothing to do."""
        if worker in self.workers and not worker.closing:
            worker.close()
            self._timers.later(EXIT_S, lambda: self._kill_silent(worker))

    def flush_later(self, worker: Worker) -> None:
        """Writes what a full pipe has not taken when it takes it."""
        if worker.sink not in worker.watched:
            self._watch(worker, worker.sink, selectors.EVENT_WRITE, self._drain)

    def kill_all(self) -> None:
        """Kills and buries all workers."""
        for worker in self.workers:
            worker.signal(signal.SIGKILL)
        for worker in self.workers:
            worker.bury()
            worker.tail.close()
        self.workers.clear()

    def _watch(self, worker: Worker, fd: int, events: int, call: Callable[[Worker], None]) -> None:
        worker.watched.add(fd)
        self._selector.register(fd, events, lambda: call(worker))

    def _unwatch(self, worker: Worker, fd: int) -> None:
        if fd in worker.watched:
            worker.watched.remove(fd)
            self._selector.unregister(fd)

    def _drain(self, worker: Worker) -> None:
        if not worker.flush():
            self._unwatch(worker, worker.sink)

    # starts that fail

    def _start_failed(self, reason: str, for_good: bool) -> None:
        """After a few failures in a row, says so, unless another worker is up."""
        self._keeps = False
        self._failed_starts += 1
        if any(worker.ready for worker in self.workers):
            self._not_before = time.monotonic() + RESTART_S
            self._timers.later(RESTART_S, lambda: None)
        elif for_good or self._failed_starts >= START_LIMIT:
            self._failed_starts = 0
            self._owner.on_no_worker(f"{self._plan.python}: {reason}")

    def _tell_slow(self, worker: Worker) -> None:
        if worker in self.workers and not worker.ready:
            preload = f"; before, it imports {', '.join(self._plan.preload)}" if self._plan.preload else ""
            _log.warning(
                "worker %d, pid %d, is not up after %.0f s%s", worker.place, worker.pid, SLOW_S, preload
            )

    # workers live

    def _read(self, worker: Worker) -> None:
        at_end = self._hear(worker)
        if at_end:
            self._unwatch(worker, worker.source)
            self._await_exit(worker)
            self._timers.later(EXIT_S, lambda: self._kill_silent(worker))

    def _hear(self, worker: Worker) -> bool:
        """Takes what a worker has written; True if no more can come. Nonsense costs it its life."""
        try:
            frames, at_end = worker.receive()
            for frame in frames:
                self._on_frame(worker, frame)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            _log.warning("worker %d, pid %d, writes nonsense (%s): killed", worker.place, worker.pid, error)
            worker.signal(signal.SIGKILL)
            worker.gag()
            return True
        return at_end

    def _on_frame(self, worker: Worker, frame: list[Any]) -> None:
        if worker.ready:
            self._owner.on_frame(worker, frame)
            return
        worker.ready = self._keeps = True
        worker.idle_since = time.monotonic()
        self._failed_starts = 0
        self._tell_not_preloaded(frame)
        self._timers.later(self._idle_s, lambda: self._end_idle(worker))
        self._timers.later(LOG_LOOK_S, lambda: self._bound_log(worker))
        self._timers.later(GROWTH_LOOK_S, lambda: self._bound_growth(worker))

    def _tell_not_preloaded(self, texts: list[Any]) -> None:
        """Says once of each module that it can't be imported: tasks run without it."""
        for text in map(str, texts):
            if text not in self._not_preloaded and len(self._not_preloaded) <= len(self._plan.preload):
                self._not_preloaded.add(text)
                _log.warning("not preloaded with %s: %s; tasks run all the same", self._plan.python, text)

    def _bound_log(self, worker: Worker) -> None:
        if worker in self.workers:
            worker.bound_log()
            self._timers.later(LOG_LOOK_S, lambda: self._bound_log(worker))

    def _bound_growth(self, worker: Worker) -> None:
        """Bounds what prints while no task is listened to, such as what one has left running."""
        if worker in self.workers:
            worker.bound_log(LIVE_LOG_BYTES)
            pause_s = FAST_LOOK_S if worker.late_grows() else GROWTH_LOOK_S
            self._timers.later(pause_s, lambda: self._bound_growth(worker))

    def _end_idle(self, worker: Worker) -> None:
        if worker not in self.workers or worker.closing:
            return
        idle_s = 0.0 if worker.chunks else time.monotonic() - worker.idle_since
        if idle_s < self._idle_s:
            self._timers.later(self._idle_s - idle_s, lambda: self._end_idle(worker))
        elif sum(not one.closing for one in self.workers) > self._min:
            self.retire(worker)
        else:
            self._timers.later(self._idle_s, lambda: self._end_idle(worker))

    # workers end

    def _await_exit(self, worker: Worker) -> None:
        """Looks for the end of a process where the kernel does not tell it by a descriptor."""
        if worker not in self.workers or worker.pidfd is not None:
            return
        if worker.process.poll() is None:
            pause_s = EXIT_S if worker.source in worker.watched else EXIT_LOOK_S
            self._timers.later(pause_s, lambda: self._await_exit(worker))
        else:
            self._exited(worker)

    def _kill_silent(self, worker: Worker) -> None:
        if worker in self.workers:
            worker.signal(signal.SIGKILL)

    def _exited(self, worker: Worker) -> None:
        """The process is gone: hear what it has left, then bury it."""
        if worker.source in worker.watched:
            self._hear(worker)
        for fd in tuple(worker.watched):
            self._unwatch(worker, fd)
        self.workers.remove(worker)
        code = worker.bury()
        _log.info("worker %d, pid %d, %s", worker.place, worker.pid, describe_exit(code))
        self._places.append(worker.place)
        self._owner.on_exit(worker, code)
        worker.tail.close()
        if not worker.ready:
            words = worker.last_words() or "none"
            self._start_failed(f"it {describe_exit(code)}; its last words: {words}", for_good=False)
