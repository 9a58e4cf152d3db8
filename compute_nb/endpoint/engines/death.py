"""This module is the death of a worker, told to the owner of the task that it ran."""

from __future__ import annotations

import itertools
import os
import signal

from compute_nb.endpoint.engines.end import End
from compute_nb.endpoint.runner.memory import told
from compute_nb.tasks import ErrorCode, Outcome

MAX_DUMP_CHARS = 16_000
MAX_FRAMES = 12

_RUNNERS = (
    f"{os.sep}endpoint{os.sep}runner{os.sep}",
    f"{os.sep}compute_nb_",
    '"<_compute_nb_',
    '"<compute_cell>"',
)
_OTHERS = "The other tasks go on"
_ALL = "All tasks that ran in that process ended with it"
_RETRIES = "`retries=1` (in a notebook `--retries 1`) runs such a task once more"


def describe_exit(code: int) -> str:
    """Returns how a process ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"was killed by signal {-code} ({name})"


def death(
    worker: str, code: int, dump: str = "", *, is_shared: bool = False, memory_bytes: int | None = None
) -> End:
    """Returns the end of a task whose worker died under it.

    Args:
        worker: Which one, such as "pid 7".
        code: The exit code of the process, negative for a signal.
        dump: What it wrote last; read after a segmentation fault.
        is_shared: Whether other tasks ran in the same process.
        memory_bytes: Its memory limit.
    """
    hint = {
        -signal.SIGKILL: "often that is the system's answer to too little memory",
        -signal.SIGSEGV: "a compiled library has failed",
    }.get(code, "the code or a library ended the process")
    if memory_bytes is not None and code in (-signal.SIGABRT, -signal.SIGSEGV):
        hint += f", perhaps since it was refused memory (`memory_limit` is {told(memory_bytes)} here)"
    others = _ALL if is_shared else _OTHERS
    text = (
        f"WorkerDied: the worker ({worker}) {describe_exit(code)} while it ran this task: {hint}. "
        f"{others}; {_RETRIES}"
    )
    words = frames_in(dump) if code == -signal.SIGSEGV else ""
    return lost(text + (f"\n{words}" if words else ""))


def lost(text: str) -> End:
    """Returns the end of a task that was begun and whose worker is gone."""
    return End(Outcome.DIED, text, ErrorCode.WORKER_DIED)


def gone(what: str) -> End:
    """Returns the end of a task that may have begun, where its worker went with the worker's own host."""
    return lost(f"WorkerDied: {what}. {_RETRIES}")


def frames_in(dump: str) -> str:
    """Returns the frames of the task's own code in what faulthandler wrote last, innermost first.

    It lists every thread; the one that failed is "Current thread", or "Stack" where it knows no other.
    """
    _, _, last = dump.rpartition("Fatal Python error:")
    _, current, stack = last.partition("Current thread ")
    if not current:
        _, _, stack = last.partition("Stack ")
    _, _, stack = stack.partition("(most recent call first):\n")
    frames = list(itertools.takewhile(lambda line: line.startswith("  File "), stack.splitlines()))
    own = [line for line in frames if not any(mark in line for mark in _RUNNERS)]
    return "\n".join(["it was at (innermost first):", *own[:MAX_FRAMES]]) if own else ""
