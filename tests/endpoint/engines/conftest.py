"""One engine of each kind, started once for all tests of the contract."""

import pytest

from compute_nb.endpoint.gate import Limits
from compute_nb.endpoint.settings import ENGINES, Settings

PATIENCE_S = 60.0
MEMORY_BYTES = 400_000_000


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
