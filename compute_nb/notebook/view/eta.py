"""This module is the ETA: when the rest of a run may be done, as a range, with what that rests on."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

_FEWEST = 3
_NEWEST = 64
_PACE_OF = 12
_CHANGED = 1.6
_SHORT_S = 0.05
_SEEN_IN_TIME_S = 1.0
_BETWEEN_S = 0.5
_OVERDUE_S = 1.0
_QUIET_S = 3.0


@dataclass(frozen=True, slots=True)
class Work:
    """What an estimate is made from; times are seconds since the epoch.

    Attributes:
        recent: (began or None, ended) of the tasks that ended last, in that order.
        finished: How many have ended by themselves.
        waiting: How many have not begun.
        running: When those that run began.
    """

    recent: Sequence[tuple[float | None, float]]
    finished: int
    waiting: int
    running: Sequence[float]
    now: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long the rest may take.

    Attributes:
        low_s, high_s: The range in seconds.
        finished: From how many finished tasks.
        workers: How many of them ran at once; 0 if that is not known.
        now: How many run at once now.
        changed: Whether they are those since the pace changed.
        overdue: How many that run now have run longer than any before.
        stuck: Whether these are all that run; then there is no range.
    """

    low_s: float
    high_s: float
    finished: int
    workers: int = 0
    now: int = 0
    changed: bool = False
    overdue: int = 0
    stuck: bool = False

    def told(self) -> str:
        """Returns "about 2 to 4 min left, from 31 finished tasks on 2 workers"."""
        longer = f"{self.overdue} task{' runs' if self.overdue == 1 else 's run'} longer than any before"
        if self.stuck:
            return f"no estimate: {longer}"
        on = f" on {self.workers} worker{'s' * (self.workers != 1)}" if self.workers else ""
        since = " since the pace changed" if self.changed else ""
        other = self.workers and abs(self.now - self.workers) > self.workers / 5
        now = f"; {self.now} run now" if other else ""
        also = f"; {longer}" if self.overdue else ""
        left = _range(self.low_s, self.high_s)
        return f"{left} left, from {self.finished:,} finished tasks{on}{since}{now}{also}"


def estimate(work: Work) -> Estimate | None:
    """Returns how long the rest may take; None if too little is known, or nothing moves."""
    rest = work.waiting + len(work.running)
    if not rest or work.finished < _FEWEST or len(work.recent) < _FEWEST:
        return None
    recent, changed = _since_change(work.recent)
    finished = len(recent) if changed else work.finished
    spans = [(begun, ended) for begun, ended in recent if begun is not None]
    if len(spans) < _FEWEST:
        return _by_rate(recent, rest, finished, changed)
    runs = [max(0.0, ended - begun) for begun, ended in spans]
    workers = _most_at_once(spans[-_NEWEST:])
    mean_s = statistics.fmean(runs)
    now = _at_once_now(work, workers, mean_s)
    if not now:
        return None
    slot_s = max(mean_s, _pace_s(spans, workers), 1e-6)
    sound = [work.now - at for at in work.running if work.now - at <= max(runs) + _OVERDUE_S]
    overdue = len(work.running) - len(sound)
    if work.running and not sound:
        return Estimate(0, 0, finished, workers, now, overdue=overdue, stuck=True)
    if not work.waiting:
        return _of_the_last(sound, runs, Estimate(0, 0, finished, workers, workers, changed, overdue))
    started = sum(max(slot_s - ran_s, 0.1 * slot_s) for ran_s in sound)
    now = max(now - overdue, 1)
    all_s = (work.waiting * slot_s + started) / now
    spread = statistics.pstdev(runs) / mean_s if mean_s else 0.0
    unsure = min(0.9, max(0.1, 1.3 * spread * math.sqrt(1 / len(runs) + 1 / rest)))
    last_s = 0.5 * mean_s if now > 1 else 0.0
    low_s, high_s = all_s * (1 - unsure), all_s * (1 + unsure) + last_s
    return Estimate(low_s, high_s, finished, workers, now, changed, overdue)


