"""This module is the figures of an endpoint: what its heartbeats tell of workers, tasks and the machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from compute_nb.endpoint import machine
from compute_nb.endpoint.engine import EngineStatus, Resources
from compute_nb.endpoint.modules import Modules

HEARTBEAT_S = 30.0
LOOK_S = 2.0


class Pulse:
    """Says what a heartbeat tells, and when one is due; for one thread.

    One is due every 30 s, and 2 s after workers, tasks or trouble were last told otherwise than they are: who
    lists endpoints sees what is so now. Free memory moves all the time and makes none due.

    Args:
        engine: What runs the tasks is called.
        status: Says how busy that is.
        facts: What hello has told of the endpoint.
        modules: Those of the workers' Python, told again when they have changed.
        workers: The most that there may be, told as long as the engine does not say.

    Attributes:
        trouble: What keeps the endpoint from its work, beside what its engine says, and what to do.
    """

    def __init__(
        self,
        engine: str,
        status: Callable[[], EngineStatus],
        facts: Mapping[str, Any],
        modules: Modules | None = None,
        workers: int = 0,
    ) -> None:
        self._engine, self._status, self._facts, self._modules = engine, status, facts, modules
        self._workers = workers
        self.trouble = ""
        self._told: tuple[EngineStatus, str] | None = None
        self._told_at = 0.0

    def again(self) -> None:
        """The next one is due at once: a connection has begun."""
        self._told = None

    def due(self) -> dict[str, Any] | None:
        """Returns the state for a heartbeat, None if none is due."""
        status = self._status()
        status = status._replace(workers=status.workers or self._workers)
        now = time.monotonic()
        trouble = self.trouble or status.trouble
        counts = status._replace(resources=None), trouble
        if counts == self._told and now - self._told_at < HEARTBEAT_S - LOOK_S / 2:
            return None
        self._told, self._told_at = counts, now
        return {
            "heartbeat_period": HEARTBEAT_S,
            "active": True,
            "engine_type": self._engine,
            "python_version": self._facts.get("python"),
            "dill_version": self._facts.get("dill"),
            "endpoint_version": self._facts.get("version"),
            **figures(status),
            **({"compute_nb_trouble": trouble} if trouble else {}),
            **self._new_modules(),
        }

    def _new_modules(self) -> dict[str, Any]:
        """Returns the modules if they are others than hello has told."""
        now = None if self._modules is None else self._modules.text()
        return {} if now is None or now == self._facts.get("modules") else {"compute_nb_modules": now}


def figures(status: EngineStatus) -> dict[str, Any]:
    """Returns the figures of an engine: the published names, and `compute_nb_figures` with exact meanings."""
    resources = status.resources
    if resources is None and not status.elsewhere:
        resources = Resources(machine.usable_cpus(), *machine.memory())
    return {
        "total_workers": status.workers,
        "live_workers": status.alive,
        "idle_workers": max(0, status.alive - status.busy),
        "pending_tasks": status.queued,
        "outstanding_tasks": status.waiting + status.in_workers,
        "compute_nb_figures": {
            "workers": status.workers,
            "alive": status.alive,
            "busy": status.busy,
            "queued": status.queued,
            "cores": resources and resources.cores,
            "memory_bytes": resources and resources.memory_bytes,
            "available_bytes": resources and resources.available_bytes,
        },
    }
