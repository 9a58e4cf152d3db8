"""This module is the times: seconds as people say them, and how long the tasks of a run waited and ran."""

from __future__ import annotations

import time
from dataclasses import dataclass

from compute_nb.notebook.runs.census import Census

_DATE = "%Y-%m-%d %H:%M"


@dataclass(frozen=True, slots=True)
class Times:
    """How long a run takes, in seconds; None where that is not known.

    Attributes:
        waited_s: The median from a task's submit to its begin.
        ran_s: The median of a task's run.
        elapsed_s: From the submit of all to the last end, or to now; without the time in which none was open.
        tasks: How many there are.
        ended: Whether all have ended.
    """

    waited_s: float | None
    ran_s: float | None
    elapsed_s: float | None
    tasks: int
    ended: bool

    def told(self) -> str:
        """Returns "waited 0.2 s and ran 3.1 s (medians), 48 s in all"."""
        if not self.tasks:
            return ""
        parts = []
        if self.waited_s is not None:
            parts.append(f"waited {span(self.waited_s)}")
        if self.ran_s is not None:
            parts.append(f"ran {span(self.ran_s)}")
        medians = f" (median{'s' * (len(parts) > 1)})" if self.tasks > 1 else ""
        told = [f"{' and '.join(parts)}{medians}"] if parts else []
        if self.elapsed_s is not None and self.ended:
            told.append(f"{span(self.elapsed_s)} in all")
        elif self.elapsed_s is not None and self.elapsed_s >= 1:
            told.append(f"{_whole(self.elapsed_s)} so far")
        return ", ".join(told)


def times_of(census: Census) -> Times:
    """Returns the times of a run as it was counted last."""
    snapshot = census.last
    until = snapshot.ended_at if snapshot.ended else time.time()
    elapsed_s = None if until is None else max(0.0, until - census.submitted_at - census.idle_s)
    return Times(census.waits.median, census.runs.median, elapsed_s, snapshot.total, snapshot.ended)


def _whole(seconds: float) -> str:
    """Returns a time that grows, which nobody wants to see flicker."""
    return f"{seconds:.0f} s" if seconds < 10 else span(seconds)


def moment(at: float) -> str:
    """Returns the time of day, with the date unless it is today."""
    then = time.localtime(at)
    today = then[:3] == time.localtime()[:3]
    return time.strftime("%H:%M:%S" if today else _DATE, then)


def day(at: float) -> str:
    """Returns date and time to the minute."""
    return time.strftime(_DATE, time.localtime(at))


def span(seconds: float) -> str:
    """Returns "37 ms", "3.1 s", "48 s", "3 min 20 s", "2 h 5 min"."""
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
