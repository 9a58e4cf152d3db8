"""This module is the start of an endpoint's agent in the background, watched until the endpoint is online."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence

from compute_nb.cli.background import begin
from compute_nb.endpoint.folder import Folder
from compute_nb.errors import ComputeError

START_S = 60.0
END_S = 5.0
LAST_LINES, LAST_BYTES = 12, 8_000
MAX_LOG_BYTES = 5_000_000


def launch(folder: Folder, words: Sequence[str], timeout_s: float = START_S) -> str:
    """Starts `endpoint run` in a session of its own and returns the endpoint's id once it is taken in.

    Args:
        folder: Of the endpoint; its log gets what the agent says.
        words: What follows `endpoint run` on the command line.
        timeout_s: How long that may take.

    Raises:
        ComputeError: It is not online in time, or has ended; the text names the log and has its last lines.
            No process is left.
    """
    folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.log.exists() and folder.log.stat().st_size > MAX_LOG_BYTES:
        folder.log.replace(folder.log.with_suffix(".log.1"))
    start = folder.log.stat().st_size if folder.log.exists() else 0
    reader, writer = os.pipe()
    process = begin(["endpoint", "run", *words], folder.log, writer)
    try:
        said = _line(reader, time.monotonic() + timeout_s)
    finally:
        os.close(reader)
    if said:
        process.returncode = 0  # it lives on: nobody here waits for it
        return said
    ended = process.poll() is not None or _ended(process)
    why = "ended before it was online" if ended else f"was not online after {timeout_s:.0f} s and was ended"
    raise ComputeError(
        f"the agent of endpoint {folder.name} {why}; its log is {folder.log}, and ends so:\n"
        f"{_last_lines(folder, start)}"
    )


def _line(reader: int, until: float) -> str:
    """Returns the first line of a pipe, "" if it ends, or the time is over, before."""
    said = b""
    while b"\n" not in said:
        left_s = until - time.monotonic()
        if left_s <= 0 or not select.select([reader], [], [], left_s)[0]:
            return ""
        chunk = os.read(reader, 4096)
        if not chunk:
            return ""
        said += chunk
    return said.decode().strip()


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Waits a moment for a process that has closed its pipe, else ends it; True if it ended by itself."""
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):  # the second one does not wait
            process.send_signal(number)
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                continue
            break
        return False
    return True


def _last_lines(folder: Folder, start: int) -> str:
    """Returns the last lines that were written since the log had `start` bytes."""
    try:
        with folder.log.open("rb") as log:
            log.seek(max(start, log.seek(0, os.SEEK_END) - LAST_BYTES))
            lines = log.read().decode(errors="replace").strip().splitlines()
    except OSError as error:
        return f"  ({error})"
    return "\n".join(f"  {line}" for line in lines[-LAST_LINES:]) or "  (it said nothing)"
