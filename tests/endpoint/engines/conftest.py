"""One engine of each kind, started once for all tests of the contract."""

from pathlib import Path

import pytest

from compute_nb.endpoint.gate import Limits
from compute_nb.endpoint.settings import ENGINES, Settings

PATIENCE_S = 60.0
MEMORY_BYTES = 200_000_000


@pytest.fixture(scope="session", params=ENGINES)
def engine(request, rig_class, tmp_path_factory):
    """A rig of two workers on each engine; tests leave it as they found it."""
    one = rig_class(
        tmp_path_factory.mktemp(request.param),
        settings=Settings(engine=request.param, kill_s=0.5, limits=Limits(memory_bytes=MEMORY_BYTES)),
    )
    one.wait_s = PATIENCE_S
    yield one
    one.stop()


@pytest.fixture
def fresh(rig_class, tmp_path):
    """Makes engines of a kind that a test may break."""
    made = []

    def make(name, **settings):
        one = rig_class(tmp_path, settings=Settings(engine=name, **settings))
        one.wait_s = PATIENCE_S
        made.append(one)
        return one

    yield make
    for one in made:
        one.stop()


class Hold:
    """A file that keeps tasks of `GATE` going."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / name
        self.path.touch()

    def __str__(self) -> str:
        return str(self.path)

    def begun(self) -> bool:
        return self.path.with_name(self.path.name + ".begun").exists()

    def release(self) -> None:
        self.path.unlink(missing_ok=True)


@pytest.fixture
def holds(tmp_path):
    made = []

    def make(name="hold"):
        made.append(Hold(tmp_path, name))
        return made[-1]

    yield make
    for hold in made:
        hold.release()
