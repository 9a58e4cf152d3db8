"""The interrupt that a person sends to a cell which waits."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WAITS = {("threading.py", "wait"), ("selectors.py", "select")}


@contextmanager
def interrupted() -> Iterator[None]:
    """Presses Interrupt once a cell of the block waits; what that raises is caught outside of the block."""
    main = threading.main_thread().ident
    assert main is not None
    done = threading.Event()

    def press() -> None:
        looks = 0
        while looks < 4 and not done.wait(0.05):  # by then it does not just pass there
            looks = looks + 1 if _waits(main) else 0
        if not done.is_set():
            signal.pthread_kill(main, signal.SIGINT)

    watching = threading.Thread(target=press)
    watching.start()
    try:
        yield
    finally:
        done.set()
        watching.join()


def _waits(thread: int) -> bool:
    """Whether a thread is in a cell, and there in a wait."""
    frame = sys._current_frames()[thread]
    in_wait = (Path(frame.f_code.co_filename).name, frame.f_code.co_name) in WAITS
    while frame.f_back is not None and frame.f_code.co_name != "run_cell":
        frame = frame.f_back
    return in_wait and frame.f_code.co_name == "run_cell"
