"""This module is one worker as the process engine sees it: a process, two pipes, the chunks it has."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import subprocess
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compute_nb.endpoint import machine
from compute_nb.endpoint.engine import EngineBatch, EngineTask
from compute_nb.endpoint.gate import MAX_RESULT_CHARS
from compute_nb.endpoint.runner.leftovers import LATE, is_written
from compute_nb.endpoint.runner.tail import Tail
from compute_nb.endpoint.slots import MAX_CHUNK, Slot
from compute_nb.endpoint.timers import Timer

RUNNER = Path(__file__).parent.parent / "runner" / "__main__.py"
MAX_FRAME_BYTES = 8 * MAX_RESULT_CHARS
MAX_LOG_BYTES = 10 * 1024 * 1024
LIVE_LOG_BYTES = 64 * 1024 * 1024
KEPT_LOG_BYTES = 1024 * 1024
KNOWN_FUNCTIONS = 32

_LENGTH = struct.Struct("!I")
_READ_BYTES = 1 << 16
_ROOM = memoryview(bytearray(_READ_BYTES))  # one engine, one thread; a fresh buffer costs 50 us a read
_FUNCTION = '"function":'
_quoted = json.encoder.encode_basestring_ascii
_read_json = json.JSONDecoder().raw_decode


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """How workers are started.

    Attributes:
        python: The interpreter that runs them.
        folder: Where tasks without a folder of their own run.
        logs: Where each worker's output goes.
        packages: A folder that holds dill, for an interpreter that lacks it; None to do without.
        environ: Their environment.
        result_chars: How large a packed result may be.
        memory_bytes: How much each of their processes may take; None for no limit.
        preload: Modules that a worker imports before it is up.
        max_tasks: A worker that has run so many is replaced; 0 for no limit.
    """

    python: str
    folder: Path
    logs: Path
    packages: Path | None
    environ: Mapping[str, str]
    result_chars: int = MAX_RESULT_CHARS
    memory_bytes: int | None = None
    preload: tuple[str, ...] = ()
    max_tasks: int = 0


@dataclass(slots=True, eq=False)
class Chunk:
    """Tasks that a worker has got in one frame; results come in their order.

    Attributes:
        tasks: Those not taken back.
        size: How many were sent.
        ended: How many results have come.
        marked: True if its running task has been named in the news.
        recalled: True if the worker was told to begin no further task of it.
        last_news: Serial of the news with its latest end.
        began: When its first task began, by the worker's clock.
        alarm: Ends its task when the walltime is over.
    """

    serial: int
    record: int
    batch: EngineBatch
    tasks: list[EngineTask]
    ended: int = 0
    marked: bool = False
    recalled: bool = False
    over: bool = False
    last_news: int = 0
    began: float = 0.0
    size: int = 0
    alarm: Timer | None = None

    def __post_init__(self) -> None:
        self.size = len(self.tasks)


class Worker:
    """A worker process; all methods are called on the engine's thread.

    `watched` are the descriptors that the engine's selector has.

    Raises:
        OSError: The interpreter can't be started.
    """

    def __init__(self, plan: WorkerPlan, slot: Slot, place: int) -> None:
        self.slot, self.place = slot, place
        self.ready = self.closing = self.is_gagged = False
        self.chunks: deque[Chunk] = deque()
        self.watched: set[int] = set()
        self.idle_since = time.monotonic()
        self.done, self._max_tasks = 0, plan.max_tasks
        self._known: OrderedDict[int, str] = OrderedDict()
        self._out, self._in = bytearray(), bytearray()
        self.log = plan.logs / f"worker-{place}.log"
        self._log_start = open_log_at(self.log)
        self._late_bytes = 0
        self.log.touch()
        self.tail = Tail(os.fspath(self.log))
        try:
            self.process = self._popen(plan)
        except OSError:
            self.tail.close()
            raise
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.sink, self.source = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self.sink, False)
        os.set_blocking(self.source, False)
        self.pid = self.process.pid
        self.pidfd: int | None = None
        slot.occupy(self.pid, machine.start_mark(self.pid))
        self._put(json.dumps(self._setup(plan)))

    def _popen(self, plan: WorkerPlan) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [plan.python, os.fspath(RUNNER), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=plan.folder,
                env=plan.environ,
                start_new_session=True,
                pass_fds=(self.tail.file,),
                bufsize=0,
            )

    def _setup(self, plan: WorkerPlan) -> dict[str, Any]:
        packages = plan.packages and os.fspath(plan.packages)
        return {
            **self.slot.places(),
            **self.tail.setup(),
            "file": os.path.realpath(self.log),
            "folder": os.fspath(plan.folder),
            "packages": packages,
            "limit": plan.result_chars,
            "memory": plan.memory_bytes,
            "preload": plan.preload,
        }

    def watch_exit(self) -> int:
        """Opens and returns a descriptor that becomes readable when the process ends.

        Raises:
            AttributeError: This system has none; the end of the pipe tells then.
            OSError: Too many open files, or a kernel that forbids it.
        """
        self.pidfd = os.pidfd_open(self.pid)
        return self.pidfd

    def send(self, chunk: Chunk) -> None:
        """Fills the chunk's record and sends it."""
        self.slot.fill(chunk.record, chunk.serial, [task.number for task in chunk.tasks])
        self.chunks.append(chunk)
        tasks = ",".join([f'["{task.run.task_id}",{_quoted(task.args)}]' for task in chunk.tasks])
        options = chunk.batch.options
        self._put(
            f'{{"chunk":{chunk.serial},"record":{chunk.record},{self._function(chunk.batch)},'
            f'"options":{json.dumps(options) if options else "{}"},"tasks":[{tasks}]}}'
        )

    def _function(self, batch: EngineBatch) -> str:
        """Names the function; brings its code, and room for it, unless the worker has it."""
        key, known = batch.function_id.int, self._known
        if key in known:
            known.move_to_end(key)
            return known[key]
        forget = [known.popitem(last=False)[1]] if len(known) >= KNOWN_FUNCTIONS else []
        known[key] = text = f'"function":"{batch.function_id.hex}"'
        forgotten = "".join(f',"forget":{old[len(_FUNCTION) :]}' for old in forget)
        return f'{text},"code":{_quoted(batch.code)}{forgotten}'

    def _put(self, frame: str) -> None:
        body = frame.encode()
        self._out += _LENGTH.pack(len(body)) + body
        self.flush()

    def flush(self) -> bool:
        """Writes what the pipe takes; returns True if something is left."""
        try:
            while self._out:
                del self._out[: os.write(self.sink, self._out)]
        except BlockingIOError:
            pass
        except OSError:  # it is dead; what it had is sorted out when its end is noticed
            self._out.clear()
        return bool(self._out)

    @property
    def blocked(self) -> bool:
        """True if part of a frame waits for room in the pipe."""
        return bool(self._out)

    @property
    def left(self) -> int:
        """How many more tasks it may get."""
        if not self._max_tasks:
            return MAX_CHUNK
        return self._max_tasks - self.done - sum([len(chunk.tasks) for chunk in self.chunks])

    @property
    def free(self) -> list[int]:
        """The records that no chunk needs, neither in flight nor on its way to the journal."""
        return self.slot.free

    def receive(self) -> tuple[list[list[Any]], bool]:
        """Returns the frames that have come, and True if no more can come."""
        at_end = False
        try:
            while True:
                count = os.readv(self.source, (_ROOM,))
                self._in += _ROOM[:count]
                at_end = not count
                if count < _READ_BYTES:
                    break
        except BlockingIOError:
            pass
        except OSError:
            at_end = True
        return [] if self.is_gagged else self._frames(), at_end

    def gag(self) -> None:
        """Forgets what has come and hears nothing more."""
        self.is_gagged = True
        self._in.clear()

    def _frames(self) -> list[list[Any]]:
        frames, start, data = [], 0, self._in
        while len(data) - start >= 4:
            (size,) = _LENGTH.unpack_from(data, start)
            if size > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {size} bytes")
            if len(data) - start - 4 < size:
                break
            frames.append(_read_json(data[start + 4 : start + 4 + size].decode())[0])
            start += 4 + size
        del data[:start]
        return frames

    def interrupt(self, chunk: Chunk, index: int) -> None:
        """Asks the task at `index`, and what it has started, to end."""
        self.slot.cancel(chunk.serial, index)
        self.signal(signal.SIGINT)

    def signal(self, number: int) -> None:
        """Sends a signal to the worker and its process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def close(self) -> None:
        """Lets the worker end when it has nothing left to do; no chunk may be sent any more."""
        self.closing = True
        self.watched.discard(self.sink)
        if self.process.stdin is not None:
            self.process.stdin.close()

    def bury(self) -> int:
        """Waits for the process, which must have ended or been killed; kills what it left in its group.

        Returns:
            Its exit code, negative for a signal.
        """
        code = self.process.wait()
        self.signal(signal.SIGKILL)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        if self.pidfd is not None:
            os.close(self.pidfd)
        return code

    def bound_log(self, max_bytes: int = MAX_LOG_BYTES) -> None:
        """Begins the log anew if it has grown large, with its last part beside it; the worker writes on."""
        late = self.log.with_name(self.log.name + LATE)
        with contextlib.suppress(OSError):
            if late.stat().st_size > max_bytes:
                os.truncate(late, 0)
        with contextlib.suppress(OSError):
            size = self.log.stat().st_size
            if size <= max_bytes:
                return
            with self.log.open("rb") as log:
                log.seek(-min(size, KEPT_LOG_BYTES), os.SEEK_END)
                self.log.with_suffix(".log.1").write_bytes(log.read(KEPT_LOG_BYTES))
            os.truncate(self.log, 0)
            self._log_start = 0

    def late_grows(self) -> bool:
        """True if what a task has left running has printed since the last call."""
        size, self._late_bytes = self._late_bytes, 0
        with contextlib.suppress(OSError):
            self._late_bytes = self.log.with_name(self.log.name + LATE).stat().st_size
        return size != self._late_bytes

    def last_words(self, max_chars: int = 2000) -> str:
        """Returns the end of what this process has written to its log."""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            if size < self._log_start:  # it is another one, since a task has left something that prints
                self._log_start = 0
            start = max(self._log_start, size - max_chars)
            log.seek(start)
            words = log.read().decode(errors="replace")
            return (words if start == self._log_start else words.partition("\n")[2] or words).strip()
        return ""


def open_log_at(path: Path) -> int:
    """Returns where a new worker's output begins in its log; a log that has grown large starts anew."""
    with contextlib.suppress(OSError):
        if is_written(os.fspath(path)):  # by what a task of an earlier worker has left
            path.replace(path.with_name(path.name + LATE))
        size = path.stat().st_size
        if size <= MAX_LOG_BYTES:
            return size
        path.replace(path.with_suffix(".log.1"))
    return 0
