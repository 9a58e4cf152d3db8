"""Two services, one plain and one not, each with an endpoint; the published SDK as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import guide
import pytest
from own_home import service

from compute_nb.config import Home
from compute_nb.local import find_service

collect_ignore = [] if guide.FILE.exists() else ["test_guide.py"]

HERE = Path(__file__).parent
WAIT_S = 60


@dataclass(frozen=True)
class Side:
    """A running service with an endpoint `lab`."""

    home: Home
    url: str
    token: str
    endpoint_id: str


class PublishedClient:
    """The published SDK, pointed at a service."""

    def __init__(self, python: str, url: str, token: str, folder: Path) -> None:
        with (folder / "published.log").open("w") as log:
            self._process = subprocess.Popen(
                [python, str(HERE / "published_client.py"), url, token],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "GLOBUS_COMPUTE_USER_DIR": str(folder)},
            )

    def do(self, operation: str, **arguments: Any) -> Any:
        """The answer, or the text of an error as a RuntimeError."""
        self._process.stdin.write(json.dumps({"do": operation, **arguments}) + "\n")
        self._process.stdin.flush()
        reply = json.loads(self._process.stdout.readline())
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply["ok"]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(WAIT_S)
        self._process.stdin.close()
        self._process.stdout.close()


@contextmanager
def running_side(*words: str) -> Iterator[Side]:
    """Runs a service and its agent in a home of their own."""
    with tempfile.TemporaryDirectory(prefix="cnb") as folder:
        home = Home(Path(folder) / "home").prepare()
        service(home, "start", *words)
        agent = subprocess.Popen(
            [sys.executable, "-m", "compute_nb.cli", "endpoint", "run", "lab", "--workers", "2"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "COMPUTE_NB_HOME": str(home.root)},
        )
        try:
            info = find_service(home)
            yield Side(home, info.url, info.token, _endpoint_id(home))
        finally:
            agent.terminate()
            agent.wait(WAIT_S)
            service(home, "stop")


def _endpoint_id(home: Home) -> str:
    for _ in range(200):
        for row in json.loads(service(home, "status", "--json"))["endpoints"]:
            if row["state"] == "online":
                return str(row["id"])
    raise AssertionError("the endpoint did not come")


@pytest.fixture(scope="session")
def plain() -> Iterator[Side]:
    with running_side("--plain") as side:
        yield side


@pytest.fixture(scope="session")
def extended() -> Iterator[Side]:
    with running_side() as side:
        yield side
