"""This module is the launch: a cell body and its options become tasks that the service has on its disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compute_nb.client import Client
from compute_nb.errors import ComputeError, EndpointNotFound, ServiceUnreachable
from compute_nb.executor import Executor
from compute_nb.home import Home as HomeFolder
from compute_nb.mpi import MPIFunction
from compute_nb.notebook.body.cell import CellBody
from compute_nb.notebook.cargo import preflight
from compute_nb.notebook.cargo.namespace import Notebook
from compute_nb.notebook.cargo.packing import Flight, modules_beside, pack_cell
from compute_nb.notebook.cargo.there import Scout
from compute_nb.notebook.line.arguments import SUBCOMMANDS
from compute_nb.notebook.line.manner import JSON, Manner
from compute_nb.notebook.line.options import Options
from compute_nb.notebook.refusal import CellRefused
from compute_nb.notebook.runs.cache import cache_of
from compute_nb.notebook.runs.group import ComputeGroup
from compute_nb.notebook.runs.results import CellSerializer
from compute_nb.notebook.runs.reuse import Recipe, Reuse, look
from compute_nb.notebook.runs.run import Run
from compute_nb.notebook.runs.sameness import key_of
from compute_nb.notebook.runs.secret import secret_of
from compute_nb.notebook.runs.sending import Sending
from compute_nb.notebook.tables import Table
from compute_nb.serialize import JSONData
from compute_nb.terms import Terms


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
    going_on: Callable[[str], tuple[Run, Executor] | None] = lambda _: None,
    sent: Callable[[Run, Executor], None] = lambda *_: None,
    accepted: Callable[[Run], None] = lambda _: None,
) -> tuple[Run, Executor]:
    """Submits a cell; returns when all its tasks are on the service's disk.

    Args:
        cell: What the cell is called, "In[7]".
        points: Each task's own values; None without `--map`.
        scout: Knows what is at the endpoint.
        going_on: Returns the run of this key that is not to be submitted once more.
        sent: Told of the run while it is on its way; its service may name its group otherwise yet.
        accepted: Told of the run, inside the time in which an Interrupt withdraws it.

    Raises:
        CellRefused: Something can't travel, the service did not take it, or it was interrupted; then what
            was sent has been withdrawn.
    """
    flight = pack_cell(cell, body, options, points, notebook, endpoint)
    key = _key(flight, options, points, notebook, (endpoint, retries))
    same = None if options.new or not key else going_on(key)
    if same is not None:
        return same
    executor = Executor(
        endpoint,
        label=options.label or options.name or cell,
        serializer=_serializer(options.manner, notebook),
        result_serializers=["compute_nb.serialize.JSONData"],
        retries=retries,
        walltime=options.manner.walltime_s,
        resource_specification=_resources(options),
        user_endpoint_config=options.manner.config,
    )
    try:
        _check(flight, scout or Scout(), endpoint, executor, notebook)
        reuse = None
        if options.manner.cache:
            own = flight.points if options.command else points
            reuse = _reuse(executor, flight, options, own, notebook)
        sending = Sending(executor, flight.source, flight.points, reuse)
        futures = sending.begin()
        run = Run(
            cell=cell,
            name=options.name,
            endpoint=endpoint,
            label=options.label,
            futures=futures,
            home=notebook.home,
            group=None
            if points is None
            else ComputeGroup(
                futures, points, options.name, parameters=[one for names, _ in options.maps for one in names]
            ),
            outputs=options.outputs,
            shows=body.shows,
            is_command=bool(options.command),
            notes=flight.captured.notes + (() if reuse is None else reuse.notes),
            reused=0 if reuse is None else len(reuse.futures),
            cancel_all=executor.cancel_all,
            outage=lambda: executor.outage,
            wake=lambda: wake(executor.client),
            inputs=sending.inputs,
            key=key,
            send_again=lambda places: sending.again(run.futures, places),
        )
        sent(run, executor)
        sending.finish()
        accepted(run)
    except ComputeError as error:
        executor.cancel_all()
        left = _left_there(executor, len(flight.points))
        raise CellRefused(_told(error, endpoint) + (f"; {left}" if left else "")) from error
    except KeyboardInterrupt:
        executor.cancel_all()
        left = _left_there(executor, len(flight.points))
        told = left or "all of it is withdrawn; a task that has begun by now is ended"
        raise CellRefused(f"interrupted while submitting: {told}") from None
    return run, executor


def _left_there(executor: Executor, total: int) -> str:
    """Returns how many tasks of a cell that was given up stay at a service that can't drop them, or ""."""
    count = executor.task_count_submitted
    if executor.can_cancel or not count:
        return ""
    return (
        f"{count:,} of {total:,} tasks had been accepted before, can't be taken back there and may run: "
        f"`%compute reload {executor.task_group_id}` attaches to them"
    )


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
    flight = pack_cell(cell, body, options, points, notebook, endpoint, guard_secrets=False)
    try:
        there = scout.about(endpoint, Executor(endpoint), newest=True)
    except ComputeError as error:
        raise CellRefused(_told(error, endpoint)) from error
    swept = {",".join(names): text for names, text in options.maps}
    return preflight.report(flight, there, notebook.home, inputs=options.inputs, swept=swept)


