"""This module is the worker's process: what is set up once, before the first chunk."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import sys
import types
from typing import TYPE_CHECKING, Any

from .memory import MEMORY
from .pickles import Unfit, dill
from .pipe import Pipe
from .preload import imported
from .worker import Worker

if TYPE_CHECKING:
    from typing import NoReturn, Protocol

    class Runs(Protocol):
        """What works until the engine closes the pipe."""

        def run(self) -> None:
            """Does it."""


def die_with(parent: int) -> None:
    """Makes the kernel end this process when the agent's engine ends; elsewhere the closed pipe does."""
    if sys.platform == "linux":
        try:
            import ctypes

            ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
        except (ImportError, OSError, AttributeError):
            pass
    if os.getppid() != parent:
        os._exit(0)


def about() -> dict[str, Any]:
    """Returns what a person wants to know of this interpreter."""
    try:
        version = dill().__version__
    except Unfit:
        version = None
    python = ".".join(str(part) for part in sys.version_info[:3])
    hooks = {getattr(one, "__module__", None) or type(one).__module__ for one in sys.meta_path}
    return {
        "python": python,
        "dill": version,
        "prefix": sys.prefix,
        "path": [path for path in sys.path if path],
        "builtin": list(sys.builtin_module_names),
        "hooks": sorted(hook for hook in hooks if not hook.startswith("_frozen_importlib")),
    }


def main() -> None:
    """Is a worker until the engine closes the pipe."""
    if sys.argv[1:] == ["--about"]:
        print(json.dumps(about()))
        return
    parent, threads = int(sys.argv[1]), int((sys.argv[2:] or ["0"])[0])
    sys.argv[1:] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    pipe = Pipe()
    os.environ.setdefault("MPLBACKEND", "Agg")
    sys.modules["__main__"] = types.ModuleType("__main__")  # user code finds nothing of ours there
    die_with(parent)
    setup = pipe.receive()
    if setup is None:
        return
    MEMORY.limit(setup.get("memory"))
    failed = imported(
        setup.get("preload") or (),
        (lambda name: pipe.send([None, name])) if setup.get("tells_preload") else None,
    )
    if threads:
        from .crowd import Crowd

        crowd = Crowd(pipe, setup, threads)
        pipe.send([])
        leave(crowd)
    worker = Worker(pipe, setup)
    pipe.send(failed)
    if pipe.quiet():
        with contextlib.suppress(Unfit):
            dill()
    leave(worker)


def leave(worker: Runs) -> NoReturn:
    """Works to the end, then goes: a thread that a task has left behind would keep the process for ever."""
    status = 0
    try:
        worker.run()
    except BaseException:
        status = 1
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)
