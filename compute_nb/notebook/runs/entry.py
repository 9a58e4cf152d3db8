"""This module is the entry of a run: what the notebook's record is to have of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compute_nb.errors import ComputeError
from compute_nb.home import Home as HomeFolder
from compute_nb.local import find_service
from compute_nb.notebook.runs.record import Entry, source_hash

if TYPE_CHECKING:
    from compute_nb.executor import Executor
    from compute_nb.notebook.runs.run import Run


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run went, as the record tells it; "" and None for what is not known."""

    service: str = ""
    service_id: str | None = None
    endpoint_id: str | None = None


def place_of(executor: Executor, home: HomeFolder) -> Place:
    """Returns where an Executor that has submitted sends its tasks."""
    reach = executor.client.reach
    service_id = None
    if reach.own:
        with contextlib.suppress(ComputeError):
            own = find_service(home)
            service_id = None if own is None else own.service_id
    return Place(reach.settings.name, service_id, str(executor.endpoint_id))


def entry_of(run: Run, source: str = "", swept: Iterable[str] = (), place: Place | None = None) -> Entry:
    """Returns what is recorded of a run.

    Args:
        source: Of the whole cell, "" if that is not known.
        swept: Names of `--map`.
    """
    place = place or Place()
    return Entry(
        id=run.task_group_id or "",
        service=place.service,
        service_id=place.service_id,
        endpoint=run.endpoint,
        endpoint_id=place.endpoint_id,
        cell_id=run.cell_id,
        name=run.name,
        label=run.label,
        tasks=len(run.futures),
        outputs=run.outputs,
        map=tuple(swept),
        source_hash=source_hash(source) if source else "",
        key=run.key,
        submitted_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(run.submitted_at)),
    )
