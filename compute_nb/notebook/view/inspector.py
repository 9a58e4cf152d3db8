"""This module is the inspector: all that is known of one task, for whoever asks for it."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence

from compute_nb.errors import ComputeError
from compute_nb.future import ComputeFuture
from compute_nb.notebook.runs import failures
from compute_nb.notebook.runs.results import losses, said
from compute_nb.notebook.runs.run import Run
from compute_nb.notebook.view import drawing, look
from compute_nb.notebook.view.terminal import last_rows
from compute_nb.notebook.view.times import moment, span
from compute_nb.tasks import TaskState

_MISSED = frozenset({TaskState.FAILED, TaskState.LOST, TaskState.CANCELLED})


def next_missed(run: Run, after: int) -> int | None:
    """Returns the place of the next task without a value, from the beginning again; None if all have one."""
    count = len(run.futures)
    for step in range(1, count + 1):
        place = (after + step) % count
        if run.futures[place].state in _MISSED:
            return place
    return None


def markup(run: Run, index: int, max_lines: int) -> str:
    """Returns what is known of a task as HTML; may ask the service for what came of it."""
    future = run.futures[index]
    try:
        error, text, point = failures.text_of(future), _printed(run, index, future), run.point(index)
    except ComputeError as problem:  # a reloaded one, and the service is out of reach
        error, text, point = f"{problem}", "", ""
    glyph, colour = look.GLYPHS[future.state]
    state = f'<span aria-hidden="true" style="color:{colour};font-weight:bold">{glyph}</span>&nbsp;'
    rows = "".join(
        f'<div style="opacity:.75">{html.escape(name)}</div><div dir="auto">{shown}</div>'
        for name, shown in _rows(run, index, point, state)
    )
    grid = "display:grid;grid-template-columns:max-content 1fr;gap:0 1em"
    return (
        f'<div style="{look.BOX};{grid}">{rows}</div>'
        + (_error(error) if error else "")
        + drawing.warnings(losses(future))
        + (look.tail(last_rows(text, max_lines)) if text else "")
    )


def _rows(run: Run, index: int, point: str, mark: str) -> list[tuple[str, str]]:
    future = run.futures[index]
    environment = future.environment
    shown = [
        ("task", html.escape(f"{index:,} of 0 to {len(run.futures) - 1:,}") if len(run.futures) > 1 else ""),
        ("parameters", html.escape(point)),
        ("state", f"{mark}{html.escape(future.state.word)}{_attempt(future)}"),
        ("task id", f'<code style="{look.ID}">{html.escape(future.task_id or "")}</code>'),
        ("endpoint", html.escape(run.endpoint)),
        ("host", html.escape(str(environment.get("hostname") or ""))),
        ("times", html.escape(", ".join(_times(future)))),
    ]
    return [(name, text) for name, text in shown if text]


def _attempt(future: ComputeFuture) -> str:
    return f", attempt {future.attempt + 1}" if future.attempt else ""


def _times(future: ComputeFuture) -> Sequence[str]:
    submitted, began, ended = future.submitted_at, future.started_at, future.ended_at
    told = [] if submitted is None else [f"submitted {moment(submitted)}"]
    if submitted is not None and began is not None:
        told.append(f"waited {span(began - submitted)}")
    if began is not None:
        until = ended if ended is not None else time.time()
        told.append(f"{'ran' if ended is not None else 'has run for'} {span(until - began)}")
    elif submitted is not None and ended is None:
        told.append(f"has waited {span(time.time() - submitted)}")
    return told


def _error(text: str) -> str:
    reason = failures.reason_in(text)
    if reason == text.strip():
        return drawing.details([reason])
    return drawing.folded(reason, text)


def _printed(run: Run, index: int, future: ComputeFuture) -> str:
    if not future.done():
        return run.live(index)
    return said(future)
