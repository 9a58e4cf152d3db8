"""Interpreters of other minor versions, where there are some, and endpoints that run tasks by them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

WANTED = (12, 13)
FALLBACKS = (11, 10, 9, 8)


@cache
def other_pythons() -> list[str]:
    """Those of 3.12 and 3.13 that are not ours; if there are none, the first other one; [] without any."""
    found = [python for minor in WANTED if (python := python_of(minor))]
    return found or [python for minor in FALLBACKS if (python := python_of(minor))][:1]


def python_of(minor: int) -> str | None:
    """Returns the path of that Python 3, None if there is none or it is ours."""
    if minor == sys.version_info[1]:
        return None
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for python in (*root.glob(f"versions/3.{minor}.*/bin/python3"), shutil.which(f"python3.{minor}")):
        if python is None:
            continue
        ask = [str(python), "-c", "import sys; print(sys.version_info[1])"]
        done = subprocess.run(ask, capture_output=True, text=True, check=False)
        if done.stdout.strip() == str(minor):
            return str(python)
    return None


@contextmanager
def other_endpoint(name: str, python: str) -> Iterator[None]:
    """Runs an endpoint whose workers are of that interpreter."""
    command = [sys.executable, "-m", "compute_nb.cli", "endpoint", "run", name, "--python", python]
    agent = subprocess.Popen([*command, "--workers", "1"], stderr=subprocess.PIPE, text=True)
    try:
        assert agent.stderr is not None
        assert any("is connected" in line for line in agent.stderr)
        yield
    finally:
        agent.terminate()
        agent.communicate(timeout=60)
