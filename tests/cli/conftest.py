"""The command line as a user calls it, on a temporary home."""

import os
import subprocess
import sys

import pytest

from compute_nb.home import Home

WAIT_S = 60
COMMAND = [sys.executable, "-m", "compute_nb.cli"]


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture
def environment(home):
    return os.environ | {"COMPUTE_NB_HOME": str(home.root)}


@pytest.fixture
def compute_nb(environment):
    """Runs the command line; a service that a test leaves behind is stopped."""

    def run(*words):
        return subprocess.run(
            [*COMMAND, *words], capture_output=True, text=True, check=False, timeout=WAIT_S, env=environment
        )

    yield run
    run("service", "stop")
