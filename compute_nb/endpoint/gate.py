"""This module is the gate of an endpoint: which tasks its engine takes, and within which limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from compute_nb import wire
from compute_nb.endpoint.engine import Capabilities, EngineBatch
from compute_nb.errors import ComputeError

MAX_RESULT_CHARS = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What the owner of an endpoint allows.

    Attributes:
        walltime_s: The longest that a task may run; None for no limit.
        functions: The functions that may run here; empty for all.
        serializers: The two characters of each strategy that may be read here; empty for all.
        result_chars: How large a packed result may be.
        memory_bytes: How much a process that runs tasks may take; None for no limit.
    """

    walltime_s: float | None = None
    functions: frozenset[UUID] = frozenset()
    serializers: frozenset[str] = frozenset()
    result_chars: int = MAX_RESULT_CHARS
    memory_bytes: int | None = None


class Gate:
    """Looks at tasks before they are lined up; belongs to the engine's thread.

    Args:
        capabilities: Of the engine.
        limits: Of the endpoint.
    """

    def __init__(self, capabilities: Capabilities, limits: Limits) -> None:
        self.capabilities, self.limits = capabilities, limits

    def admit(self, batch: EngineBatch) -> EngineBatch:
        """Returns a batch with the limits of the endpoint in its options.

        Raises:
            ComputeError: It asks for what the engine can't do, or the endpoint does not allow.
        """
        if not batch.options and self.limits.walltime_s is None and self._takes_all:
            return batch
        self._check_function(batch)
        options = self._limited(batch.options)
        refusal = unfit(self.capabilities, options)
        if refusal:
            raise ComputeError(refusal)
        return batch if options is batch.options else replace(batch, options=options)

    @property
    def _takes_all(self) -> bool:
        return not (self.limits.functions or self.limits.serializers)

    def _check_function(self, batch: EngineBatch) -> None:
        limits = self.limits
        if limits.functions and batch.function_id not in limits.functions:
            raise ComputeError(
                f"function {batch.function_id} is not among the {len(limits.functions)} that this endpoint "
                "runs (`allowed_functions` in its endpoint.toml): ask its owner to add it"
            )
        if not limits.serializers:
            return
        packed = [batch.code, *(task.args for task in batch.tasks)]
        used = {buffer[:2] for text in packed for buffer in wire.unpack_buffers(text)}
        wrong = sorted(used - limits.serializers)
        if wrong:
            raise ComputeError(
                f"this endpoint reads only what was packed by {sorted(limits.serializers)} "
                f"(`allowed_serializers` in its endpoint.toml), not by {wrong}: submit with another "
                "serializer"
            )

    def _limited(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        longest_s, wanted_s = self.limits.walltime_s, options.get("walltime_s")
        if longest_s is None or (wanted_s is not None and wanted_s <= longest_s):
            return options
        return {**options, "walltime_s": longest_s}


def unfit(capabilities: Capabilities, options: Mapping[str, Any]) -> str | None:
    """Returns why an engine can't honour the options of a task, None if it can."""
    name = capabilities.name
    wanted = options.get("resource_specification")
    if wanted and not capabilities.resource_specification:
        return (
            f"this endpoint's engine, {name}, takes no resource_specification ({wanted}): "
            f"{capabilities.because}. MPI functions need an endpoint with an MPI engine (`compute-nb "
            "endpoint run NAME --engine mpi`, or GlobusMPIEngine of globus-compute-endpoint); for all else "
            "set resource_specification to None"
        )
    walltime_s = options.get("walltime_s")
    if walltime_s is not None and not capabilities.walltime:
        return (
            f"this endpoint's engine, {name}, takes no walltime ({walltime_s:g} s): {capabilities.because}. "
            "Submit without a walltime, or to an endpoint with another engine, such as processes"
        )
    return None
