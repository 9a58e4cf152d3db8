"""This module is the end of a task as an engine tells it, before it is somebody's result."""

from __future__ import annotations

from typing import NamedTuple

from compute_nb.tasks import ErrorCode, Outcome


class End(NamedTuple):
    """How a task ends: the middle of a `RunResult`."""

    outcome: Outcome
    data: str
    error_code: str | None


CANCELLED = End(Outcome.CANCELLED, "the task was cancelled", ErrorCode.CANCELLED)


def failed(text: str, code: str = ErrorCode.REMOTE) -> End:
    """Returns the end of a task that could not be run as it asked."""
    return End(Outcome.ERROR, text, code)


def out_of_time(walltime_s: float) -> End:
    """Returns the end of a task that was ended after its walltime."""
    text = (
        f"WalltimeExceeded: the task had run for its walltime of {walltime_s:g} s and was ended; "
        "give it a longer walltime or less to do"
    )
    return failed(text, ErrorCode.WALLTIME)
