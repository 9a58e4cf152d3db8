"""This module is the face of compute_nb: run a notebook cell or a function somewhere else."""

from importlib import import_module

TYPE_CHECKING = False  # as in typing, whose import would be most of the cost of this one
if TYPE_CHECKING:
    from typing import Any

    from compute_nb.batch import Batch
    from compute_nb.client import Client
    from compute_nb.errors import ComputeError, TaskExecutionFailed
    from compute_nb.executor import Executor
    from compute_nb.future import ComputeFuture
    from compute_nb.mpi import MPIFunction
    from compute_nb.shell import ShellFunction
    from compute_nb.shell_result import ShellResult

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "Client",
    "ComputeError",
    "ComputeFuture",
    "Executor",
    "MPIFunction",
    "ShellFunction",
    "ShellResult",
    "TaskExecutionFailed",
    "__version__",
    "load_ipython_extension",
]

_HOMES = {
    "Batch": "compute_nb.batch",
    "Client": "compute_nb.client",
    "ComputeError": "compute_nb.errors",
    "ComputeFuture": "compute_nb.future",
    "Executor": "compute_nb.executor",
    "MPIFunction": "compute_nb.mpi",
    "ShellFunction": "compute_nb.shell",
    "ShellResult": "compute_nb.shell_result",
    "TaskExecutionFailed": "compute_nb.errors",
}


def __getattr__(name: str) -> object:
    """Loads a name from its module when it is first asked for, so that importing this costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(ipython: "Any") -> None:
    """Brings `%%compute` into an IPython shell; called by `%load_ext compute_nb`."""
    import_module("compute_nb.notebook").load_ipython_extension(ipython)
