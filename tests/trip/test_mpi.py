"""MPI from the notebook to the ranks: a service, an agent with the MPI engine, Debian's mpiexec."""

import os
import shutil
import subprocess
import sys

import pytest
from own_home import lab

from compute_nb import Executor, MPIFunction
from compute_nb.errors import TaskExecutionFailed
from compute_nb.home import Home

pytestmark = pytest.mark.skipif(
    shutil.which("mpiexec") is None and not os.environ.get("CI"),
    reason="no mpiexec: `make system` installs it",
)
HELLO = "bash -c 'echo rank $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE'"
CELLS = """
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "compute_nb")
for ranks in (2, 4):
    line = f'%%compute lab --mpi -w --resources {{"num_nodes": 1, "ranks_per_node": {ranks}}}'
    shell.run_cell(line + "\\n" + HELLO).raise_error()
"""


@pytest.fixture(scope="module")
def home():
    with lab("lab", "--engine", "mpi", workers=4) as one:
        yield one


@pytest.mark.parametrize("ranks", [2, 4])
def test_hello_by_mpi_function(home: Home, ranks: int) -> None:
    with Executor("lab") as executor:
        executor.resource_specification = {"num_nodes": 1, "ranks_per_node": ranks}
        shown = executor.submit(MPIFunction(HELLO)).result(timeout=60)
    assert shown.returncode == 0
    assert sorted(shown.stdout.splitlines()) == [f"rank {rank} of {ranks}" for rank in range(ranks)]


def test_hello_by_cells(home: Home) -> None:
    program = f"HELLO = {HELLO!r}\n{CELLS}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("rank ")]
    assert sorted(said) == sorted(f"rank {rank} of {ranks}" for ranks in (2, 4) for rank in range(ranks))


def test_more_than_the_endpoint_has_is_refused(home: Home) -> None:
    with Executor("lab") as executor:
        executor.resource_specification = {"num_nodes": 1, "ranks_per_node": 5}
        refusal = "for 1 node with 5 ranks each, and this endpoint has 1 with 4"
        with pytest.raises(TaskExecutionFailed, match=refusal):
            executor.submit(MPIFunction(HELLO)).result(timeout=60)