def _since_change(
    recent: Sequence[tuple[float | None, float]],
) -> tuple[Sequence[tuple[float | None, float]], bool]:
    """Returns the newest part alone if its tasks take another time than those before."""
    if len(recent) < _PACE_OF:
        return recent, False
    cut = -max(len(recent) // 4, _PACE_OF // 3)
    faster, slower = sorted([_quartiles_s(recent[:cut]), _quartiles_s(recent[cut:])], key=lambda one: one[1])
    apart = slower[0] > faster[2] and slower[1] > _CHANGED * max(faster[1], _SHORT_S)
    return (recent[cut:], True) if apart else (recent, False)


def _quartiles_s(recent: Sequence[tuple[float | None, float]]) -> Sequence[float]:
    runs = [ended - begun for begun, ended in recent if begun is not None]
    return statistics.quantiles(runs, n=4, method="inclusive") if len(runs) > 1 else (0.0, 0.0, 0.0)


def _most_at_once(spans: Sequence[tuple[float, float]]) -> int:
    """Returns how many of these ran at the same time at most."""
    # An end before a begin of the same moment: one worker does both.
    steps = sorted([(begun, 1) for begun, _ in spans] + [(ended, -1) for _, ended in spans])
    most = at_once = 0
    for _, step in steps:
        at_once += step
        most = max(most, at_once)
    return most


def _at_once_now(work: Work, workers: int, mean_s: float) -> int:
    """Returns how many run at once now; 0 if nothing does."""
    if not work.waiting:
        return len(work.running)
    if work.running and mean_s >= _SEEN_IN_TIME_S:
        # News of an end comes before news of the next begin.
        between = sum(work.now - ended < _BETWEEN_S for _, ended in work.recent)
        return min(len(work.running) + between, max(workers, len(work.running)))
    last = work.recent[-1][1]
    return workers if work.now - last < max(_QUIET_S, 3 * mean_s) else len(work.running)


def _pace_s(spans: Sequence[tuple[float, float]], workers: int) -> float:
    """Returns a worker's seconds for each task with what lies between two; 0 if that can't be told yet."""
    if len(spans) < 4 * workers:
        return 0.0
    return workers * (spans[-1][1] - spans[0][1]) / (len(spans) - 1)


def _of_the_last(ran: Sequence[float], runs: Sequence[float], grounds: Estimate) -> Estimate:
    """Returns the rest of tasks that all run already, for so long."""
    newest = min(ran)
    low_s, high_s = statistics.median(runs) - newest, max(runs) - newest
    return replace(grounds, low_s=max(0.0, 0.9 * low_s), high_s=max(0.0, 1.1 * high_s))


def _by_rate(
    recent: Sequence[tuple[float | None, float]], rest: int, finished: int, changed: bool
) -> Estimate | None:
    """Returns an estimate where nobody says when tasks began: from how they ended one after the other."""
    gaps = [later[1] - earlier[1] for earlier, later in itertools.pairwise(recent)]
    mean_s = statistics.fmean(gaps)
    if mean_s <= 0:
        return None
    unsure = min(0.9, max(0.15, 1.3 * statistics.pstdev(gaps) / mean_s / math.sqrt(len(gaps))))
    return Estimate(rest * mean_s * (1 - unsure), rest * mean_s * (1 + unsure), finished, changed=changed)


def _range(low_s: float, high_s: float) -> str:
    """Returns "about 2 to 4 min"; nobody wants more digits than are known."""
    if high_s < 8:
        return "a few seconds"
    for limit_s, unit_s, unit, step in _UNITS:
        if high_s < limit_s:
            low = max(step, step * math.floor(low_s / unit_s / step))
            high = max(low, step * math.ceil(high_s / unit_s / step))
            return f"about {low:g} {unit}" if low == high else f"about {low:g} to {high:g} {unit}"
    raise AssertionError(high_s)


_UNITS = (
    (30, 1, "s", 1),
    (100, 1, "s", 5),
    (95 * 60, 60, "min", 1),
    (48 * 3600, 3600, "h", 0.5),
    (math.inf, 86_400, "days", 0.5),
)
