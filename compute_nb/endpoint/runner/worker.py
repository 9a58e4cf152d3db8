"""This module is the loop of a worker: chunk in, tasks one by one, results out."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from .buffers import dump
from .call import arguments, code_of
from .failure import error_text, printable
from .leftovers import BURY_S, Leftovers
from .live import LIVE, Live
from .memory import MEMORY
from .pickles import Unfit
from .slot import Slot
from .state import State
from .surroundings import Surroundings
from .told import streams, whole

if TYPE_CHECKING:
    from types import FrameType

    from .pipe import Pipe

PLAIN_GETSIGNAL = importlib.import_module("_signal").getsignal  # `signal` wraps it in enums
REMOTE = "RemoteExecutionError"
TOO_LARGE = "MaxResultSizeExceeded"
SHORT_S = 0.0001  # in less no process is started; all tasks of a chunk are of one function
SPENT = 75  # the exit code of a worker that asks to be replaced, between two tasks


class Worker:
    """The loop of the process: chunk in, tasks one by one, results out."""

    def __init__(self, pipe: Pipe, setup: dict[str, Any]) -> None:
        self.pipe, self.slot = pipe, Slot(setup)
        self.pid, self.limit = os.getpid(), setup["limit"]
        if setup["packages"]:
            sys.path.append(setup["packages"])
        self.outlived: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        streams(self.may_print)
        self.surroundings = Surroundings(setup["folder"])
        self.codes: dict[str, Any] = {}
        self.serial = self.index = 0
        LIVE[:] = [Live(setup["live"], self)]
        self.busy = self.spoiled = False
        self.leftovers, self.state = Leftovers(setup.get("file")), State(self.slot.log)
        self.on_signal = self.interrupt  # one object, so that putting it back is cheap to see

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """SIGINT: ends the task that is meant, if it is still the one that runs."""
        if self.busy and self.slot.wanted_gone(self.serial, self.index):
            self.spoiled = self.spoiled or is_importing(frame)
            raise KeyboardInterrupt

    def run(self) -> None:
        """Works until the engine closes the pipe."""
        while True:
            while self.leftovers.some and self.pipe.quiet(BURY_S):
                self.leftovers.bury()
            chunk = self.pipe.receive()
            if chunk is None:
                return
            self.run_chunk(chunk)

    def run_chunk(self, chunk: dict[str, Any]) -> None:
        """Runs the tasks of a chunk and sends each result at once."""
        self.codes.pop(chunk.get("forget", ""), None)
        if "code" in chunk:
            self.codes[chunk["function"]] = chunk["code"]
        options = chunk["options"]
        self.serial, record = chunk["chunk"], chunk["record"]
        self.surroundings.refresh(options.get("context") or {})
        begun, last = time.time(), len(chunk["tasks"]) - 1
        for index, (task_id, packed) in enumerate(chunk["tasks"]):
            if not self.slot.begin(record, index):
                self.pipe.send([self.serial, index])
                break
            self.index = index
            started = time.time()
            end = self.run_task(task_id, chunk["function"], packed, options)
            if os.getpid() != self.pid:
                os._exit(0 if end[0] else 1)  # a child that the task forked and that came back here
            self.pipe.send_result(self.serial, index, end, started)
            if index == last or not 0 <= time.time() - started < SHORT_S:
                self.clear_up()
            if self.spoiled or MEMORY.is_met:
                os._exit(SPENT)
        self.surroundings.leave(begun)

    def may_print(self, text: str) -> bool:
        """Says no to a thread whose task has ended: its text would be the next one's."""
        return not self.outlived or threading.current_thread() not in self.outlived

    def clear_up(self) -> None:
        """Leaves nothing of a task to the next one."""
        stdin, stdout, stderr = self.surroundings.streams
        self.surroundings.streams = stdin, whole(stdout), whole(stderr)
        if threading.active_count() > 1:
            own = threading.current_thread()
            self.outlived.update(thread for thread in threading.enumerate() if thread is not own)
        if self.leftovers.write():
            with contextlib.suppress(OSError):  # no room for another log: what they print is in this one
                self.slot.move_log(self.leftovers.put_aside())
        if not self.state.put_back():
            self.spoiled = True

    def run_task(
        self, task_id: str, function_id: str, packed: str, options: dict[str, Any]
    ) -> tuple[bool, str, str | None]:
        """Runs one task; whatever it raises becomes text."""
        try:
            try:
                if PLAIN_GETSIGNAL(2) is not self.on_signal:
                    signal.signal(signal.SIGINT, self.on_signal)
                self.busy = True
                if self.slot.wanted_gone(self.serial, self.index):  # its SIGINT came too early
                    raise KeyboardInterrupt
                self.surroundings.enter(task_id, options.get("context") or {})
                if "environ" in options:
                    os.environ.update(options["environ"])
                MEMORY.keep()
                args, kwargs = arguments(packed)
                value = self.code(function_id).make()(*args, **kwargs)
                data = dump(value, options.get("result_serializers") or [])
            finally:
                self.busy = False
                MEMORY.ease()
                if self.state.is_torn:
                    self.state.stitch()
                    self.spoiled = True
        except Unfit as error:
            return False, f"SerializationError: {printable(str(error))}", REMOTE
        except BaseException as error:
            return False, error_text(error), REMOTE
        return checked(data, self.limit)

    def code(self, function_id: str) -> Any:
        """Returns the maker of a function, read at its first use here."""
        code = self.codes[function_id]
        if isinstance(code, str):
            code = self.codes[function_id] = code_of(code)
        return code


def checked(data: str, limit: int) -> tuple[bool, str, str | None]:
    """Returns the end of a task that gave `data`; refuses a result that is larger than may be sent."""
    if len(data) <= limit:
        return True, printable(data), None
    text = (
        f"MaxResultSizeExceeded({len(data)}, {limit}): the result has {len(data):,} characters "
        f"and at most {limit:,} can be sent: write it to a file there and return the path, "
        "or return less"
    )
    return False, text, TOO_LARGE


def is_importing(frame: FrameType | None) -> bool:
    """True if an import is under way: cut short, it leaves a package that no later task could import."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
