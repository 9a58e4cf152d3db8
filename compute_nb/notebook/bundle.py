"""This module is the bundle: a run as display data that reads the same after any restart."""

from __future__ import annotations

import time
from typing import Any

from compute_nb.notebook import drawing, failures
from compute_nb.notebook.results import facts, said
from compute_nb.notebook.run import Run, Snapshot
from compute_nb.notebook.shown import holds_text, plain_results, results_bundle
from compute_nb.notebook.terminal import plain

__all__ = ["PANEL_MIME", "bundle", "capped", "notes", "output", "plain_results", "reasons", "results_bundle"]

PANEL_MIME = "application/vnd.compute-nb.panel+json"
_FAILURES = 5
_LOOKED_AT = 500  # reading why a task failed takes a while; with 100,000 of them nobody reads all reasons


def bundle(
    run: Run,
    snapshot: Snapshot,
    *,
    max_lines: int,
    headless: bool = False,
    told_elsewhere: bool = False,
    live_below: bool = False,
) -> Any:
    """Returns data and metadata of the output that stays.

    Args:
        max_lines: How much printed text is shown.
        headless: Whether text is kept free of ids and times, so that a run can be compared with the last.
        told_elsewhere: Whether the cell itself prints what its tasks printed, and raises what failed.
        live_below: Whether a widget below it shows how the tasks stand.
    """
    entry = {
        "id": run.task_group_id,
        "endpoint": run.endpoint,
        "cell_id": run.cell_id,
        "name": run.name,
        "label": run.label,
        "tasks": snapshot.total,
        "outputs": list(run.outputs),
        "submitted_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(snapshot.submitted_at)),
    }
    panel = {
        "version": 1,
        "entry": entry,
        "counts": {state.value: count for state, count in snapshot.counts.items() if count},
        "started_at": snapshot.started_at,
        "ended_at": snapshot.ended_at,
    }
    text = "" if headless else drawing.line(run, snapshot)
    quiet = headless or told_elsewhere
    lines = notes(run) + ([] if quiet else reasons(run, snapshot))
    below = drawing.details(lines, "" if quiet else output(run, max_lines))
    if snapshot.ended:
        markup = drawing.bar(run, snapshot, times=not headless)
    elif live_below:
        markup = drawing.begun(run, snapshot.total)
    else:
        markup = drawing.still(run, snapshot)
    return {PANEL_MIME: panel, "text/html": markup + below, "text/plain": text}, {"compute_nb": entry}


def notes(run: Run) -> list[str]:
    """Returns what is to be said of a run beside how it stands."""
    return [*run.notes, *(f"`{name}` was bound anew meanwhile and left alone" for name in run.left_alone)]


def reasons(run: Run, snapshot: Snapshot) -> list[str]:
    """Returns why tasks of a run that has ended failed, a line for each reason."""
    if not snapshot.failed or not snapshot.ended:
        return []
    failed = failures.failed(run)
    found = failures.same_reason(run, failed[:_LOOKED_AT])[:_FAILURES]
    alone = len(run.futures) == 1 and not run.point(0)
    lines = [one.reason if alone else f"{one.places(run)}: {one.reason}" for one in found]
    if left := len(failed) - sum(len(one.indices) for one in found):
        lines.append(f"and {left} more: `%compute tb {run.handle}`")
    return lines


def output(run: Run, max_lines: int) -> str:
    """Returns what the one task of a run that has ended printed, and its traceback."""
    if len(run.futures) != 1 or not run.ended or not max_lines:
        return ""
    told = facts(run.futures[0])
    text = "" if holds_text(run) else said(run.futures[0])
    if told.get("traceback"):
        text += str(told["traceback"])
    return capped(plain(text), max_lines)


def capped(text: str, max_lines: int, mend: str = "`%compute logs` shows them") -> str:
    """Returns text with the middle left out if it has more than `max_lines` lines; `mend` gives it."""
    lines = text.splitlines()
    if len(lines) <= max_lines:
        return text
    half = max(max_lines // 2, 1)
    left_out = f"[... {len(lines) - 2 * half:,} lines left out: {mend} ...]"
    return "\n".join([*lines[:half], left_out, *lines[-half:]])
