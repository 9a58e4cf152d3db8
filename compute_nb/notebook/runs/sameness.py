"""This module is the sameness: whether a cell asks for what a run that still goes on is doing already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from compute_nb.notebook.cargo.namespace import Notebook
from compute_nb.notebook.cargo.packing import Flight, modules_beside
from compute_nb.notebook.line.options import Options
from compute_nb.notebook.refusal import CellRefused
from compute_nb.notebook.runs.fingerprint import Fingerprint, Unstable

_KIND = "hmac-sha256:"
MOST_PARTS = 500_000  # of the inputs: the prompt waits for it


def key_of(  # noqa: PLR0917
    flight: Flight,
    options: Options,
    points: Sequence[Mapping[str, Any]] | None,
    notebook: Notebook,
    terms: tuple[Any, ...],
    secret: bytes,
) -> str:
    """Returns a key, equal for the same sources, inputs, map and options; "" if none is stable.

    Args:
        points: Each task's own values; None without `--map`.
        terms: Where it goes, and how often it is tried.
        secret: Of the home folder: the key stands in the notebook and tells nobody what the inputs are.
    """
    manner = replace(options.manner, cache=False)
    said = (options.name, options.label, options.outputs, options.command, options.check)
    body = flight.body.source, flight.body.shows, flight.body.postponed
    limits = manner.walltime_s, manner.resources, manner.config
    forms = manner.inputs_as, manner.results_as, manner.seed
    values = {name: notebook.home.namespace[name] for name in flight.captured.names}
    given = None if points is None else [dict(point) for point in points]
    commands = list(flight.points) if options.command else None
    try:
        beside = [] if options.command else _modules(flight, notebook)
        found = Fingerprint(secret, MOST_PARTS).add(
            (terms, said, body, limits, forms, flight.captured.imports, commands, beside)
        )
        return _KIND + found.add(values).add(given).hexdigest()
    except (Unstable, CellRefused):
        return ""


def _modules(flight: Flight, notebook: Notebook) -> list[tuple[Any, ...]]:
    """Returns the modules beside the notebook with their texts: one that was edited makes another cell."""
    of_points = flight.own.modules if flight.own else ()
    return [tuple(module) for module in modules_beside(flight.body, flight.captured, of_points, notebook)]
