"""An engine whose library or program is not here is refused before tasks come that would fail of it."""

import sys
from uuid import uuid4

import pytest

from compute_nb.endpoint.engines.catalogue import Site, make_engine
from compute_nb.endpoint.engines.worker import WorkerPlan
from compute_nb.endpoint.settings import Settings
from compute_nb.errors import ComputeError


@pytest.fixture
def site(tmp_path) -> Site:
    return Site(tmp_path, uuid4(), 2, WorkerPlan(sys.executable, tmp_path, tmp_path, None, {}))


@pytest.mark.parametrize(("engine", "module"), [("parsl", "parsl"), ("dask", "distributed")])
def test_a_library_that_is_missing(site, monkeypatch, engine, module):
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(ComputeError, match=rf"-m pip install 'compute_nb\[{engine}\]'"):
        make_engine(Settings(engine=engine), site)


def test_a_launcher_that_is_missing(site):
    with pytest.raises(ComputeError, match="needs no-such-mpiexec, which is not on this machine"):
        make_engine(Settings(engine="mpi", mpi_launcher="no-such-mpiexec"), site)
