"""A home folder with a real service in it, for the tests of one module."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compute_nb.config import Home


@contextmanager
def own_home() -> Iterator[Home]:
    """Makes a home the default one; what runs in it is stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="cnb") as folder, pytest.MonkeyPatch.context() as patch:
        home = Home(Path(folder) / "home").prepare()
        patch.setenv("COMPUTE_NB_HOME", str(home.root))
        try:
            yield home
        finally:
            service(home, "stop")


def service(home: Home, *words: str) -> str:
    """Runs `compute-nb service …` for that home."""
    done = subprocess.run(
        [sys.executable, "-m", "compute_nb.cli", "service", *words],
        env={**os.environ, "COMPUTE_NB_HOME": str(home.root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout + done.stderr
