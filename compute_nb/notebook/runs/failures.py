"""This module is the failures of a run: why tasks have no value, equal ones told together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from compute_nb.future import ComputeFuture
from compute_nb.notebook.runs import frames
from compute_nb.notebook.runs.results import facts
from compute_nb.notebook.runs.run import Run
from compute_nb.tasks import ErrorCode, TaskState

_FAILED = frozenset({TaskState.FAILED, TaskState.LOST})
_CHANCE = re.compile(r"\bpid \d+|\b0x[0-9a-f]+|\btask [0-9a-f-]{36}")
_CODES = frozenset({ErrorCode.LOST, ErrorCode.EXPIRED, ErrorCode.WORKER_DIED, ErrorCode.WALLTIME})
_NAMED = 3


@dataclass(slots=True)
class Failure:
    """What some tasks failed of.

    Attributes:
        text: The traceback or reason of the first of them.
        indices: Their places in map order.
    """

    text: str
    indices: list[int] = field(default_factory=list)

    @property
    def reason(self) -> str:
        """The one line that says most."""
        return reason_in(self.text)

    def places(self, run: Run) -> str:
        """Returns "s=1, s=4 and 7 more"."""
        first = self.indices[:_NAMED]
        told = run.group.points_of(first) if run.group is not None else map(run.place, first)
        named = ", ".join(told)
        more = len(self.indices) - _NAMED
        return f"{named} and {more} more" if more > 0 else named


def failed(run: Run) -> list[int]:
    """Returns the places of the tasks that have failed or are lost."""
    return [index for index, future in enumerate(run.futures) if future.state in _FAILED]


def text_of(future: ComputeFuture) -> str:
    """Returns the traceback or reason of a task that has failed, "" for others."""
    if future.state not in _FAILED:
        return ""
    return named(str(facts(future).get("traceback") or "").strip("\n"), future) or _own_text(future)


def named(text: str, future: ComputeFuture) -> str:
    """Returns a reason that no code of the task's has given with the name of its error before it."""
    code = ErrorCode.LOST if future.state is TaskState.LOST else future.error_code
    known = code in _CODES and text and code not in text.partition("\n")[0]
    return f"{code}: {text}" if known else text


def whole(future: ComputeFuture) -> str:
    """Returns the traceback of a task that has failed with the frames that others leave out."""
    return frames.listed(facts(future).get("trace")) or text_of(future)


def reason(future: ComputeFuture) -> str:
    """Returns why a task has no value, in one line."""
    return reason_in(text_of(future)) or future.state.word


def same_reason(run: Run, indices: Iterable[int]) -> list[Failure]:
    """Returns failures, those with the same reason together, in map order."""
    return _gathered(run, indices, whole=False)


def same_place(run: Run, indices: Iterable[int]) -> list[Failure]:
    """Returns failures, those of the same kind on the same line together, in map order."""
    return _gathered(run, indices, whole=True)


def _gathered(run: Run, indices: Iterable[int], *, whole: bool) -> list[Failure]:
    found: dict[Sequence[str], Failure] = {}
    for index in indices:
        text = text_of(run.futures[index])
        if not text:
            continue
        *frames, last = _CHANCE.sub("", text).splitlines()
        key = (*frames, last.partition(":")[0]) if whole and frames else (_CHANCE.sub("", reason_in(text)),)
        found.setdefault(key, Failure(text)).indices.append(index)
    return list(found.values())


def reason_in(text: str) -> str:
    """Returns the one line of a traceback or reason that says most."""
    lines = text.strip().splitlines()
    if not lines:
        return ""
    if lines[0].startswith("  + Exception"):
        return lines[-1]
    if not lines[0].startswith("Traceback"):
        return lines[0]
    # What follows the frames, which are indented; the message may have more lines, and notes below it.
    last = max(place for place, line in enumerate(lines) if line.startswith("Traceback"))
    said = (line for line in lines[last + 1 :] if line.strip() and not line[0].isspace())
    return next(said, lines[-1])


def _own_text(future: ComputeFuture) -> str:
    error = future.exception(0)
    return "" if error is None else f"{type(error).__name__}: {error}"