def _key(
    flight: Flight,
    options: Options,
    points: Sequence[Mapping[str, Any]] | None,
    notebook: Notebook,
    terms: tuple[Any, ...],
) -> str:
    """Returns the key of a cell's sameness, "" also where the home folder can't be written."""
    try:
        secret = secret_of(HomeFolder.default())
    except ComputeError:
        return ""
    return key_of(flight, options, points, notebook, terms, secret)


def _check(flight: Flight, scout: Scout, endpoint: str, executor: Executor, notebook: Notebook) -> None:
    try:
        preflight.check(flight, scout.about(endpoint, executor), notebook.home)
    except CellRefused:  # what is known of it may be a minute old, and the mend just done
        preflight.check(flight, scout.about(endpoint, executor, newest=True), notebook.home)


def _told(error: ComputeError, endpoint: str) -> str:
    if isinstance(error, EndpointNotFound) and endpoint in SUBCOMMANDS:
        return f"`{endpoint}` is no endpoint but a line of its own: `%compute {endpoint}`"
    if isinstance(error, ServiceUnreachable):
        return f"`{endpoint}`: {error}; `%compute endpoints` says what answers now"
    return str(error)


def wake(client: Client) -> None:
    """Starts the client's service if it is the home's own and was stopped; others are left alone."""
    if client.reach.own:
        client.version_check()


def _reuse(
    executor: Executor,
    flight: Flight,
    options: Options,
    points: Sequence[Mapping[str, Any]] | None,
    notebook: Notebook,
) -> Reuse:
    """Returns what was computed before of the tasks of a cell."""
    python = executor.worker_python
    home = HomeFolder.default()
    cache = cache_of(home)
    points = points if points is not None else [{}]
    if python is None:
        why = "the Python of the endpoint isn't known before it has connected: all is computed"
        return Reuse(cache, [None] * len(points), {}, (f"`--cache`: {why}",))
    body, captured = flight.body, flight.captured
    where = str(executor.endpoint_id), python
    what: tuple[Any, ...] = options.command, options.check, body.source
    values = {}
    if not options.command:
        beside = modules_beside(body, captured, flight.own.modules if flight.own else (), notebook)
        form = body.shows, body.postponed, options.outputs, options.manner.results_as
        what += (*form, options.manner.seed, captured.imports, [tuple(module) for module in beside])
        values = {name: notebook.home.namespace[name] for name in captured.names}
    recipe = Recipe((where, what), values, points, options.manner.seed is not None)
    terms = Terms(
        executor.endpoint_id, executor.task_group_id, serializer=executor.serializer, label=executor.label
    )
    return look(cache, secret_of(home), recipe, terms)


def _resources(options: Options) -> Mapping[str, Any] | None:
    resources = options.manner.resources
    if options.command != "mpi":
        return resources
    try:
        return MPIFunction("ranks").specification(resources)
    except ValueError as error:
        raise CellRefused(f"`--resources`: {error}") from None


def _serializer(manner: Manner, notebook: Notebook) -> CellSerializer:
    inputs = JSONData() if manner.inputs_as == JSON else None
    return CellSerializer(notebook.home, inputs, plain=manner.results_as == (JSON,))
