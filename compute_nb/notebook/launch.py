"""This module is the launch: a cell body and its options become tasks that the service has on its disk."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compute_nb.client import Client
from compute_nb.errors import ComputeError, EndpointNotFound, NotOffered
from compute_nb.executor import Executor
from compute_nb.future import ComputeFuture
from compute_nb.notebook import preflight
from compute_nb.notebook.arguments import SUBCOMMANDS
from compute_nb.notebook.capture import Captured, capture, pack_points
from compute_nb.notebook.cell import CellBody
from compute_nb.notebook.companions import companions
from compute_nb.notebook.group import ComputeGroup
from compute_nb.notebook.imported import imported_by
from compute_nb.notebook.kit.harness import Cell
from compute_nb.notebook.kit.travelled import Module
from compute_nb.notebook.load import codes_of
from compute_nb.notebook.namespace import Notebook
from compute_nb.notebook.options import Options
from compute_nb.notebook.payload import FUNCTION_NAME, function_source
from compute_nb.notebook.refusal import CellRefused
from compute_nb.notebook.results import CellSerializer
from compute_nb.notebook.run import Run
from compute_nb.notebook.tables import Table
from compute_nb.notebook.there import Scout

LOCAL = "local"

Call = tuple[tuple[Any, ...], dict[str, Any]]


def launch(
    cell: str,
    body: CellBody,
    options: Options,
    points: Sequence[Mapping[str, Any]] | None,
    notebook: Notebook,
    *,
    endpoint: str,
    retries: int,
    scout: Scout | None = None,
    accepted: Callable[[Run], None] = lambda _: None,
) -> tuple[Run, Executor]:
    """Submits a cell; returns when all its tasks are on the service's disk.

    Args:
        cell: What the cell is called, "In[7]".
        points: Each task's own values; None without `--map`.
        scout: Knows what is at the endpoint.
        accepted: Told of the run, inside the time in which an Interrupt withdraws it.

    Raises:
        CellRefused: Something can't travel, the service did not take it, or it was interrupted; then what
            was sent has been withdrawn.
    """
    flight = _packed(cell, body, options, points, notebook, endpoint)
    executor = Executor(
        endpoint,
        label=options.label or options.name or cell,
        serializer=CellSerializer(notebook.home),
        result_serializers=["compute_nb.serialize.JSONData"],
        retries=retries,
    )
    try:
        _check(flight, scout or Scout(), endpoint, executor, notebook)
        calls: list[Call] = [((index, swept), {}) for index, swept in enumerate(flight.points)]
        function_id = executor.register_source_code(flight.source, FUNCTION_NAME) if calls else ""
        futures = _submitted(executor, function_id, calls)
        run = Run(
            cell=cell,
            name=options.name,
            endpoint=endpoint,
            label=options.label,
            futures=futures,
            home=notebook.home,
            group=None if points is None else ComputeGroup(futures, points, options.name),
            outputs=options.outputs,
            shows=body.shows,
            notes=flight.captured.notes,
            cancel_all=executor.cancel_all,
            outage=lambda: executor.outage,
            wake=lambda: wake(executor.client),
            send_again=lambda places: _again(executor, run, function_id, [calls[i] for i in places], places),
        )
        accepted(run)
    except ComputeError as error:
        executor.cancel_all()
        raise CellRefused(_told(error, endpoint)) from error
    except KeyboardInterrupt:
        executor.cancel_all()
        raise CellRefused(
            "interrupted while submitting: all of it is withdrawn; a task that has begun by now is ended"
        ) from None
    return run, executor


def dry_run(  # noqa: PLR0917
    cell: str,
    body: CellBody,
    options: Options,
    points: Sequence[Mapping[str, Any]] | None,
    notebook: Notebook,
    endpoint: str,
    scout: Scout,
) -> list[Table]:
    """Returns the report on a cell that is not submitted.

    Raises:
        CellRefused: A value can't travel, or nobody knows the endpoint.
    """
    flight = _packed(cell, body, options, points, notebook, endpoint, guard_secrets=False)
    try:
        there = scout.about(endpoint, Executor(endpoint), newest=True)
    except ComputeError as error:
        raise CellRefused(_told(error, endpoint)) from error
    swept = {",".join(names): text for names, text in options.maps}
    return preflight.report(flight, there, notebook.home, inputs=options.inputs, swept=swept)


def _check(
    flight: preflight.Flight, scout: Scout, endpoint: str, executor: Executor, notebook: Notebook
) -> None:
    try:
        preflight.check(flight, scout.about(endpoint, executor), notebook.home)
    except CellRefused:  # what is known of it may be a minute old, and the mend just done
        preflight.check(flight, scout.about(endpoint, executor, newest=True), notebook.home)


def _told(error: ComputeError, endpoint: str) -> str:
    if isinstance(error, EndpointNotFound) and endpoint in SUBCOMMANDS:
        return f"`{endpoint}` is no endpoint but a line of its own: `%compute {endpoint}`"
    return str(error)


def wake(client: Client) -> None:
    """Starts the client's service if it is the home's own and was stopped; others are left alone."""
    if client.reach.own:
        client.version_check()


def _submitted(executor: Executor, function_id: str, calls: Sequence[Call]) -> list[ComputeFuture]:
    if not calls:
        return []
    futures = executor.submit_many(function_id, calls)
    executor.wait_accepted()
    return futures


def _again(
    executor: Executor, run: Run, function_id: str, calls: Sequence[Call], places: Sequence[int]
) -> list[ComputeFuture]:
    try:
        return executor.retry_tasks([run.futures[place] for place in places])
    except NotOffered:  # a service that keeps no inputs for us; this kernel still has them
        return _submitted(executor, function_id, calls)


def _packed(  # noqa: PLR0917
    cell: str,
    body: CellBody,
    options: Options,
    points: Sequence[Mapping[str, Any]] | None,
    notebook: Notebook,
    endpoint: str,
    *,
    guard_secrets: bool = True,
) -> preflight.Flight:
    swept = {name for names, _ in options.maps for name in names}
    packed, also = pack_points(points if points is not None else [{}], notebook)
    captured = capture(
        body,
        notebook,
        inputs=options.inputs,
        swept=swept,
        also=also,
        guard_secrets=guard_secrets and endpoint != LOCAL,
    )
    for name in sorted(swept):
        if name not in body.reads and name not in captured.lazy_reads and not body.open_ended:
            raise CellRefused(
                f"`--map {name}=...`: the cell never reads `{name}`, so all tasks would be the same; if they "
                f"are to be repeats, read it: `_ = {name}`"
            )
    modules = () if endpoint == LOCAL else _modules(body, captured, notebook)
    travelling = Cell(
        f"Cell {cell}",
        body.source,
        body.shows,
        body.postponed,
        captured.imports,
        captured.values,
        options.outputs,
        tuple(map(tuple, modules)),  # type: ignore[arg-type] # of four, as they travel
    )
    names = [module.name for module in modules]
    return preflight.Flight(body, function_source(travelling), packed, captured, names)


def _modules(body: CellBody, captured: Captured, notebook: Notebook) -> tuple[Module, ...]:
    """Returns the modules beside the notebook that travel along: elsewhere there are no such files."""
    codes = codes_of(notebook.home.namespace[name] for name in captured.names)
    names = [*imported_by(codes), *(module for _, module, _ in captured.imports)]
    return companions(names, body.source, base64.b64decode(captured.values))
