"""This module is the pool of threads: one child process that runs tasks side by side.

Its threads share all that a process has. None of them can be ended alone, so walltimes and the cancel of what
runs are refused, and the death of the child is that of all that it ran.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import struct
import subprocess
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from typing import IO, Any

from compute_nb.endpoint.engine import Capabilities
from compute_nb.endpoint.engines.pool import Figures, begun
from compute_nb.endpoint.engines.worker import KNOWN_FUNCTIONS, RUNNER, WorkerPlan, open_log_at
from compute_nb.endpoint.runner.answer import DIED, ERROR, SUCCESS, Answer, Call
from compute_nb.endpoint.runner.keeper import LIVE_LOG_BYTES, LOG, MAX_WORDS
from compute_nb.endpoint.runner.leftovers import LATE
from compute_nb.errors import ComputeError

CAPABILITIES = Capabilities(
    "threads",
    live_text=True,
    walltime=False,
    cancel_running=False,
    shares_process=True,
    because="its tasks are threads of one process, and none can be ended or given nodes alone",
)
EXIT_S = 2.0

_LENGTH = struct.Struct("!I")
_log = logging.getLogger(__name__)


class Child:
    """A process with threads; its thread `threads-reader` takes what it answers.

    Raises:
        OSError: The interpreter can't be started.
    """

    def __init__(self, plan: WorkerPlan, threads: int, live: str) -> None:
        self._plan = plan
        self.log = plan.logs / LOG
        self._log_start = open_log_at(self.log)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [plan.python, os.fspath(RUNNER), str(os.getpid()), str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=plan.folder,
                env=plan.environ,
                start_new_session=True,
            )
        self._leaving = False
        self._known: OrderedDict[str, None] = OrderedDict()
        self._serial = 0
        self._lock = threading.Lock()
        self._open: dict[int, tuple[Future[Answer], float]] = {}
        self._is_up = self.is_spent = self.is_gone = False
        packages = plan.packages and os.fspath(plan.packages)
        setup = {"folder": os.fspath(plan.folder), "packages": packages, "limit": plan.result_chars}
        places = {"file": os.path.realpath(self.log), "live": live}
        self._put({**setup, **places, "memory": plan.memory_bytes, "preload": plan.preload})
        self._reader = threading.Thread(target=self._read_all, name="threads-reader", daemon=True)
        self._reader.start()

    def submit(self, call: Call) -> Future[Answer]:
        """Gives the child a task."""
        future: Future[Answer] = Future()
        future.set_running_or_notify_cancel()
        self._serial += 1
        with self._lock:
            self._open[self._serial] = (future, time.time())
        frame = {
            "task": self._serial,
            "id": call.task_id,
            "function": call.function_id,
            "args": call.args,
            "options": call.options,
        }
        self._put({**frame, **self._news_of(call)})
        if self.is_gone:
            self._fail_all()
        return future

    def _news_of(self, call: Call) -> dict[str, str]:
        """Brings the code of a function, and room for it, unless the child has it."""
        if call.function_id in self._known:
            self._known.move_to_end(call.function_id)
            return {}
        old = self._known.popitem(last=False)[0] if len(self._known) >= KNOWN_FUNCTIONS else ""
        self._known[call.function_id] = None
        return {"code": call.code, "forget": old}

    def leave(self) -> None:
        """Ends the child once all that it was given has ended."""
        self._leaving = True
        if not self._open:
            self._kill_group()

    def close(self) -> None:
        """Kills the child and all of its process group."""
        self._kill_group()
        self._reader.join()

    def _put(self, frame: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        body = json.dumps(frame).encode()
        try:
            self.process.stdin.write(_LENGTH.pack(len(body)) + body)
            self.process.stdin.flush()
        except OSError:  # it is dead: its reader tells
            pass

    # the reader

    def _read_all(self) -> None:
        assert self.process.stdout is not None
        while True:
            frame = _frame(self.process.stdout)
            if frame is None:
                break
            if not frame:
                self._is_up = True
                continue
            if len(frame) == 1:
                self.is_spent = True
                continue
            serial, ok, data, code, started, ended = frame
            with self._lock:
                future, _ = self._open.pop(serial, (None, 0.0))
            if future is None:  # it came twice, or the child does not write it: a task has found the pipe
                break
            future.set_result(Answer(SUCCESS if ok else ERROR, data, code, started, ended, 0, ""))
            if self._leaving and not self._open:
                self._kill_group()
        self._bury()

    def _bury(self) -> None:
        try:
            self._code = self.process.wait(EXIT_S)
        except subprocess.TimeoutExpired:  # it has closed its pipe and goes on
            self._kill_group()
            self._code = self.process.wait()
        self._kill_group()
        _log.info("the process of the threads, pid %d, has ended: %d", self.process.pid, self._code)
        self.is_gone = True
        self._fail_all()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not written is lost
                    pipe.close()

    def bound_log(self) -> None:
        """Begins the log anew if it has grown large; the child writes on."""
        for log in (self.log, self.log.with_name(self.log.name + LATE)):
            with contextlib.suppress(OSError):
                if log.stat().st_size > LIVE_LOG_BYTES:
                    os.truncate(log, 0)

    def _fail_all(self) -> None:
        with self._lock:
            pending, self._open = self._open, {}
        words, now = self._last_words(), time.time()
        for future, since in pending.values():
            if self._is_up:
                future.set_result(
                    Answer(DIED, words, self._code, since, now, self.process.pid, os.uname().nodename)
                )
            else:
                reason = f"{self._plan.python} {words or 'ended before it was up'}"
                future.set_exception(ComputeError(f"no process for the threads could be started: {reason}"))

    def _last_words(self) -> str:
        try:
            with self.log.open("rb") as log:
                if log.seek(0, os.SEEK_END) < self._log_start:  # it is another one
                    self._log_start = 0
                log.seek(max(self._log_start, log.seek(0, os.SEEK_END) - MAX_WORDS))
                return log.read().decode(errors="replace").strip()
        except OSError:
            return ""

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


class ThreadPool:
    """Runs calls in a child process, which is started again after its death.

    Args:
        plan: How the child is started.
        threads: How many tasks it runs at a time.
        live: Where the engine hears what tasks print.
    """

    capabilities = CAPABILITIES
    most = 1

    def __init__(self, plan: WorkerPlan, threads: int, live: str) -> None:
        self._plan, self.window, self._live = plan, threads, live
        self._child: Child | None = None
        self._left: list[Child] = []

    def open(self) -> None:
        """Starts the child, anew if it is gone or has come to its limit of memory."""
        if self._child is not None and self._child.is_spent:
            self._child.leave()
            self._left = [one for one in self._left if not one.is_gone] + [self._child]
            self._child = None
        if self._child is None or self._child.is_gone:
            try:
                self._child = Child(self._plan, self.window, self._live)
            except OSError as error:
                raise ComputeError(
                    f"no worker could be started with {self._plan.python}: {type(error).__name__}: {error}; "
                    "give the endpoint a Python 3.8 or newer that works (its option `python`)"
                ) from error

    def submit(self, chunks: Sequence[Sequence[Call]]) -> Sequence[Future[Answer]]:
        """Gives the child tasks."""
        self.open()
        assert self._child is not None
        return [self._child.submit(call) for chunk in chunks for call in chunk]

    def cancel(self, call: Call) -> bool:
        """Says no: a thread can't be ended."""
        return False

    def running(self, futures: Sequence[Future[Answer]]) -> Sequence[Future[Answer]]:
        """Returns all: what is handed over has a thread."""
        return begun(futures)

    def figures(self) -> Figures:
        """Counts threads as workers; keeps their log within its bounds, since it comes now and then."""
        if self._child is not None:
            self._child.bound_log()
        is_up = self._child is not None and not self._child.is_gone
        return Figures(self.window, self.window if is_up else 0)

    def close(self) -> None:
        """Kills the child."""
        for child in (self._child, *self._left):
            if child is not None:
                child.close()


def _frame(source: IO[bytes]) -> list[Any] | None:
    """Reads a frame; None at the end, and at what is none."""
    head = source.read(4)
    if len(head) < 4:
        return None
    (size,) = _LENGTH.unpack(head)
    body = source.read(size)
    try:
        frame = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(frame, list) or len(frame) not in (0, 1, 6):
        return None
    return None if len(frame) == 6 and (type(frame[0]), type(frame[2])) != (int, str) else frame
