"""The MPI engine with a real launcher."""

import os
import shutil
import threading
import time

import pytest

from compute_nb.endpoint.engines.mpi import Launcher, Wish, nodes_here
from compute_nb.errors import ComputeError
from compute_nb.mpi import MPIFunction
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.shell_result import revived
from compute_nb.wire import pack_buffers

HELLO = "bash -c 'echo rank $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE'"

pytestmark = pytest.mark.skipif(
    shutil.which("mpiexec") is None and not os.environ.get("CI"),
    reason="no mpiexec: `make system` installs it",
)


def submit(rig, cmd, **specification):
    function = MPIFunction(cmd.replace("{", "{{").replace("}", "}}"))
    code = pack_buffers([ComputeSerializer().serialize(function)])
    return rig.submit(code, ((), {}), resource_specification=specification)


@pytest.fixture
def cluster(fresh):
    """One node with four ranks."""
    return fresh("mpi", mpi_slots=4)


@pytest.mark.parametrize("ranks", [2, 4])
def test_hello_from_all_ranks(cluster, ranks):
    (value,) = cluster.values(submit(cluster, HELLO, num_nodes=1, ranks_per_node=ranks))
    shown = revived(value)
    assert shown.returncode == 0, shown
    assert sorted(shown.stdout.split("\n")[:-1]) == [f"rank {rank} of {ranks}" for rank in range(ranks)]


def test_ranks_that_are_too_many_are_refused_before_the_start(cluster):
    (result,) = cluster.results(submit(cluster, HELLO, num_nodes=2, ranks_per_node=2))
    assert "asks for 2 nodes with 2 ranks each, and this endpoint has 1 with 4 (localhost)" in result.data
    (result,) = cluster.results(submit(cluster, HELLO, num_ranks=-1))
    assert "num_ranks in resource_specification is a count from 1" in result.data


def test_a_task_waits_for_its_ranks_and_leaves_the_others_theirs(cluster, tmp_path):
    """Three ranks are busy, so four must wait, and no later task overtakes them."""
    hold = tmp_path / "hold"
    hold.touch()
    wait = f"bash -c 'while [ -e {hold} ]; do sleep 0.02; done'"
    first = submit(cluster, wait, num_nodes=1, ranks_per_node=3)
    second = submit(cluster, HELLO, num_nodes=1, ranks_per_node=4)
    third = submit(cluster, HELLO, num_nodes=1, ranks_per_node=1)
    limit = time.monotonic() + 60
    while not cluster.engine._pool._line and time.monotonic() < limit:
        threading.Event().wait(0.01)
    assert len(cluster.engine._pool._line) >= 1
    hold.unlink()
    values = [revived(value) for value in cluster.values(first + second + third)]
    assert [value.returncode for value in values] == [0, 0, 0]
    assert cluster.engine._pool._free == {"localhost": 4}


def test_a_cancelled_task_ends_its_ranks(cluster, tmp_path):
    mark = tmp_path / "pids"
    numbers = submit(cluster, f"bash -c 'echo $$ >> {mark}; exec sleep 60'", num_nodes=1, ranks_per_node=2)
    limit = time.monotonic() + 60
    while not mark.exists() or len(mark.read_text().split()) < 2:
        assert time.monotonic() < limit
        threading.Event().wait(0.01)
    cluster.engine.cancel(numbers)
    (result,) = cluster.results(numbers)
    assert result.outcome.value == "cancelled"
    for pid in mark.read_text().split():
        while os.path.exists(f"/proc/{pid}"):
            assert time.monotonic() < limit
            threading.Event().wait(0.01)


PID = "def pid():\n    import os\n    return os.getpid()\n"
PAIR = (  # two of them wait for each other
    "def pair(folder):\n    import os, time\n    open(os.path.join(folder, str(os.getpid())), 'w').close()\n"
    "    while len(os.listdir(folder)) < 2:\n        time.sleep(0.005)\n    return os.getpid()\n"
)


def test_idle_workers_end_down_to_those_that_are_kept(fresh, tmp_path):
    rig = fresh("mpi", mpi_slots=2, min_workers=1, idle_s=0.1)
    gate = tmp_path / "gate"
    gate.mkdir()
    pids = rig.values(rig.submit(PAIR, str(gate), str(gate)))
    limit = time.monotonic() + 60
    while len(kept := [pid for pid in pids if os.path.exists(f"/proc/{pid}")]) > 1:
        assert time.monotonic() < limit
        threading.Event().wait(0.01)
    assert rig.values(rig.submit(PID))[0] in kept


def test_a_worker_that_has_run_its_tasks_is_replaced(fresh):
    rig = fresh("mpi", mpi_slots=1, max_tasks=2)
    pids = [rig.call(PID) for _ in range(5)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 1]


def test_a_launcher_that_is_missing_is_told():
    with pytest.raises(ComputeError, match=r"needs nowhere-exec.*apt-get install openmpi-bin"):
        Launcher("nowhere-exec")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("srun", "srun --ntasks 4 --ntasks-per-node 2 --nodes 2 --nodelist=a,b --exclusive "),
        ("aprun", "aprun -n 4 -N 2 -node-list a,b --exclusive "),
    ],
)
def test_other_launchers_get_their_own_words(tmp_path, monkeypatch, kind, said):
    program = tmp_path / kind
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    variables = Launcher(kind).variables(Wish(2, 2, 4, "--exclusive"), ["a", "b"])
    assert variables["PARSL_MPI_PREFIX"] == variables[f"PARSL_{kind.upper()}_PREFIX"] == said
    assert variables["PARSL_NUM_RANKS"] == "4"


def test_the_nodes_of_a_batch_job_are_found(tmp_path):
    nodes = tmp_path / "nodes"
    nodes.write_text("n1\nn1\nn2\n")
    assert nodes_here({"PBS_NODEFILE": str(nodes)}) == ("n1", "n2")
    assert nodes_here({}) == ("localhost",)
    with pytest.raises(ComputeError, match="name them by `nodes`"):
        nodes_here({"PBS_NODEFILE": str(tmp_path / "none")})
