"""Every fault on the engines: what the owner sees of each task, and that none is lost or begins twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_table import DONE, FAULTS, play
from stage import Stage, stage

CHEAP = ("processes", "threads", "mpi")
FARMS = ("parsl", "dask")  # they take seconds to start
# `make bench` has these; memory_limit and the workers of Parsl and Dask are in tests/endpoint/engines.
ELSEWHERE = {"minute", "rabbit", "broker", "agent-asleep", "service-asleep", "limit", "host"}


pytestmark = pytest.mark.timeout(600)  # on a busy machine Parsl and Dask take a minute to start


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("faults")) as made:
        made.start(*CHEAP, *FARMS)
        yield made


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in {*ELSEWHERE, "away"}])
def test_what_is_seen_of_a_fault(one: Stage, tmp_path: Path, name: str) -> None:
    look(one, tmp_path, name, CHEAP)


def test_what_is_seen_of_a_service_that_is_away(one: Stage, tmp_path: Path) -> None:
    look(one, tmp_path, "away", CHEAP + FARMS)


def test_what_is_seen_of_a_killed_agent_of_parsl_and_dask(one: Stage, tmp_path: Path) -> None:
    look(one, tmp_path, "agent", FARMS)


def look(one: Stage, folder: Path, name: str, engines: tuple[str, ...]) -> None:
    fault = FAULTS[name]
    for engine, outcome in zip(engines, play(one, one.agents(*engines), name, folder), strict=True):
        struck, beside = fault.sights(engine)
        assert not outcome.hung, (engine, outcome)
        assert outcome.doubled(fault) == 0, (engine, outcome)
        assert outcome.struck.is_as(struck), (engine, outcome.struck)
        assert outcome.beside.is_as(beside), (engine, outcome.beside)
        for seen in outcome.queued:
            assert seen.is_as(DONE), (engine, seen)
        if fault.waits:
            assert outcome.struck.begun == 0, engine
        if fault.again:
            assert outcome.beside.begun == 1 + fault.again, engine
