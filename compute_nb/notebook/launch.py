"""This module is the launch: a cell body and its options become tasks that the service has on its disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compute_nb.client import Client
from compute_nb.errors import ComputeError, NotOffered
from compute_nb.executor import Executor
from compute_nb.future import ComputeFuture
from compute_nb.notebook.capture import Captured, capture, pack_points
from compute_nb.notebook.cell import CellBody
from compute_nb.notebook.group import ComputeGroup
from compute_nb.notebook.kit.harness import Cell
from compute_nb.notebook.namespace import Notebook
from compute_nb.notebook.options import Options
from compute_nb.notebook.payload import FUNCTION_NAME, function_source
from compute_nb.notebook.refusal import CellRefused
from compute_nb.notebook.results import CellSerializer
from compute_nb.notebook.run import Run

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
    accepted: Callable[[Run], None] = lambda _: None,
) -> tuple[Run, Executor]:
    """Submits a cell; returns when all its tasks are on the service's disk.

    Args:
        cell: What the cell is called, "In[7]".
        points: Each task's own values; None without `--map`.
        accepted: Told of the run, inside the time in which an Interrupt withdraws it.

    Raises:
        CellRefused: Something can't travel, the service did not take it, or it was interrupted; then what
            was sent has been withdrawn.
    """
    source, packed, captured = _packed(cell, body, options, points, notebook, endpoint)
    executor = Executor(
        endpoint,
        label=options.label or options.name or cell,
        serializer=CellSerializer(notebook.home),
        result_serializers=["compute_nb.serialize.JSONData"],
        retries=retries,
    )
    try:
        calls: list[Call] = [((index, swept), {}) for index, swept in enumerate(packed)]
        function_id = executor.register_source_code(source, FUNCTION_NAME) if calls else ""
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
            notes=captured.notes,
            cancel_all=executor.cancel_all,
            outage=lambda: executor.outage,
            wake=lambda: wake(executor.client),
            send_again=lambda places: _again(executor, run, function_id, [calls[i] for i in places], places),
        )
        accepted(run)
    except ComputeError as error:
        executor.cancel_all()
        raise CellRefused(str(error)) from error
    except KeyboardInterrupt:
        executor.cancel_all()
        raise CellRefused(
            "interrupted while submitting: all of it is withdrawn; a task that has begun by now is ended"
        ) from None
    return run, executor


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
) -> tuple[str, Sequence[Any], Captured]:
    swept = {name for names, _ in options.maps for name in names}
    packed, also = pack_points(points if points is not None else [{}], notebook)
    captured = capture(
        body,
        notebook,
        inputs=options.inputs,
        swept=swept,
        also=also,
        guard_secrets=endpoint != LOCAL,
    )
    for name in sorted(swept):
        if name not in body.reads and name not in captured.lazy_reads and not body.open_ended:
            raise CellRefused(
                f"`--map {name}=...`: the cell never reads `{name}`, so all tasks would be the same; if they "
                f"are to be repeats, read it: `_ = {name}`"
            )
    travelling = Cell(
        f"Cell {cell}",
        body.source,
        body.shows,
        body.postponed,
        captured.imports,
        captured.values,
        options.outputs,
    )
    return function_source(travelling), packed, captured
