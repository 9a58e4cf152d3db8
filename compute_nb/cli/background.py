"""This module is the background: a command of ours in a session of its own, which tells once it is up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from compute_nb.service.logfile import append


def begin(words: Sequence[str], log: Path, writer: int) -> subprocess.Popen[bytes]:
    """Starts `compute-nb WORDS --ready-fd=WRITER`, and closes the pipe's end here.

    Args:
        words: The command and its options.
        log: Gets what it prints.
        writer: The end of a pipe that it writes to.

    Raises:
        OSError: The log or the process can't be had.
    """
    # -P: a module of the folder where this is typed, its random.py say, would be taken for the library's.
    command = [sys.executable, "-P", "-m", "compute_nb.cli", *words, f"--ready-fd={writer}"]
    try:
        with append(log) as file:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                pass_fds=[writer],
            )
    finally:
        os.close(writer)
