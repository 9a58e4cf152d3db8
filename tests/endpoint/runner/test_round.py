"""Tasks that come together to a keeper, with a real worker."""

import queue
import threading
from pathlib import Path

import pytest

from compute_nb.endpoint.runner.answer import CANCELLED, NOT_BEGUN, SUCCESS, Call
from compute_nb.endpoint.runner.keeper import Keeper
from compute_nb.endpoint.runner.round import Round
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.wire import pack_buffers

SERIALIZER = ComputeSerializer()
SETUP = {
    **{"python": None, "folder": None, "packages": None, "memory": None, "live": None, "custody": None},
    **{"limit": 10_000, "environ": {}, "kill_s": 5.0},
}
SOURCE = (
    "def go(begun, hold):\n    import os, time\n    open(begun, 'w').close()\n"
    "    while os.path.exists(hold):\n        time.sleep(0.01)\n"
)
CODE = pack_buffers([f"st\ngo:{SOURCE}"])
WAIT_S = 60


@pytest.fixture
def keeper():
    one = Keeper({**SETUP, "memory": None})
    yield one
    one.close()


class Job:
    """Four tasks, of which the one of number `held` waits for a file to go."""

    def __init__(self, keeper: Keeper, folder: Path, held: int) -> None:
        self.folder, self.hold = folder, folder / "hold"
        self.hold.touch()
        self.told: queue.Queue[list] = queue.Queue()
        calls = [(str(n), self.call(n, self.hold if n == held else folder / "none")) for n in range(4)]
        self.round = Round(keeper, calls, self.told.put)
        self.ends: list = []
        self.thread = threading.Thread(target=lambda: self.ends.extend(self.round.run()))
        self.thread.start()

    def call(self, n: int, hold: Path) -> Call:
        args = SERIALIZER.pack_call((str(self.folder / f"begun{n}"), str(hold)), {})
        return Call(f"task{n}", "f", CODE, args, {})

    def kinds(self) -> dict:
        self.thread.join(WAIT_S)
        return {name: kind for name, kind, *_ in self.ends}

    def begun(self) -> set:
        return {path.name for path in self.folder.glob("begun*")}


@pytest.fixture
def jobs(keeper, tmp_path):
    made = []

    def make(held):
        made.append(Job(keeper, tmp_path, held))
        return made[-1]

    yield make
    for one in made:
        one.hold.unlink(missing_ok=True)
        one.thread.join(WAIT_S)


def test_a_long_task_gives_back_what_waits_behind_it(jobs):
    job = jobs(held=0)
    told = {name: kind for name, kind, *_ in job.told.get(timeout=WAIT_S)}
    assert told == dict.fromkeys("123", NOT_BEGUN)
    job.hold.unlink()
    assert job.kinds() == {**told, "0": SUCCESS}
    assert job.begun() == {"begun0"}


def test_what_has_ended_is_told_while_a_long_task_runs_and_that_is_ended(keeper, jobs, tmp_path, monkeypatch):
    monkeypatch.setattr("compute_nb.endpoint.runner.round.LONG_S", 3.0)  # of which a short one may take some
    assert keeper.call(Call("t", "f", CODE, arguments(tmp_path, 9), {})).kind == SUCCESS
    job = jobs(held=1)
    told = {name: kind for name, kind, *_ in job.told.get(timeout=WAIT_S)}
    assert told == {"0": SUCCESS, "2": NOT_BEGUN, "3": NOT_BEGUN}
    assert job.round.stop("1")
    assert job.kinds() == {**told, "1": CANCELLED}
    assert not job.round.stop("1")


def test_what_waits_never_begins_once_it_is_stopped(keeper, tmp_path, monkeypatch):
    calls = [(str(n), Call(f"t{n}", "f", CODE, arguments(tmp_path, n), {})) for n in range(4)]
    one = Round(keeper, calls)
    monkeypatch.setattr("compute_nb.endpoint.runner.round.LONG_S", WAIT_S)
    assert one.stop("2")
    assert not one.stop("4")
    kinds = {name: kind for name, kind, *_ in one.run()}
    assert kinds == {"0": SUCCESS, "1": SUCCESS, "2": CANCELLED, "3": SUCCESS}
    assert not (tmp_path / "begun2").exists()


def arguments(folder: Path, n: int) -> str:
    return SERIALIZER.pack_call((str(folder / f"begun{n}"), str(folder / "none")), {})


def test_a_stop_that_comes_while_the_worker_starts_is_kept(keeper, tmp_path):
    keeper.expect("x")
    assert keeper.stop("x")
    assert keeper.call(Call("t", "f", CODE, arguments(tmp_path, 0), {})).kind == CANCELLED
    assert not (tmp_path / "begun0").exists()
    assert keeper.call(Call("t", "f", CODE, arguments(tmp_path, 1), {})).kind == SUCCESS
