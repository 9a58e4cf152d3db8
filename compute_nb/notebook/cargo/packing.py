"""This module is the packing of a cell: what travels of it, as one function and each task's own values."""

from __future__ import annotations

import base64
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compute_nb.config import LOCAL
from compute_nb.notebook.body.cell import CellBody
from compute_nb.notebook.body.imported import imported_by
from compute_nb.notebook.cargo import seeds
from compute_nb.notebook.cargo.capture import Captured, capture, pack_points
from compute_nb.notebook.cargo.commandline import commands, worker_source
from compute_nb.notebook.cargo.companions import companions, within_limit
from compute_nb.notebook.cargo.load import codes_of
from compute_nb.notebook.cargo.namespace import Notebook
from compute_nb.notebook.cargo.payload import function_source
from compute_nb.notebook.kit.harness import Cell
from compute_nb.notebook.kit.travelled import Module
from compute_nb.notebook.line.conditions import JSON, PICKLE
from compute_nb.notebook.line.options import Options
from compute_nb.notebook.refusal import CellRefused

AS_SOURCE = "body, helpers and classes as source; values in one pickle; plain data comes back"
AS_JSON = "body as source; values as JSON; plain data comes back"
AS_COMMAND = "a command line; exit code and the end of its output come back as plain data"


@dataclass(frozen=True, slots=True)
class Flight:
    """A cell that is ready to be submitted.

    Attributes:
        source: The text that travels.
        points: Each task's own values as they travel.
        companions: Modules beside the notebook that travel with it.
        strategy: How all that travels, for people.
    """

    body: CellBody
    source: str
    points: Sequence[Any]
    captured: Captured
    companions: Sequence[str] = ()
    strategy: str = AS_SOURCE


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
    conditions = options.conditions
    plain = conditions.inputs_as == JSON
    packed, also = pack_points(points if points is not None else [{}], notebook, plain=plain)
    captured = capture(
        body,
        notebook,
        inputs=options.inputs,
        swept=swept,
        also=also,
        guard_secrets=guard_secrets and endpoint != LOCAL,
        plain=plain,
    )
    for name in sorted(swept):
        if name not in body.reads and name not in captured.lazy_reads and not body.open_ended:
            raise CellRefused(
                f"`--map {name}=...`: the cell never reads `{name}`, so all tasks would be the same; if they "
                f"are to be repeats, read it: `_ = {name}`"
            )
    modules = () if endpoint == LOCAL else within_limit(modules_beside(body, captured, packed, notebook))
    travelling = Cell(
        f"Cell {cell}",
        body.source,
        body.shows,
        body.postponed,
        captured.imports,
        captured.values,
        options.outputs,
        None if conditions.seed is None else (conditions.seed, inspect.getsource(seeds)),
        conditions.results_as,
        tuple(map(tuple, modules)),  # type: ignore[arg-type] # of four, as they travel
        captured.notes,
    )
    names = [module.name for module in modules]
    how = AS_JSON if plain else AS_SOURCE
    return Flight(body, function_source(travelling), packed, captured, names, how)


def modules_beside(
    body: CellBody, captured: Captured, points: Sequence[Any], notebook: Notebook
) -> tuple[Module, ...]:
    """Returns the modules beside the notebook that a cell needs: elsewhere there are no such files.

    Args:
        points: Each task's own values as they travel.

    Raises:
        CellRefused: One can't be read.
    """
    codes = codes_of(notebook.home.namespace[name] for name in captured.names)
    names = [*imported_by(codes), *(module for _, module, _ in captured.imports)]
    pickles = [text for text in (captured.values, *points) if isinstance(text, str) and text[:1] != "{"]
    return companions(names, body.source, b"\0".join(map(base64.b64decode, pickles)))


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
    captured = Captured((), "", (), (), frozenset())
    return Flight(body, function_source(travelling), tasks, captured, strategy=AS_COMMAND)
