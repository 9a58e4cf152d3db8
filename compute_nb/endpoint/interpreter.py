"""This module is the interpreter that runs tasks: what it is, its environment, and dill where it has none."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from compute_nb.config import TOKEN_VARIABLE
from compute_nb.endpoint import machine, modules
from compute_nb.endpoint.engines.worker import RUNNER
from compute_nb.errors import ComputeError

ABOUT_TIMEOUT_S = 60.0

_THREAD_POOLS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_log = logging.getLogger(__name__)


def worker_environ(environ: Mapping[str, str], workers: int, journal_id: UUID) -> dict[str, str]:
    """Returns the environment of workers: ours without secrets, thread pools sharing the processors."""
    share = str(max(1, machine.usable_cpus() // workers))
    given = {name: value for name, value in environ.items() if name != TOKEN_VARIABLE}
    return {**dict.fromkeys(_THREAD_POOLS, share), **given, machine.WORKER_MARK: str(journal_id)}


def about_python(python: str) -> dict[str, Any]:
    """Asks an interpreter for its version, prefix and dill; empty if it does not work."""
    if python == sys.executable:
        version = platform.python_version()
        here = {"python": version, "dill": own_dill(), "prefix": sys.prefix}
        return {**here, **modules.own_places()}
    try:
        asked = subprocess.run(
            [python, os.fspath(RUNNER), "--about"],
            capture_output=True,
            check=True,
            timeout=ABOUT_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
        return dict(json.loads(asked.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        _log.warning("%s can't be asked what it is (%s); its tasks will fail", python, error)
        return {}


def own_dill() -> str:
    """Returns the version of dill that is lent."""
    return importlib.metadata.version("dill")


def lend_dill(folder: Path) -> Path:
    """Makes a folder that holds nothing but our own dill, for the end of a worker's path."""
    spec = importlib.util.find_spec("dill")
    if spec is None or not spec.submodule_search_locations:
        raise ComputeError(f"{sys.executable} lacks dill: run `{sys.executable} -m pip install dill`")
    folder.mkdir(mode=0o700, exist_ok=True)
    link = folder / "dill"
    link.unlink(missing_ok=True)
    link.symlink_to(spec.submodule_search_locations[0])
    return folder
