"""This module is the failure of a task as text: the traceback, then a line for programs."""

from __future__ import annotations

import base64
import json
import os
import sys
from typing import TYPE_CHECKING

from .memory import MEMORY
from .pickles import dumps, loads, mime

if TYPE_CHECKING:
    from types import TracebackType

RUNNER = os.path.dirname(__file__)
MAX_TEXT = 1_000_000
MAX_EXCEPTION = 65_536
MAX_FRAMES, LAST_FRAMES = 5_000, 200
TAIL = "compute_nb:1:"
NOTE = "compute_nb_note"  # what is known of an error besides its text


def error_text(error: BaseException) -> str:
    """Returns the traceback of a task's error without this program's frames, then the line for programs."""
    short = MEMORY.note(error)  # first of all, since it makes room
    own = str_of(error)
    if own.rsplit("\n", 1)[-1].startswith(TAIL):
        return printable(own)
    text = "".join(formatted(error)).rstrip("\n")
    if isinstance(error, (ModuleNotFoundError, FileNotFoundError)):
        text += f"\n(on {os.uname().nodename}, in {folder()}, with {sys.executable})"
    text += getattr(error, NOTE, "") + short
    if isinstance(error, SystemExit):
        text += "\n(the code asked its process to exit; a task ends by returning)"
    return f"{shortened(printable(text))}\n{tail(error)}"


def folder() -> str:
    """Returns where the task has ended."""
    try:
        return os.getcwd()
    except OSError:
        return "a folder that is gone"


def formatted(error: BaseException) -> list[str]:
    """Formats an error; the runner's frames that surround the user's code are left out."""
    import traceback

    try:
        trace = below_runner(error.__traceback__)
        return traceback.format_exception(type(error), error, trace, limit=limit_of(trace))
    except Exception as broken:
        return [f"{type(error).__qualname__} (its text can't be made: {broken!r})"]


def limit_of(trace: TracebackType | None) -> int | None:
    """Returns how much of a traceback can be formatted: millions of frames take minutes, so the last ones."""
    for _ in range(MAX_FRAMES):
        if trace is None:
            return None
        trace = trace.tb_next
    return -LAST_FRAMES


def below_runner(trace: TracebackType | None) -> TracebackType | None:
    """Skips the frames of the runner at the outer end of a traceback."""
    while trace is not None and os.path.dirname(trace.tb_frame.f_code.co_filename) == RUNNER:
        trace = trace.tb_next
    return trace


def tail(error: BaseException) -> str:
    """Returns the line that gives an error to programs."""
    import zlib

    kind = type(error)
    fact = {
        "type": kind.__qualname__,
        "module": str(kind.__module__),  # a class may have anything there
        "message": printable(str_of(error))[:MAX_TEXT],
        "exception": exception_buffer(error),
    }
    packed = zlib.compress(json.dumps(fact).encode())
    return TAIL + base64.b64encode(packed).decode("ascii")


def exception_buffer(error: BaseException) -> str | None:
    """Returns the buffer of an exception, or None if it is too large or can't be read back."""
    try:
        raw = dumps(error)
        return "00\n" + mime(raw) if len(raw) <= MAX_EXCEPTION and loads(raw) is not None else None
    except Exception:
        return None


def str_of(error: BaseException) -> str:
    """Returns the text of an exception, whatever its `__str__` does."""
    try:
        return str(error)
    except BaseException as broken:
        return f"(no text: {broken!r})"


def printable(text: str) -> str:
    """Returns the text with lone surrogates spelled out, so that it can be sent as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def shortened(text: str) -> str:
    """Cuts the middle out of a text that is too long to read."""
    if len(text) <= MAX_TEXT:
        return text
    half = MAX_TEXT // 2
    return f"{text[:half]}\n... {len(text) - MAX_TEXT:,} characters left out ...\n{text[-half:]}"
