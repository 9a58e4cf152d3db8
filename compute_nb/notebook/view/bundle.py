"""This module is the bundle: a run as display data that reads the same after any restart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compute_nb.live import GAP
from compute_nb.notebook.runs import failures
from compute_nb.notebook.runs.census import Census
from compute_nb.notebook.runs.entry import entry_of
from compute_nb.notebook.runs.failures import Failure
from compute_nb.notebook.runs.results import facts, said
from compute_nb.notebook.runs.run import LOOKED_AT, Run, Snapshot
from compute_nb.notebook.view import drawing, look, squares
from compute_nb.notebook.view.shown import holds_text
from compute_nb.notebook.view.terminal import plain
from compute_nb.notebook.view.times import Times, times_of

PANEL_MIME = "application/vnd.compute-nb.panel+json"
_FAILURES = 5
_FOLDED_CHARS = 4_000
_REASON_CHARS = 300


def bundle(
    run: Run,
    census: Census,
    *,
    max_lines: int,
    headless: bool = False,
    told_elsewhere: bool = False,
    live_below: bool = False,
) -> Any:
    """Returns data and metadata of the output that stays.

    Args:
        census: Of this run, as it was counted last.
        max_lines: How much printed text is shown.
        headless: Whether text is kept free of ids and times, so that a run can be compared with the last.
        told_elsewhere: Whether the cell itself prints what its tasks printed, and raises what failed.
        live_below: Whether a widget below it shows how the tasks stand.
    """
    snapshot, times = census.last, times_of(census)
    entry = (run.entry or entry_of(run)).to_json()
    quiet = headless or told_elsewhere
    failed = [] if quiet else found(run, snapshot)
    panel = {
        "version": 1,
        "entry": entry,
        "counts": {state.value: count for state, count in snapshot.counts.items() if count},
        "started_at": snapshot.started_at,
        "ended_at": snapshot.ended_at,
        "times": {"waited_s": times.waited_s, "ran_s": times.ran_s, "elapsed_s": times.elapsed_s},
        "squares": squares.compact(census.codes),
        "failures": [_for_programs(run, one) for one in failed],
    }
    if snapshot.ended:
        markup = _end(run, census, times, headless=headless)
    elif headless:
        markup = drawing.submitted(run, snapshot.total)
    elif live_below:
        markup = drawing.begun(run, snapshot.total)
    else:
        markup = drawing.still(run, snapshot)
    markup += below(run, failed, 0 if quiet else max_lines)
    kind = "cnb-panel cnb-final" if snapshot.ended else "cnb-panel"
    text = drawing.line(run, snapshot)
    if headless:
        text = ""
    elif live_below and not snapshot.ended:  # it is not drawn again before the end
        text = drawing.begun_line(run, snapshot.total)
    shown = f'<div class="{kind}">{markup}</div>'
    return {PANEL_MIME: panel, "text/html": look.unbroken(shown), "text/plain": text}, {"compute_nb": entry}


def _end(run: Run, census: Census, times: Times, *, headless: bool) -> str:
    """Returns how a run has ended; squares where they show which tasks have no value."""
    told = drawing.bar(run, census.last)
    if headless:
        return told
    told += drawing.aside(run, times, shows_id=True)
    mixed = len(set(census.codes)) > 1
    return told + (squares.still(census.codes, run.known_place) if mixed else "")


def found(run: Run, snapshot: Snapshot) -> Sequence[Failure]:
    """Returns why tasks of a run that has ended failed, as far as it is looked at."""
    if not snapshot.failed or not snapshot.ended:
        return []
    return failures.same_reason(run, failures.failed(run)[:LOOKED_AT])[:_FAILURES]


def below(run: Run, failed: Sequence[Failure], max_lines: int) -> str:
    """Returns what stands below the bar in the end: notes, why tasks failed, what the only one printed."""
    told = drawing.details(notes(run)) + drawing.warnings(run.loss_lines())
    told += "".join(_reason(run, failure) for failure in failed)
    if failed and (left := run.snapshot().failed - sum(len(one.indices) for one in failed)):
        told += drawing.details([f"and {left:,} more: `%compute tb {run.handle}`"])
    if max_lines and _has_spoken(run):
        told += drawing.small(f"what the tasks printed: `%compute logs {run.handle}`")
    return told + drawing.details((), output(run, max_lines))


def _has_spoken(run: Run) -> bool:
    """Returns whether one of several tasks, of those that are looked at, has printed anything."""
    several = len(run.futures) > 1 and run.ended
    return several and any(said(future) for future in run.futures[:LOOKED_AT] if future.fetched)


def _reason(run: Run, failure: Failure) -> str:
    """Returns what some tasks failed of as a line; of several the traceback too, folded."""
    if len(run.futures) == 1:
        return drawing.details([failure.reason if not run.point(0) else f"{run.point(0)}: {failure.reason}"])
    said = f"{failure.places(run)}: {failure.reason}"
    if failure.text.strip() == failure.reason:
        return drawing.details([said])
    return drawing.folded(said, failure.text[-_FOLDED_CHARS:])


def _for_programs(run: Run, failure: Failure) -> dict[str, Any]:
    return {
        "reason": failure.reason[:_REASON_CHARS],
        "tasks": len(failure.indices),
        "places": failure.places(run)[:_REASON_CHARS],
    }


def notes(run: Run) -> list[str]:
    """Returns what is to be said of a run beside how it stands."""
    return [*run.notes, *(f"`{name}` was bound anew meanwhile and left alone" for name in run.left_alone)]


def output(run: Run, max_lines: int) -> str:
    """Returns what the one task of a run that has ended printed, and its traceback."""
    if len(run.futures) != 1 or not run.ended or not max_lines:
        return ""
    (future,) = run.futures
    text = "" if holds_text(run) else said(future)
    if facts(future).get("traceback"):
        trace = failures.text_of(future)
        text += trace if trace.strip() != failures.reason(future) else ""  # that stands above already
    return capped(plain(text), max_lines)


def capped(text: str, max_lines: int, mend: str = "`%compute logs` shows them") -> str:
    """Returns text with the middle left out if it has more than `max_lines` lines; `mend` gives it."""
    lines = text.splitlines()
    if len(lines) <= max_lines:
        return text
    half = max(max_lines // 2, 1)
    middle = lines[half:-half]
    gaps = [int(gap[1].replace(",", "")) for gap in map(GAP.fullmatch, middle) if gap]
    unkept = f"; {sum(gaps):,} characters among them were not kept" if gaps else ""
    left_out = f"[... {len(middle) - len(gaps):,} lines left out: {mend}{unkept} ...]"
    return "\n".join([*lines[:half], left_out, *lines[-half:]])
