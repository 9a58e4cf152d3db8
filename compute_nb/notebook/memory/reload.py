"""This module is the reload: a task group from anywhere as a run of this kernel."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from compute_nb.client import Client
from compute_nb.config import Settings
from compute_nb.errors import ComputeError
from compute_nb.executor import Executor
from compute_nb.future import ComputeFuture
from compute_nb.notebook.kit.home import Home
from compute_nb.notebook.line.arguments import Line
from compute_nb.notebook.line.options import check_name, names_of
from compute_nb.notebook.refusal import CellRefused
from compute_nb.notebook.runs.debug import stored
from compute_nb.notebook.runs.group import ComputeGroup
from compute_nb.notebook.runs.launch import wake
from compute_nb.notebook.runs.record import Entry
from compute_nb.notebook.runs.results import CellSerializer, facts
from compute_nb.notebook.runs.run import Run
from compute_nb.notebook.runs.runs import Runs

_NOT_FOUND = 404


def reloaded(line: Line, runs: Runs, home: Home) -> tuple[Run, Executor]:
    """Returns the run that `%compute reload` asks for; asks the service.

    Raises:
        CellRefused: The line names no group that the service knows.
    """
    name, outputs = _options(line)
    group_id = runs.group_id(line.words[0])
    executor = Executor(task_group_id=group_id, serializer=CellSerializer(home), label=name)
    futures = _futures(executor, group_id)
    single = len(futures) == 1 and not facts(futures[0]).get("swept")
    known = any(run.task_group_id == str(group_id) for run in runs.all)
    again = f"names of `-o` are not bound again: `%compute reload {group_id} -o NAME` binds them"
    run = Run(
        cell=f"group-{str(group_id)[:8]}",
        name=name,
        endpoint=_endpoint_name(futures[0]),
        label="",
        futures=futures,
        home=home,
        group=None if single else ComputeGroup(futures, name=name, ask=lambda place: _own_values(run, place)),
        outputs=outputs,
        notes=() if outputs or known else (again,),
        cancel_all=lambda: _cancel_each(run.futures),
        outage=lambda: executor.outage,
        wake=lambda: wake(Client(do_version_check=False)),
        inputs=lambda place: stored(executor.inputs_of(run.futures[place])),
        send_again=lambda places: executor.retry_tasks([run.futures[place] for place in places]),
        submitted_at=min((f.submitted_at for f in futures if f.submitted_at), default=time.time()),
    )
    return run, executor


def recalled(entry: Entry, home: Home, settings: Settings) -> tuple[Run, Executor]:
    """Returns the run of a record's entry; asks its service, and starts it if it is the home's own.

    Raises:
        ComputeError: That service is not configured here, can't be reached, or does not know the group.
    """
    executor = _executor_of(entry, home, settings)
    futures = executor.reload_tasks(entry.group_id)
    if not futures:
        raise CellRefused(f"the service {entry.service!r} knows no task group {entry.id}")
    run = Run(
        cell=f"group-{entry.id[:8]}",
        name=entry.name,
        endpoint=entry.endpoint,
        label=entry.label,
        futures=futures,
        home=home,
        group=_group(entry, futures, lambda place: _own_values(run, place)),
        outputs=tuple(entry.outputs),
        cancel_all=lambda: _cancel_each(run.futures),
        outage=lambda: executor.outage,
        wake=lambda: wake(executor.client),
        inputs=lambda place: stored(executor.inputs_of(run.futures[place])),
        send_again=lambda places: executor.retry_tasks([run.futures[place] for place in places]),
        cell_id=entry.cell_id,
        key=entry.key,
        entry=entry,
        submitted_at=entry.submitted_s,
    )
    return run, executor


def _group(
    entry: Entry, futures: Sequence[ComputeFuture], ask: Callable[[int], dict[str, Any]]
) -> ComputeGroup | None:
    return ComputeGroup(futures, name=entry.name, ask=ask) if entry.map else None


def _executor_of(entry: Entry, home: Home, settings: Settings) -> Executor:
    serializer = CellSerializer(home)
    if entry.service == settings.default_service.name:
        return Executor(task_group_id=entry.group_id, serializer=serializer, label=entry.title)
    settings.service(entry.service)
    return Executor(
        entry.endpoint_id,
        service=entry.service,
        task_group_id=entry.group_id,
        serializer=serializer,
        label=entry.title,
    )


def _own_values(run: Run, place: int) -> dict[str, Any]:
    """Returns a task's own values as the service has stored them, {} where it gives none back."""
    if run.inputs is None:
        return {}
    try:
        return run.inputs(place).values(run.home)
    except ComputeError:
        return {}


def _cancel_each(futures: Sequence[ComputeFuture]) -> None:
    for future in futures:
        future.cancel()


def _options(line: Line) -> tuple[str, tuple[str, ...]]:
    name = line.values.get("-n") or line.values.get("--name") or ""
    if name:
        check_name(name, "-n")
    outputs = line.values.get("-o") or line.values.get("--output")
    return name, names_of([outputs], "-o") if outputs else ()


def _futures(executor: Executor, group_id: UUID) -> Sequence[ComputeFuture]:
    futures: Sequence[ComputeFuture] = ()
    try:
        futures = executor.reload_tasks(group_id)
    except ComputeError as error:
        if error.http_status != _NOT_FOUND:
            raise
    if not futures:
        raise CellRefused(
            f"`%compute reload {group_id}`: the service knows no such task group: it is another service's or "
            "user's, or was deleted"
        )
    return futures


def _endpoint_name(future: ComputeFuture) -> str:
    """Returns what people call the endpoint of a task; its id if nobody knows a name."""
    if future.terms is None:
        return "?"
    endpoint_id = str(future.terms.endpoint_id)
    found = Client(do_version_check=False).get_endpoints()
    names = [str(one.get("name")) for one in found if str(one.get("uuid")) == endpoint_id]
    return names[0] if names else endpoint_id
