"""This module is the retry: what a run has lost is sent again, and stands in its old places here."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

from compute_nb.notebook.runs.pending import Outputs
from compute_nb.notebook.runs.run import Run
from compute_nb.tasks import TaskState


def lost_places(run: Run, indices: Sequence[int] | None = None) -> list[int]:
    """Returns the places of tasks that ended without a value: failed, lost or cancelled.

    Args:
        indices: Which to look at; all if None.
    """
    places = range(len(run.futures)) if indices is None else indices
    futures = run.futures
    return [
        place for place in places if futures[place].done() and futures[place].state is not TaskState.SUCCEEDED
    ]


def retry(
    run: Run, indices: Sequence[int] | None, namespace: MutableMapping[str, Any], outputs: Outputs
) -> int:
    """Sends again what ended without a value, with the inputs that it had; blocks until it is accepted.

    The run is open again: its names mean the new futures, its outputs are pending, its panel moves.

    Args:
        indices: Which places may be sent again; all if None.
        namespace: Where the run's names are bound.

    Returns:
        How many tasks were sent again.

    Raises:
        ComputeError: The service can't be reached, or can't run one of them again; nothing has changed.
    """
    places = lost_places(run, indices)
    if not places:
        return 0
    before = run.thing
    run.replace(dict(zip(places, run.send_again(places), strict=True)))
    for name in {run.name, "_compute"}:
        if name and namespace.get(name) is before:
            namespace[name] = run.thing
    outputs.promise_again(run)
    for reopened in list(run.on_reopen):
        reopened()
    return len(places)
