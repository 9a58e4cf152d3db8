"""This module is the catalogue of engines: from the settings of an endpoint to its engine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import UUID

from compute_nb.endpoint import machine
from compute_nb.endpoint.custody import Custody
from compute_nb.endpoint.engine import Engine
from compute_nb.endpoint.engines.ear import Ear
from compute_nb.endpoint.engines.pool import Pool
from compute_nb.endpoint.engines.pool_engine import PoolEngine
from compute_nb.endpoint.engines.worker import WorkerPlan
from compute_nb.endpoint.settings import Settings
from compute_nb.errors import ComputeError

SLOTS, CUSTODY = "slots", "custody"
_BUILT_ON = {"parsl": ("parsl", "Parsl"), "dask": ("distributed", "Dask")}


@dataclass(frozen=True, slots=True)
class Site:
    """Where an engine is to work.

    Attributes:
        folder: Of the endpoint: slots or custody file, and what engines below write.
        journal_id: The journal that task numbers belong to.
        workers: How many tasks run at a time at most, where the engine below does not say.
        plan: How worker processes of this machine are started.
    """

    folder: Path
    journal_id: UUID
    workers: int
    plan: WorkerPlan


def make_engine(settings: Settings, site: Site) -> Engine:
    """Makes an engine that is not started; what it is built on is imported at its start.

    Raises:
        ComputeError: The nodes of an MPI job can't be read, or what the engine is built on is not here.
    """
    _require(settings)
    if settings.engine == "processes":
        from compute_nb.endpoint.engines.processes import ProcessEngine

        (site.folder / CUSTODY).unlink(missing_ok=True)
        return ProcessEngine(
            site.plan,
            site.folder / SLOTS,
            site.journal_id,
            site.workers,
            min_workers=min(settings.min_workers, site.workers),
            idle_s=settings.idle_s,
            kill_s=settings.kill_s,
            limits=settings.limits,
        )
    (site.folder / SLOTS).unlink(missing_ok=True)
    make: Callable[[Settings, Site, str], Pool] = {
        "threads": _threads,
        "parsl": _parsl,
        "dask": _dask,
        "mpi": _mpi,
    }[settings.engine]

    def custody(places: int) -> Custody:
        return Custody(site.folder / CUSTODY, site.journal_id, places, marked=_keepers_are_here(settings))

    ear = Ear()
    return PoolEngine(make(settings, site, ear.path), custody, settings.limits, ear)


def _require(settings: Settings) -> None:
    """Sees that what an engine is built on is here, before tasks come that would fail of it."""
    engine = settings.engine
    if engine == "mpi":
        from compute_nb.endpoint.engines.mpi import require

        require(settings.mpi_launcher)
    elif engine in _BUILT_ON:
        module, name = _BUILT_ON[engine]
        if find_spec(module) is None:
            mend = f"`{sys.executable} -m pip install 'compute_nb[{engine}]'`"
            raise ComputeError(f"the engine {engine} needs {name}, which {sys.executable} lacks: run {mend}")


def _threads(settings: Settings, site: Site, live: str) -> Pool:
    from compute_nb.endpoint.engines.threads import ThreadPool

    return ThreadPool(site.plan, site.workers, live)


def _parsl(settings: Settings, site: Site, live: str) -> Pool:
    from compute_nb.endpoint.engines.parsl import ParslPool

    return ParslPool(
        settings.parsl_config, site.workers, _keeper_setup(settings, site, live), site.folder / "parsl"
    )


def _dask(settings: Settings, site: Site, live: str) -> Pool:
    from compute_nb.endpoint.engines.dask import DaskPool

    setup = _keeper_setup(settings, site, live)
    return DaskPool(
        *(settings.dask_address, site.workers, setup, site.folder / "dask"), dashboard=settings.dask_dashboard
    )


def _mpi(settings: Settings, site: Site, live: str) -> Pool:
    from compute_nb.endpoint.engines.mpi import Cluster, MPIPool, nodes_here

    nodes = settings.mpi_nodes or nodes_here(os.environ)
    cluster = Cluster(nodes, settings.mpi_slots or site.workers, settings.mpi_launcher)
    packages = site.plan.packages and os.fspath(site.plan.packages)
    setup = {**_keeper_setup(settings, site, live), "python": site.plan.python, "packages": packages}
    return MPIPool(cluster, setup, min_workers=settings.min_workers, idle_s=settings.idle_s)


def _keepers_are_here(settings: Settings) -> bool:
    """Whether all keepers are surely on this machine, where a kill of all that is marked ends them."""
    return {
        "parsl": settings.parsl_config is None,
        "dask": settings.dask_address is None,
        "mpi": True,
    }.get(settings.engine, False)


def _keeper_setup(settings: Settings, site: Site, live: str) -> dict[str, Any]:
    """What a keeper needs on a machine of which nothing is known: its own Python, unless one is named."""
    environ = {**settings.environ, machine.WORKER_MARK: str(site.journal_id)}
    return {
        "python": settings.python,
        "folder": os.fspath(site.plan.folder),
        "packages": None,
        "limit": settings.limits.result_chars,
        "memory": settings.limits.memory_bytes,
        "live": live,
        "kill_s": settings.kill_s,
        "preload": settings.preload,
        "max_tasks": settings.max_tasks,
        "environ": environ,
        "custody": os.fspath(site.folder / CUSTODY) if _keepers_are_here(settings) else None,
    }
