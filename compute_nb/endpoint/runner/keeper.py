"""This module is the keeper of a worker: it starts one, gives it a task at a time and tells how each ended.

It is for hosts that are not ours, a worker of Parsl or Dask or a thread of the agent: whatever a task does
to its process, the host goes on. A keeper belongs to one thread; `stop` may be called from any.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

from .answer import CANCELLED, DIED, ERROR, NO_WORKER, SUCCESS, WALLTIME, Answer, Call, never
from .leftovers import LATE, is_written
from .tail import Tail
from .voice import LAST_CHARS, Voice

LENGTH = struct.Struct("!I")
MAIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
LOG = "worker-0.log"  # a cell reads what programs print from a file that is called so
LISTEN_S = 0.1  # so often a task is listened to that has run for a while
LIVE_LOG_BYTES = 64 * 1024 * 1024  # of the log while it does
# Places in the file of words: a record of serial, count, begun, limit; then those of `slots`.
RECORD, CANCEL, LOG_WORD, BEGUN_DOUBLE, WORDS_BYTES = 0, 8, 10, 6, 64
NO_LIMIT = 0xFFFFFFFF
# Of the agent's custody file: bytes of its head and of a place, and where in that a keeper marks what begins.
CUSTODY_HEADER, CUSTODY_PLACE, CUSTODY_BEGUN = 64, 16, 8
PREFIX = "compute_nb_"  # of folders for a process whose id follows, also those of `arrival`
MAX_STARTS = 3
MAX_WORDS = 16_000
MAX_LOG_BYTES = 10 * 1024 * 1024
LOOK_AT_LOG = 16  # tasks: a host with threads pays for every call of the system


class Keeper:
    """Keeps one worker process for one thread of the host.

    Args:
        setup: `python` (None: the host's own), `folder` where tasks run, `packages` that holds dill or None,
            `limit` of a result in characters, `memory` in bytes that a process may take or None,
            `environ` that is added, `live` where the agent hears what tasks print or None, `kill_s`
            that a task may take to end, `custody`: the agent's custody file, if it is on this machine
            for sure, else None; perhaps `preload`, modules that a worker imports first, and `max_tasks`
            that one may run.
    """

    def __init__(self, setup: dict[str, Any]) -> None:
        import sys

        self.setup, self.python = setup, setup["python"] or sys.executable
        sweep()
        self.place = os.path.realpath(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}_"))
        self.folder = setup["folder"] or self.place
        self.process: Any = None
        self.exit = (0, 0)
        self.known = ""
        self.serial = self.first = 0
        self.turn = threading.Lock()
        self.running = ""
        self.doom: str | None = None
        self.due: tuple[float, Callable[[], None]] | None = None
        self.ears, self.mouth = os.pipe()
        self.voice = Voice(setup.get("live"))
        self.tail: Any = None
        with open(os.path.join(self.place, "words"), "w+b") as file:
            file.truncate(WORDS_BYTES)
            self.map = mmap.mmap(file.fileno(), WORDS_BYTES)
        self.words: Any = memoryview(self.map).cast("I")
        self.since: Any = memoryview(self.map).cast("d")
        self.custody: Any = None

    def later(self, at: float, action: Callable[[], None]) -> None:
        """Has something done at a time, `time.monotonic`, if a task runs then; in place of what was to be."""
        self.due = (at, action)

    def expect(self, name: str) -> None:
        """Lets `stop` find by this name, from now on, the task that `call` brings next."""
        with self.turn:
            self.running, self.doom = name, None

    def call(self, call: Call) -> Answer:
        """Runs a task and waits for its end; its name is its id, unless it was expected by another."""
        if not self.running:
            self.expect(call.task_id)
        try:
            answer = self.tried(call)
        finally:
            with self.turn:
                self.running = ""
            while self.doom is not None and select.select([self.ears], [], [], 0)[0]:
                os.read(self.ears, 64)
        most = self.setup.get("max_tasks")
        if most and self.serial - self.first >= most:
            self.kill()
        return answer

    def stop_all(self) -> None:
        """Kills the worker if it runs a task, whichever; from any thread."""
        with self.turn:
            process = self.process
            if self.running and process is not None:
                self.doom = CANCELLED
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)

    def stop(self, name: str) -> bool:
        """Ends a task if it is the one that runs here."""
        with self.turn:
            if self.running != name:
                return False
            self.doom = CANCELLED
            os.write(self.mouth, b"\0")
            return True

    def close(self) -> None:
        """Ends the worker and removes what is left of it."""
        self.kill()
        self.voice.close()
        shutil.rmtree(self.place, ignore_errors=True)

    def tried(self, call: Call) -> Answer:
        """Runs a task on the worker, or on another one if that ends before the task has begun."""
        words = ""
        for _ in range(MAX_STARTS):
            try:
                self.ready()
                with self.turn:
                    if self.doom is not None:
                        return never(self.doom)
                answer = self.given(call)
            except OSError as error:
                words = f"{type(error).__name__}: {error}"
                self.kill()
                continue
            if answer is not None:
                return answer
            words = self.last_words()
        return self.answer(NO_WORKER, f"{self.python}: {words or 'it said nothing'}", None)

    # the worker

    def ready(self) -> None:
        """Starts a worker unless one is up."""
        if self.process is not None:
            return
        os.makedirs(self.folder, exist_ok=True)
        log = os.path.join(self.place, LOG)
        if is_written(log):
            os.replace(log, log + LATE)
        with open(log, "wb"):
            self.tail = Tail(log)
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                [self.python, MAIN, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                cwd=self.folder,
                env={**os.environ, **self.setup["environ"]},
                start_new_session=True,
                pass_fds=(self.tail.file,),
                bufsize=0,
            )
            self.known, self.first = "", self.serial
            setup = {
                "slots": os.path.join(self.place, "words"),
                "cancel": CANCEL,
                "begun": BEGUN_DOUBLE,
                "log": LOG_WORD,
                "file": log,
                "records": [RECORD, RECORD],
                "folder": self.folder,
                "packages": self.setup["packages"],
                "limit": self.setup["limit"],
                "memory": self.setup.get("memory"),
                "preload": self.setup.get("preload"),
                **self.tail.setup(),
            }
            self.send(json.dumps(setup))
            if self.receive() is None:
                raise OSError(f"it {self.buried()} before it was up; its last words: {self.last_words()}")

    def kill(self) -> None:
        """Ends the worker by force."""
        if self.process is not None:
            self.signal(signal.SIGKILL)
            self.buried()

    def buried(self) -> str:
        """Waits for the worker's end, ends what it has left in its group; returns how it ended."""
        process, self.process = self.process, None
        code = process.wait()
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdin.close()
        process.stdout.close()
        self.tail.close()
        self.exit = process.pid, code
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def signal(self, number: int) -> None:
        """Sends a signal to the worker and its process group."""
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, number)

    def last_words(self) -> str:
        """Returns the end of what the worker has written."""
        try:
            with open(os.path.join(self.place, LOG), "rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - MAX_WORDS))
                return log.read().decode("utf-8", "replace").strip()
        except OSError:
            return ""

    def bound_log(self, max_bytes: int = MAX_LOG_BYTES) -> None:
        """Begins the worker's log anew if it has grown large; the worker writes on."""
        for name in (LOG, LOG + LATE):
            log = os.path.join(self.place, name)
            with contextlib.suppress(OSError):
                if os.path.getsize(log) > max_bytes:
                    os.truncate(log, 0)

    # one task

    def given(self, call: Call) -> Answer | None:
        """Gives a task to the worker; None if that ended before it began the task."""
        self.serial += 1
        words = self.words
        words[RECORD : RECORD + 4] = memoryview(struct.pack("=4I", self.serial, 1, 0, NO_LIMIT)).cast("I")
        self.mark(call.place)
        frame: dict[str, Any] = {
            "chunk": self.serial,
            "record": 0,
            "function": call.function_id,
            "options": call.options,
            "tasks": [[call.task_id, call.args]],
        }
        if self.known != call.function_id:
            frame.update(code=call.code, forget=self.known)
            self.known = call.function_id
        if self.serial % LOOK_AT_LOG == 0:
            self.bound_log()
        with contextlib.suppress(OSError):  # it is dead, which is told below
            self.send(json.dumps(frame))
        found = self.receive(call.options.get("walltime_s"), call.task_id)
        if found is None:
            if words[RECORD + 2]:
                self.hear(call.task_id, is_last=True)
            self.buried()
            if self.doom is not None:
                return self.answer(self.doom, "", None)
            return self.answer(DIED, self.last_words(), self.exit[1]) if words[RECORD + 2] else None
        _, _, ok, data, code, started, ended = found
        kind = SUCCESS if ok else self.doom or ERROR
        return Answer(kind, data, code, started, ended, 0, "")

    def mark(self, place: int) -> None:
        """Lets the agent's next life know that a task has begun, or may have."""
        path = self.setup["custody"]
        if path is None:
            return
        if self.custody is None:
            with open(path, "r+b") as file:
                self.custody = mmap.mmap(file.fileno(), 0)
        begun = CUSTODY_HEADER + place * CUSTODY_PLACE + CUSTODY_BEGUN
        self.custody[begun : begun + 8] = struct.pack("=Q", 1)

    def answer(self, kind: str, data: str, code: Any) -> Answer:
        """Returns the end of a task of which the worker has told nothing."""
        now = time.time()
        pid = self.exit[0] if kind == DIED else 0
        return Answer(kind, data, code, self.since[BEGUN_DOUBLE] or now, now, pid, os.uname().nodename)

    # frames

    def send(self, text: str) -> None:
        """Writes a frame."""
        body = text.encode()
        rest = memoryview(LENGTH.pack(len(body)) + body)
        while rest:
            rest = rest[os.write(self.process.stdin.fileno(), rest) :]

    def receive(self, walltime_s: float | None = None, task_id: str = "") -> Any:
        """Waits for a frame and ends the task on the way if it is to end; None if the worker has ended.

        Args:
            walltime_s: Of the task.
            task_id: Of the task, which is listened to and can be interrupted; empty if there is none.
        """
        source = self.process.stdout.fileno()
        sources = [source, self.ears] if task_id else [source]
        data = b""
        size = None
        ends_at = None if walltime_s is None else time.monotonic() + walltime_s
        kills_at = None
        listens_at = time.monotonic() + LISTEN_S if task_id else None
        while size is None or len(data) < size:
            acts_at = None if self.due is None else self.due[0]
            dues = [due for due in (ends_at, kills_at, acts_at, listens_at) if due is not None]
            pause_s = min(max(0.0, min(dues) - time.monotonic()), 86_400.0) if dues else None
            news = select.select(sources, [], [], pause_s)[0]
            now = time.monotonic()
            if listens_at is not None and now >= listens_at:
                listens_at = now + LISTEN_S
                self.hear(task_id)
            if source in news:
                part = os.read(source, 1 << 16)
                if not part:
                    return None
                data += part
                if size is None and len(data) >= 4:
                    size = 4 + LENGTH.unpack_from(data)[0]
                continue
            if self.ears in news:
                os.read(self.ears, 64)
                kills_at = self.interrupt(now)
            elif self.due is not None and now >= self.due[0]:
                action, self.due = self.due[1], None
                action()
            elif kills_at is not None and now >= kills_at:
                self.signal(signal.SIGKILL)
                kills_at = None
            elif ends_at is not None and now >= ends_at:
                ends_at = None
                with self.turn:
                    self.doom = self.doom or WALLTIME
                kills_at = self.interrupt(now)
        return json.loads(data[4:])

    def hear(self, task_id: str, is_last: bool = False) -> None:
        """Tells what the running task has printed since it was heard last."""
        piece = self.tail.news(self.serial, 0, self.words[LOG_WORD], LAST_CHARS)
        if piece is not None:
            self.voice.say(task_id, piece.start, piece.text, is_last)
        self.bound_log(LIVE_LOG_BYTES)

    def interrupt(self, now: float) -> float:
        """Asks the task to end; returns when that is to be enforced."""
        self.words[CANCEL + 1] = 1
        self.words[CANCEL] = self.serial
        self.signal(signal.SIGINT)
        return now + float(self.setup["kill_s"])


def sweep() -> None:
    """Removes the folders of hosts that were killed."""
    place = tempfile.gettempdir()
    for name in os.listdir(place):
        pid = name[len(PREFIX) :].partition("_")[0] if name.startswith(PREFIX) else ""
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}") and os.path.exists("/proc/self"):
            shutil.rmtree(os.path.join(place, name), ignore_errors=True)
