"""This module is the terms of a submit: where tasks go, with which options, how results are read."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import UUID

from compute_nb.ledger import Ledger
from compute_nb.pace import BURST_LIMIT, BURST_WINDOW_S
from compute_nb.serialize.serializer import ComputeSerializer


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What all tasks of one submit have in common; tasks with the same terms may share a request.

    Attributes:
        options: What travels to the agent: result_serializers, resource_specification,
            user_endpoint_config, walltime_s, context. Only those that were given.
        retries: How often a task may begin again after its worker or agent was lost.
        batch_size: How many tasks a request may have.
        serializer: Reads the results.
        ledger: The books of the Executor that submits.
        label: What people call the tasks, "" if nothing.
        burst_limit, burst_window_s: So many small requests within so many seconds, where a service has that
            limit.
    """

    endpoint_id: UUID
    task_group_id: UUID
    options: Mapping[str, Any] = field(default_factory=dict)
    retries: int = 0
    serializer: ComputeSerializer = field(default_factory=ComputeSerializer)
    ledger: Ledger = field(default_factory=Ledger)
    batch_size: int = 1_000
    label: str = ""
    burst_limit: int = BURST_LIMIT
    burst_window_s: float = BURST_WINDOW_S


LIKE_COMPUTE_SDK = "4.19.0"
"""The published version whose protocol this package speaks: endpoints may choose an environment by it."""

LIKE_GLOBUS_SDK = "4.9.1"


@cache
def user_runtime() -> Mapping[str, Any]:
    """What Python and platform this is, for endpoints that choose an environment by it."""
    # platform.processor and platform.architecture would each start a program.
    return {
        "globus_compute_sdk_version": LIKE_COMPUTE_SDK,
        "globus_sdk_version": LIKE_GLOBUS_SDK,
        "python_version": sys.version,
        "python": {
            "version": platform.python_version(),
            "version_description": sys.version,
            "version_tuple": list(sys.version_info[:3]),
            "version_info": list(sys.version_info),
            "implementation": platform.python_implementation(),
            "compiler": platform.python_compiler(),
        },
        "platform": {
            "architecture": ["64bit" if sys.maxsize > 2**32 else "32bit", ""],
            "machine": platform.machine(),
            "node": platform.node(),
            "platform": sys.platform,
            "processor": platform.machine(),
            "release": platform.release(),
        },
    }
