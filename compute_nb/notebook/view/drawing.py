"""This module is the drawing of a panel: how a run stands as HTML and text, all of it escaped."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence

from compute_nb.notebook.runs.run import Run, Snapshot
from compute_nb.notebook.tables import marked
from compute_nb.notebook.view import look
from compute_nb.notebook.view.terminal import last_rows
from compute_nb.notebook.view.times import Times, day
from compute_nb.tasks import TaskState


def bar(run: Run, snapshot: Snapshot) -> str:
    """Returns the line and the bar of a panel as HTML."""
    return f'<div style="{look.BOX}">{_said(run, snapshot)}{_track(run, snapshot)}</div>'


def still(run: Run, snapshot: Snapshot) -> str:
    """Returns how a run stands that goes on, where nothing will move: no bar, and when that was."""
    as_of = html.escape(f"as of {time.strftime('%Y-%m-%d %H:%M:%S')}")
    group = f" · {group_id(run)}" if run.task_group_id else ""
    told = f'<span style="{look.ASIDE}">{as_of}{group}</span>'
    return f'<div style="{look.BOX}">{_said(run, snapshot)} {told}</div>'


def _said(run: Run, snapshot: Snapshot) -> str:
    counts = ", ".join(
        f'<span style="white-space:nowrap">{_glyph(snapshot, state)}{html.escape(text)}</span>'
        for state, text in snapshot.parts()
    )
    return (
        f"<b><bdi>{html.escape(run.title)}</bdi></b> on "
        f"<bdi>{html.escape(run.endpoint)}</bdi>: {counts or 'no tasks'}"
    )


def _glyph(snapshot: Snapshot, state: TaskState | None) -> str:
    glyph, colour = look.EXIT if state is None else look.GLYPHS[state]
    if state is not None and not snapshot.counts.get(state):
        return ""
    return f'<span aria-hidden="true" style="color:{colour};font-weight:bold">{glyph}</span>&nbsp;'


def _track(run: Run, snapshot: Snapshot) -> str:
    total = max(snapshot.total, 1)
    parts = "".join(
        f'<div style="width:{100 * snapshot.counts[state] / total:.2f}%;min-width:{_least(state)};'
        f'background:{colour}"></div>'
        for state, colour in look.SEGMENTS
        if snapshot.counts.get(state)
    )
    role = (
        f'role="progressbar" aria-label="{html.escape(run.title)}" aria-valuemin="0" '
        f'aria-valuemax="{snapshot.total}" aria-valuenow="{snapshot.done}" '
        f'aria-valuetext="{html.escape(snapshot.sentence())}"'
    )
    return f'<div {role} style="{look.TRACK}">{parts}</div>'


def _least(state: TaskState) -> str:
    """Returns how wide its part of a bar is at least: one failure of hundreds is seen too."""
    return "5px" if state in (TaskState.FAILED, TaskState.LOST) else "0"


def aside(run: Run, times: Times, left: str = "", *, shows_id: bool = False) -> str:
    """Returns the small line below the bar as HTML: times, what is left, the task group."""
    parts = [html.escape(part) for part in (times.told(), left) if part]
    if shows_id and run.task_group_id:
        parts.append(group_id(run))
    return f'<div style="{look.BOX};{look.ASIDE}">{" · ".join(parts)}</div>' if parts else ""


def group_id(run: Run) -> str:
    """Returns the id of the task group as HTML."""
    return f'task group <code style="{look.ID}">{html.escape(run.task_group_id or "")}</code>'


def begun(run: Run, total: int) -> str:
    """Returns what stands in the notebook while the bar moves below it, and what stays if the kernel dies."""
    again = html.escape(f"after a restart: %compute reload {run.task_group_id}")
    told = html.escape(begun_line(run, total).removeprefix(run.title))
    later = f' <span style="{look.ASIDE}">{again}</span>'
    title = f"<b><bdi>{html.escape(run.title)}</bdi></b>"
    return f'<div class="cnb-begun" style="{look.BOX}">{title}{told}{later}</div>'


def begun_line(run: Run, total: int) -> str:
    """Returns the same as one line of text."""
    return f"{run.title}: {tasks(total)} submitted to {run.endpoint} at {day(run.submitted_at)}"


def submitted(run: Run, total: int) -> str:
    """Returns what stands where nobody waits for its end: no time, no id."""
    told = html.escape(f": {tasks(total)} submitted to {run.endpoint}")
    return f'<div style="{look.BOX}"><b><bdi>{html.escape(run.title)}</bdi></b>{told}</div>'


def tasks(count: int) -> str:
    """Returns "1 task", "3 tasks"."""
    return f"{count:,} task{'s' * (count != 1)}"


def details(lines: Sequence[str], printed: str = "") -> str:
    """Returns notes and printed text below the bar as HTML, "" if there are none."""
    rows = "".join(f'<div dir="auto">{marked(line)}</div>' for line in lines)
    text = f'<pre style="{look.PRE}">{html.escape(printed)}</pre>' if printed else ""
    return f'<div style="{look.BOX}">{rows}{text}</div>' if rows or text else ""


def warnings(lines: Sequence[str]) -> str:
    """Returns lines that nobody should overlook as HTML, "" if there are none."""
    glyph, colour = look.EXIT
    mark = f'<span aria-hidden="true" style="color:{colour};font-weight:bold">{glyph}</span>&nbsp;'
    rows = "".join(f'<div dir="auto">{mark}{marked(line)}</div>' for line in lines)
    return f'<div style="{look.BOX}">{rows}</div>' if rows else ""


def small(text: str) -> str:
    """Returns a line that stands in the place of buttons as HTML."""
    return f'<div style="{look.BOX};{look.ASIDE}" dir="auto">{marked(text)}</div>'


def folded(summary: str, text: str) -> str:
    """Returns text that is shown when somebody opens it."""
    body = f'<pre style="{look.PRE}">{html.escape(text)}</pre>'
    head = f'<summary style="{look.SUMMARY}">{marked(summary)}</summary>'
    return f'<details style="{look.BOX}">{head}{body}</details>'


def speech(run: Run, places: Sequence[int], rows: int) -> str:
    """Returns the last rows of what each of these open tasks has printed, as HTML."""
    parts = []
    for place in places:
        text = last_rows(run.live(place), rows)
        name = html.escape(run.known_place(place)) if len(run.futures) > 1 else ""
        head = f'<div style="{look.ASIDE}">{name}</div>' if name else ""
        parts.append(head + look.tail(text) if text else "")
    return "".join(parts)


def line(run: Run, snapshot: Snapshot) -> str:
    """Returns the panel as one line of text, without ids and times."""
    return f"{run.title} on {run.endpoint}: {snapshot.sentence()}"
