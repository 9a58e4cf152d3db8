"""This module is the squares: every task of a run, or every range of its tasks, as a small mark.

A mark says its state by colour, by shape and by a letter; one that stands for several tasks says the worst
of their states, and by its level how many of them have ended.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compute_nb.notebook.runs.census import STATES
from compute_nb.notebook.view import look
from compute_nb.tasks import TaskState

MOST = 400
_WORST_FIRST = (
    TaskState.FAILED,
    TaskState.LOST,
    TaskState.CANCELLED,
    TaskState.RUNNING,
    TaskState.DELIVERED,
    TaskState.WAITING,
    TaskState.SUCCEEDED,
)
_LETTERS = {
    TaskState.SUCCEEDED: "s",
    TaskState.FAILED: "f",
    TaskState.LOST: "l",
    TaskState.CANCELLED: "c",
    TaskState.RUNNING: "r",
    TaskState.DELIVERED: "d",
    TaskState.WAITING: "w",
}
_MARKS = {TaskState.FAILED: "✕", TaskState.LOST: "?", TaskState.CANCELLED: "–", TaskState.RUNNING: "▸"}
_NAMED = 10
_ROW = "font:15px/1.2 var(--jp-code-font-family, monospace);letter-spacing:1px;overflow-wrap:anywhere"


@dataclass(frozen=True, slots=True)
class Square:
    """One or more tasks, from `start` to before `stop` in map order.

    Attributes:
        counts: How many of them are in which state.
    """

    start: int
    stop: int
    counts: Mapping[TaskState, int]

    @property
    def worst(self) -> TaskState:
        """The state that a person should know of first."""
        return next(state for state in _WORST_FIRST if self.counts.get(state))

    @property
    def ended(self) -> float:
        """The share of tasks that have ended."""
        done = sum(count for state, count in self.counts.items() if state.ended)
        return done / (self.stop - self.start)


def squares(codes: bytes) -> list[Square]:
    """Returns 400 squares at most for tasks in these states, places in `STATES`."""
    each = _tasks_each(len(codes))
    found = []
    for start in range(0, len(codes), each):
        stop = min(start + each, len(codes))
        part = codes[start:stop]
        counts = {STATES[code]: part.count(code) for code in set(part)}
        found.append(Square(start, stop, counts))
    return found


def compact(codes: bytes) -> dict[str, Any]:
    """Returns the same for programs: a letter for the worst state of each square, and tasks in a square."""
    states = "".join(_LETTERS[square.worst] for square in squares(codes))
    return {"tasks_each": _tasks_each(len(codes)), "states": states}


def markup(codes: bytes, name: Callable[[int], str]) -> str:
    """Returns them as HTML: marks for eyes and, for a screen reader, a sentence on what failed.

    Args:
        name: What people call a task.
    """
    found = squares(codes)
    each = _tasks_each(len(codes))
    size = " cnb-big" if len(found) <= 60 else ""
    marks = "".join(_mark(square, name) for square in found)
    told = f"{html.escape(_failed(found, name))}"
    note = f'<div class="cnb-aside">each square stands for {each:,} tasks</div>' if each > 1 else ""
    return (
        f'<div class="cnb-squares{size}" aria-hidden="true">{marks}</div>{note}'
        f'<div class="cnb-unseen">{told}</div>'
    )


def still(codes: bytes, name: Callable[[int], str]) -> str:
    """Returns them as signs that say the same where there is no style sheet; those that are done together."""
    found = squares(codes)
    parts = []
    for worst, group in itertools.groupby(found, key=lambda one: one.worst):
        sign, colour = look.GLYPHS[worst] if worst is not TaskState.SUCCEEDED else ("■", look.GOOD)
        alike = list(group)
        if worst is TaskState.SUCCEEDED:
            parts.append(f'<span style="color:{colour}">{sign * len(alike)}</span>')
        else:
            titles = (html.escape(_title(one, name)) for one in alike)
            parts += (f'<b style="color:{colour}" title="{title}">{sign}</b>' for title in titles)
    each = _tasks_each(len(codes))
    note = f'<div style="{look.ASIDE}">each sign stands for {each:,} tasks</div>' if each > 1 else ""
    told = html.escape(_failed(found, name))
    hidden = f'<div style="{look.UNSEEN}">{told}</div>' if told else ""
    return f'<div style="{_ROW}" aria-hidden="true">{"".join(parts)}</div>{note}{hidden}'


def _tasks_each(total: int) -> int:
    return max(1, -(-total // MOST))


def _mark(square: Square, name: Callable[[int], str]) -> str:
    worst = square.worst
    mark, title = _MARKS.get(worst, ""), _title(square, name)
    if square.stop - square.start == 1:
        return f'<i class="{_LETTERS[worst]}" title="{html.escape(title)}">{mark}</i>'
    level = f' style="--p:{100 * square.ended:.0f}%"' if 0 < square.ended < 1 else ""
    kind = f"{_LETTERS[worst]} n{' z' if square.ended == 1 else ''}"
    return f'<i class="{kind}" title="{html.escape(title)}"{level}>{mark}</i>'


def _title(square: Square, name: Callable[[int], str]) -> str:
    if square.stop - square.start == 1:
        return f"{name(square.start)}: {square.worst.word}"
    said = ", ".join(f"{square.counts[s]:,} {s.word}" for s in _WORST_FIRST if square.counts.get(s))
    return f"tasks {square.start:,} to {square.stop - 1:,}: {said}"


def _failed(found: Sequence[Square], name: Callable[[int], str]) -> str:
    bad = [square for square in found if square.worst in (TaskState.FAILED, TaskState.LOST)]
    if not bad:
        return ""
    told = [
        name(one.start) if one.stop - one.start == 1 else f"some of tasks {one.start} to {one.stop - 1}"
        for one in bad[:_NAMED]
    ]
    more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    return f"failed or lost: {', '.join(told)}{more}"
