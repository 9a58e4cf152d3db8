"""This module is the other side of a cell: the Python that will run it, as far as it is known here."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any
from uuid import UUID

from compute_nb.config import LOCAL
from compute_nb.errors import ComputeError
from compute_nb.executor import Executor

KEPT_S = 60.0


@dataclass(frozen=True, slots=True)
class There:
    """Where a cell will run.

    Attributes:
        endpoint: As the user names it.
        here: Whether it is this Python's own endpoint.
        state: What its service says of it, "" if it was not asked.
        python: "" if it is not known, as dill and host.
        modules: Names that can be imported at its top level; None if that is not known.
    """

    endpoint: str
    here: bool = False
    state: str = ""
    python: str = ""
    dill: str = ""
    host: str = ""
    modules: frozenset[str] | None = None

    def has(self, module: str) -> bool | None:
        """Returns whether a module can be imported there; None if nobody can know from here."""
        top = module.partition(".")[0]
        if self.here:
            return _found_here(top)
        if self.modules is None or top.startswith("_"):
            return None
        return top in self.modules

    @property
    def same_minor(self) -> bool:
        """Whether its Python reads the bytecode of this one, or is not known."""
        return not self.python or self.python.split(".")[:2] == platform.python_version().split(".")[:2]


class Scout:
    """Finds out about endpoints; keeps what it was told for a minute. The main thread's alone."""

    def __init__(self) -> None:
        self._told: dict[UUID, tuple[float, There]] = {}

    def about(self, endpoint: str, executor: Executor, *, newest: bool = False) -> There:
        """Returns what is known of an endpoint; asks its service unless the endpoint is `local`.

        Raises:
            ComputeError: Nobody knows such an endpoint, or its service can't be reached.
        """
        if endpoint == LOCAL:
            return own()
        endpoint_id = executor.endpoint_id
        at, known = self._told.get(endpoint_id, (0.0, None))
        if known is not None and not newest and time.monotonic() - at < KEPT_S:
            return known
        try:
            answer = executor.client.get_endpoint_status(endpoint_id)
        except ComputeError as error:
            return There(endpoint, state=str(error).splitlines()[0])
        known = _read(endpoint, answer)
        self._told[endpoint_id] = time.monotonic(), known
        return known


@cache
def own() -> There:
    """Returns what `local` is."""
    return There(LOCAL, True, "", platform.python_version(), metadata.version("dill"), platform.node())


def _read(endpoint: str, answer: Mapping[str, Any]) -> There:
    details = answer.get("details") or {}
    agent = details.get("compute_nb") or {}
    modules = details.get("compute_nb_modules") or agent.get("modules")
    return There(
        endpoint,
        state=str(answer.get("status") or ""),
        python=str(agent.get("python") or details.get("python_version") or ""),
        dill=str(agent.get("dill") or details.get("dill_version") or ""),
        host=str(agent.get("hostname") or ""),
        modules=frozenset(modules.split()) if isinstance(modules, str) else None,
    )


def _found_here(top: str) -> bool | None:
    """Returns whether an import would find a module in this Python; the module itself is not imported."""
    module = sys.modules.get(top)
    if getattr(module, "__spec__", None) is not None:
        return True
    for again in (False, True):
        if again:
            importlib.invalidate_caches()  # its file may be younger than the last look
        try:
            if importlib.util.find_spec(top) is not None:
                return True
        except Exception:  # noqa: BLE001 - import hooks may raise anything
            return None
    return None if module is not None else False
