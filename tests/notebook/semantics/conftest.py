"""A notebook whose cells go the whole way: own service, broker, agent and workers for each module."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


class Gate:
    """Holds a task that reads it until it is opened; made in the notebook as `gate`."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)

    def open(self) -> None:
        """Lets one task go; returns when it has come there."""
        with open(self.path, "w") as gate:
            gate.write("go")


@pytest.fixture(scope="module", autouse=True)
def _own_service(home) -> None:
    """All of them need it."""


@pytest.fixture
def nb(nb) -> Iterator[object]:
    yield nb
    for run in nb.ip.magics_manager.registry["ComputeMagics"].runs:
        if not run.ended:
            run.cancel_all()


@pytest.fixture
def gate(nb, tmp_path) -> Gate:
    gate = Gate(tmp_path / "gate")
    nb.names["gate"] = gate.path
    return gate
