"""This module is the worker with many threads: tasks come with numbers, results go as they end.

Its threads share a process. What a cell changes of one (streams, `__main__`, arguments) would be everybody's,
so a cell waits until it is alone. Plain functions run side by side; each thread has a folder of its own where
the system can do that, all else that a task changes stays until nothing runs.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from .buffers import dump
from .call import arguments, code_of
from .failure import error_text, printable
from .leftovers import Leftovers
from .memory import MEMORY
from .pickles import Unfit, dill
from .state import State
from .surroundings import Surroundings
from .teller import Teller
from .told import streams, whole
from .worker import REMOTE, checked

if TYPE_CHECKING:
    from .pipe import Pipe

CELL = "compute_cell"
CLONE_FS = 0x200
SPENT = ["spent"]  # the frame of a process that wants no new task: malloc holds on to what threads have freed


class Room:
    """Lets many in that share the process, or one that wants it alone, in the order of their coming.

    Who comes into an empty one has it alone until it says `share`, so that it can clear up.
    """

    def __init__(self) -> None:
        self.news = threading.Condition()
        self.inside = 0
        self.is_taken = False
        self.came = self.admitted = 0

    def enter(self, alone: bool) -> bool:
        """Waits until there is room; returns True if nobody else is in."""
        with self.news:
            number = self.came
            self.came += 1
            self.news.wait_for(
                lambda: self.admitted == number and not self.is_taken and not (alone and self.inside)
            )
            self.admitted += 1
            self.inside += 1
            self.is_taken = self.inside == 1
            self.news.notify_all()
            return self.is_taken

    def share(self) -> None:
        """Lets others in."""
        with self.news:
            self.is_taken = False
            self.news.notify_all()

    def leave(self) -> None:
        """Makes room."""
        with self.news:
            self.inside -= 1
            self.is_taken = False
            self.news.notify_all()


class SharedSurroundings(Surroundings):
    """The surroundings of tasks that run side by side: no variable is of one of them alone."""

    def attach(self) -> None:
        """Leaves the task's variables unset."""


class Crowd:
    """The loop of the process; its threads are daemons, which end with it."""

    def __init__(self, pipe: Pipe, setup: dict[str, Any], threads: int) -> None:
        self.pipe, self.limit, self.pid = pipe, setup["limit"], os.getpid()
        if setup["packages"]:
            sys.path.append(setup["packages"])
        self.folder = setup["folder"]
        self.teller = Teller(setup.get("live"))
        streams(self.teller.hear)
        self.surroundings = SharedSurroundings(self.folder)
        self.codes: dict[str, Any] = {}
        self.room = Room()
        self.tasks: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.writing = threading.Lock()
        self.reading = threading.Lock()
        self.count = threads
        self.is_spent = self.is_torn = False
        self.leftovers = Leftovers(setup.get("file"))
        self.state = State(os.dup(2), main_thread=False)

    def run(self) -> None:
        """Takes tasks until the engine closes the pipe."""
        with contextlib.suppress(Unfit):
            dill()  # before there is another thread, which could find half of it
        for place in range(self.count):
            threading.Thread(target=self.work, name=f"task-{place}", daemon=True).start()
        while True:
            frame = self.pipe.receive()
            if frame is None:
                return
            self.codes.pop(frame.get("forget", ""), None)
            if "code" in frame:
                self.codes[frame["function"]] = frame["code"]
            frame["maker"] = self.codes[frame["function"]]
            self.tasks.put(frame)

    def work(self) -> None:
        """Is a thread: runs one task after the other."""
        has_folder = own_folder()
        while True:
            frame = self.tasks.get()
            maker = self.maker(frame)
            alone = getattr(maker, "name", "") == CELL
            is_first = self.room.enter(alone)
            try:
                if is_first:
                    self.clear_up()
                if not alone:
                    self.room.share()
                self.teller.begin(frame["id"])
                started = time.time()
                end = self.run_task(frame, maker, is_first, has_folder)
                if os.getpid() != self.pid:
                    os._exit(0 if end[0] else 1)  # a child that the task forked and that came back here
            finally:
                self.state.put_back_thread(has_folder)  # who clears up for all does not reach it
                self.teller.end()
                self.room.leave()
            with self.writing:
                if (MEMORY.is_met or self.is_torn) and not self.is_spent:
                    self.is_spent = True
                    self.pipe.send(SPENT)
                self.pipe.send([frame["task"], *end, started, time.time()])

    def clear_up(self) -> None:
        """Leaves nothing of the tasks before to those that come, once none of them runs."""
        stdin, stdout, stderr = self.surroundings.streams
        self.surroundings.streams = stdin, whole(stdout), whole(stderr)
        if self.leftovers.write():
            with contextlib.suppress(OSError):
                os.dup2(self.leftovers.put_aside(), self.state.log, inheritable=False)
        if not self.state.put_back():
            self.is_torn = True

    def maker(self, frame: dict[str, Any]) -> Any:
        """Returns the maker of a function, read once, or the error of reading it."""
        maker = frame["maker"]
        if isinstance(maker, str):
            with self.reading:
                try:
                    maker = code_of(maker)
                except BaseException as error:
                    return error
                if self.codes.get(frame["function"]) == frame["maker"]:
                    self.codes[frame["function"]] = maker
        return maker

    def run_task(
        self, frame: dict[str, Any], maker: Any, is_first: bool, has_folder: bool
    ) -> tuple[bool, str, str | None]:
        """Runs one task; whatever it raises becomes text."""
        options = frame["options"]
        try:
            if isinstance(maker, BaseException):
                raise maker
            self.enter(options.get("context") or {}, is_first, has_folder)
            MEMORY.keep()
            args, kwargs = arguments(frame["args"])
            value = maker.make()(*args, **kwargs)
            self.stitch()
            return checked(dump(value, options.get("result_serializers") or []), self.limit)
        except Unfit as error:
            self.stitch()
            return False, f"SerializationError: {printable(str(error))}", REMOTE
        except BaseException as error:
            self.stitch()
            return False, error_text(error), REMOTE

    def stitch(self) -> None:
        """Mends what a task has torn that all others stand on."""
        if self.state.is_torn:
            self.state.stitch()
            self.is_torn = True

    def enter(self, context: dict[str, Any], is_first: bool, has_folder: bool) -> None:
        """Goes to the folder of a task; undoes what others have done to the process once none is left.

        Raises:
            FileNotFoundError: The folder of the task is not on this host.
            Unfit: Threads of this system share one folder, and it is another one.
        """
        added = context.get("sys_path") or []
        if is_first:
            self.surroundings.refresh(context)
            self.surroundings.put_back(added)
        else:
            sys.path[:0] = [entry for entry in added if entry not in sys.path]
        folder = context.get("cwd") or self.folder
        if not has_folder and folder != self.folder:
            raise Unfit(
                f"threads share one folder on this system, {self.folder}; a task with the folder {folder} "
                "needs an endpoint with another engine"
            )
        os.chdir(folder)


def own_folder() -> bool:
    """Gives this thread a working directory of its own; False where the system has none."""
    try:
        import ctypes

        return sys.platform == "linux" and bool(ctypes.CDLL(None).unshare(CLONE_FS) == 0)
    except (ImportError, OSError, AttributeError):
        return False
