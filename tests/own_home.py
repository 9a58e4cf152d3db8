"""A home folder with a real service in it, for the tests of one module."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compute_nb.home import Home

ONLINE_S = 150


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


@contextmanager
def terminal_agent(name: str, *options: str) -> Iterator[str]:
    """An agent of ours in its terminal, far from the notebook's folder; its service runs. Yields its name."""
    command = [sys.executable, "-m", "compute_nb.cli", "endpoint", "run", name, *options]
    agent = subprocess.Popen(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert agent.stderr is not None
    try:
        assert any("is connected" in line for line in agent.stderr)
        yield name
    finally:
        agent.terminate()
        agent.communicate(timeout=120)


@contextmanager
def lab(name: str = "lab", *words: str, plain: bool = False, workers: int = 2) -> Iterator[Home]:
    """A home with a service, plain or not, and an agent of ours in its terminal.

    Args:
        name: What the endpoint is called.
        words: More of its command line.
        plain: True for a service without extensions.
        workers: How many the agent has.
    """
    with own_home() as one:
        service(one, "start", *(["--plain"] if plain else []))
        command = [sys.executable, "-m", "compute_nb.cli", "endpoint", "run", name]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        agent = subprocess.Popen([*command, "--workers", str(workers), *words], **quiet)
        try:
            await_online(one, name)
            yield one
        finally:
            agent.terminate()
            agent.wait(120)


def await_online(home: Home, name: str) -> str:
    """Returns the id of an endpoint, once its agent is there."""
    limit = time.monotonic() + ONLINE_S
    while time.monotonic() < limit:
        for row in json.loads(service(home, "status", "--json"))["endpoints"]:
            if (row["name"], row["state"]) == (name, "online"):
                return str(row["id"])
    raise AssertionError(f"the endpoint {name} did not come")


def service(home: Home, *words: str) -> str:
    """Runs `compute-nb service …` for that home."""
    done = subprocess.run(
        [sys.executable, "-m", "compute_nb.cli", "service", *words],
        env={**os.environ, "COMPUTE_NB_HOME": str(home.root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    return done.stdout + done.stderr
