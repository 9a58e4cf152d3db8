"""This module is the drawing of a panel: snapshots to HTML and text, all of it escaped."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence

from compute_nb.notebook.run import Run, Snapshot
from compute_nb.notebook.terminal import last_rows
from compute_nb.tasks import TaskState

_COLOURS = (
    (TaskState.SUCCEEDED, "var(--jp-success-color1, #2e7d32)"),
    (TaskState.FAILED, "var(--jp-error-color1, #c62828)"),
    (TaskState.LOST, "var(--jp-error-color1, #c62828)"),
    (TaskState.CANCELLED, "var(--jp-warn-color1, #b26a00)"),
    (TaskState.RUNNING, "var(--jp-brand-color1, #1565c0)"),
)
_BOX = (
    "font-family:var(--jp-ui-font-family, system-ui, sans-serif);font-size:13px;line-height:1.5;"
    "color:var(--jp-ui-font-color1, inherit);overflow-wrap:anywhere"
)
_PRE = (
    "margin:4px 0;padding:4px 8px;max-height:20em;overflow:auto;white-space:pre-wrap;"
    "font-family:var(--jp-code-font-family, monospace);font-size:12px;"
    "background:var(--jp-layout-color2, rgba(128,128,128,.12));color:inherit"
)
_ASIDE = "opacity:.7;font-size:11px"
_SPEAKERS = 3
_SPOKEN_ROWS = 10
_DATE = "%Y-%m-%d %H:%M"
_GLYPHS = {"done": "✓", "failed": "✗", "cancelled": "■", "running": "●", "waiting": "○"}


def bar(run: Run, snapshot: Snapshot, *, times: bool = True) -> str:
    """Returns the line and the bar of a panel as HTML.

    Args:
        times: Whether durations are shown; not where output is compared.
    """
    times_told = _times(run, snapshot) if times else ""
    return f'<div style="{_BOX}">{_said(run, snapshot)}{times_told}{_track(run, snapshot)}</div>'


def still(run: Run, snapshot: Snapshot) -> str:
    """Returns how a run stands that goes on, where nothing will move: no bar, and the time of day."""
    as_of = html.escape(f"as of {time.strftime('%H:%M:%S')}")
    return f'<div style="{_BOX}">{_said(run, snapshot)} <span style="{_ASIDE}">{as_of}</span></div>'


def _said(run: Run, snapshot: Snapshot) -> str:
    return (
        f'<span aria-hidden="true">{_GLYPHS[snapshot.state]}</span>&nbsp;<b>{html.escape(run.title)}</b> on '
        f"{html.escape(run.endpoint)}: {html.escape(snapshot.sentence())}"
    )


def _times(run: Run, snapshot: Snapshot) -> str:
    parts = [duration(snapshot)]
    if snapshot.ended and run.task_group_id:
        parts.append(f"task group {run.task_group_id}")
    return "".join(f' <span style="{_ASIDE}">{html.escape(part)}</span>' for part in parts if part)


def _track(run: Run, snapshot: Snapshot) -> str:
    total = max(snapshot.total, 1)
    parts = "".join(
        f'<div style="width:{100 * snapshot.counts[state] / total:.2f}%;background:{colour}"></div>'
        for state, colour in _COLOURS
        if snapshot.counts.get(state)
    )
    sentence = snapshot.sentence()
    role = (
        f'role="progressbar" aria-label="{html.escape(run.title)}" aria-valuemin="0" '
        f'aria-valuemax="{snapshot.total}" aria-valuenow="{snapshot.done}" '
        f'aria-valuetext="{html.escape(sentence)}"'
    )
    track = (
        "display:flex;height:8px;margin:3px 0;overflow:hidden;border-radius:4px;"
        "background:var(--jp-layout-color3, rgba(128,128,128,.3))"
    )
    return f'<div {role} style="{track}">{parts}</div>'


def begun(run: Run, total: int) -> str:
    """Returns what stands in the notebook while the bar moves below it, and what stays if the kernel dies."""
    at = time.localtime(run.submitted_at)
    again = html.escape(f"after a restart: %compute reload {run.task_group_id}")
    told = html.escape(f": {tasks(total)} submitted to {run.endpoint} at {time.strftime(_DATE, at)}")
    aside = f'<span style="{_ASIDE}">{again}</span>'
    return f'<div style="{_BOX}"><b>{html.escape(run.title)}</b>{told} {aside}</div>'


def tasks(count: int) -> str:
    """Returns "1 task", "3 tasks"."""
    return f"{count} task{'s' * (count != 1)}"


def moment(at: float) -> str:
    """Returns the time of day, with the date unless it is today."""
    then = time.localtime(at)
    today = then[:3] == time.localtime()[:3]
    return time.strftime("%H:%M:%S" if today else _DATE, then)


def details(lines: Sequence[str], printed: str = "") -> str:
    """Returns notes and printed text below the bar as HTML, "" if there are none."""
    rows = "".join(f"<div>{html.escape(line)}</div>" for line in lines)
    text = f'<pre style="{_PRE}">{html.escape(printed)}</pre>' if printed else ""
    return f'<div style="{_BOX}">{rows}{text}</div>' if rows or text else ""


def speech(run: Run) -> str:
    """Returns what the open tasks that printed last have printed, its last lines, as HTML."""
    speakers = run.speakers(_SPEAKERS)
    parts = []
    for index in speakers:
        rows = last_rows(run.live(index), max(2, _SPOKEN_ROWS // len(speakers)))
        head = f'<div style="{_ASIDE}">{html.escape(run.place(index))}</div>' if run.group is not None else ""
        parts.append(f'{head}<pre style="{_PRE}">{rows}</pre>' if rows else "")
    return "".join(parts)


def line(run: Run, snapshot: Snapshot) -> str:
    """Returns the panel as one line of text, without ids and times."""
    return f"{run.title} on {run.endpoint}: {snapshot.sentence()}"


def duration(snapshot: Snapshot) -> str:
    """Returns how long it waited and ran, as far as it is known."""
    if snapshot.started_at is None:
        return ""
    parts = []
    waited = snapshot.started_at - snapshot.submitted_at
    if waited >= 1:
        parts.append(f"waited {_span(waited)}")
    if snapshot.ended_at is not None:
        parts.append(f"ran {_span(snapshot.ended_at - snapshot.started_at)}")
    return ", ".join(parts)


def _span(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
