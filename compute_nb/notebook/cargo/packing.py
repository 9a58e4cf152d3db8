"""This module is the packing of a cell: what travels of it, as one function and each task's own values."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from compute_nb.config import LOCAL
from compute_nb.notebook.body.cell import CellBody
from compute_nb.notebook.body.imported import imported_by
from compute_nb.notebook.cargo import seeds
from compute_nb.notebook.cargo.capture import Captured, Points, capture, pack_points
from compute_nb.notebook.cargo.commandline import commands, left_to_the_shell, unread, worker_source
from compute_nb.notebook.cargo.companions import companions, within_limit
from compute_nb.notebook.cargo.load import codes_of
from compute_nb.notebook.cargo.namespace import Notebook
from compute_nb.notebook.cargo.payload import function_source
from compute_nb.notebook.kit.harness import Cell
from compute_nb.notebook.kit.travelled import Module
from compute_nb.notebook.line.manner import JSON, PICKLE
from compute_nb.notebook.line.options import Options
from compute_nb.notebook.refusal import CellRefused

AS_SOURCE = "body, helpers and classes as source; values in one pickle; plain data comes back"
AS_JSON = "body as source; values as JSON; plain data comes back"
AS_COMMAND = "a command line; exit code and the end of its output come back as plain data"


_GENERATORS = ("Generator", "RandomState", "Random")


@dataclass(frozen=True, slots=True)
class Flight:
    """A cell that is ready to be submitted.

    Attributes:
        source: The text that travels.
        points: Each task's own values as they travel.
        companions: Modules beside the notebook that travel with it.
        strategy: How all that travels, for people.
        own: What is known of the points; None for a command.
    """

    body: CellBody
    source: str
    points: Sequence[Any]
    captured: Captured
    companions: Sequence[str] = ()
    strategy: str = AS_SOURCE
    own: Points | None = None


def pack_cell(  # noqa: PLR0917
    cell: str,
    body: CellBody,
    options: Options,
    points: Sequence[Mapping[str, Any]] | None,
    notebook: Notebook,
    endpoint: str,
    *,
    guard_secrets: bool = True,
) -> Flight:
    """Returns what would be submitted of a cell; nothing is sent.

    Args:
        cell: What the cell is called, "In[7]".
        points: Each task's own values; None without `--map`.
        guard_secrets: Whether names that look like secrets need `-i` to go elsewhere.

    Raises:
        CellRefused: Something can't travel.
    """
    swept = {name for names, _ in options.maps for name in names}
    if options.command:
        return _command(cell, body, options, points, notebook)
    manner = options.manner
    plain = manner.inputs_as == JSON
    own = pack_points(points if points is not None else [{}], notebook, plain=plain)
    captured = capture(
        body,
        notebook,
        inputs=options.inputs,
        swept=swept,
        also=own.met,
        guard_secrets=guard_secrets and endpoint != LOCAL,
        plain=plain,
    )
    for name in sorted(swept) if manner.seed is None else ():
        if name not in body.reads and name not in captured.lazy_reads and not body.open_ended:
            raise CellRefused(
                f"`--map {name}=...`: the cell never reads `{name}`, so {unread(name, swept)}; if they are "
                f"to be repeats, read it: `_ = {name}`, or give each its own random numbers: `--seed 1`"
            )
    modules = () if endpoint == LOCAL else within_limit(modules_beside(body, captured, own.modules, notebook))
    travelling = Cell(
        f"Cell {cell}",
        body.source,
        body.shows,
        body.postponed,
        captured.imports,
        captured.values,
        options.outputs,
        None if manner.seed is None else (manner.seed, inspect.getsource(seeds)),
        manner.results_as,
        tuple(map(tuple, modules)),  # type: ignore[arg-type] # of four, as they travel
        captured.notes,
    )
    if len(own.packed) > 1:
        alike = tuple(_drawn_alike({name: notebook.home.namespace[name] for name in captured.names}))
        captured = replace(captured, notes=captured.notes + alike)
    names = [module.name for module in modules]
    how = AS_JSON if plain else AS_SOURCE
    return Flight(body, function_source(travelling), own.packed, captured, names, how, own)


def _drawn_alike(values: Mapping[str, Any]) -> Iterator[str]:
    """Yields a line for each generator of random numbers: as it stands it travels to all tasks."""
    for name, value in values.items():
        kind = type(value)
        if kind.__module__.startswith(("numpy.random", "random")) and kind.__name__ in _GENERATORS:
            yield (
                f"`{name}` (a {kind.__name__}) travels as it stands, so every task draws the same numbers: "
                "make one in the cell out of what `--map` gives, or draw from `numpy.random` with `--seed`"
            )


def modules_beside(
    body: CellBody, captured: Captured, of_points: Collection[str], notebook: Notebook
) -> tuple[Module, ...]:
    """Returns the modules beside the notebook that a cell needs: elsewhere there are no such files.

    Args:
        of_points: Modules that reading each task's own values imports.

    Raises:
        CellRefused: One can't be read.
    """
    codes = codes_of(notebook.home.namespace[name] for name in captured.names)
    imported = [module for _, module, _ in captured.imports]
    return companions([*imported_by(codes), *imported, *captured.modules, *of_points], body.source)


def _command(
    cell: str,
    body: CellBody,
    options: Options,
    points: Sequence[Mapping[str, Any]] | None,
    notebook: Notebook,
) -> Flight:
    """Returns what travels of a command, as a cell whose body runs it."""
    swept = [name for names, _ in options.maps for name in names]
    tasks = commands(body.source, points, swept, notebook)
    source = worker_source(options.command, check=options.check)
    travelling = Cell(f"Command of {cell}", source, True, False, (), "", (), forms=(JSON, PICKLE))
    captured = Captured((), "", (), tuple(left_to_the_shell(body.source, swept, notebook)), frozenset())
    return Flight(body, function_source(travelling), tasks, captured, strategy=AS_COMMAND)
