"""Whole trips of command lines: to a worker, back, and back again in another process."""

from collections.abc import Callable
from pathlib import Path

import pytest
from ended import left_of

RunScript = Callable[..., str]


THERE = """
import os, sys
from pathlib import Path
from compute_nb import Executor, ShellFunction
from compute_nb.serialize import ComputeSerializer, DillCode, JSONData

os.chdir(sys.argv[1])
Path("data.csv").write_text("1\\n2\\n")
count = ShellFunction("wc -l < {path}; pwd -P; exit {code}")
plain = ShellFunction("echo {word}", return_dict=True, stdout="words")
with Executor("local") as executor:
    print(executor.task_group_id)
    futures = [executor.submit(count, path="data.csv", code=code) for code in (0, 3)]
    futures.append(executor.submit(plain, word="é"))
    results = [future.result(timeout=60) for future in futures]
    print([type(result).__name__ for result in results])
    print(results[0].stdout.split() == ["2", os.path.realpath(".")], repr(results[0].stderr))
    print(results[1].returncode, results[1].exception_name)
    print(results[2]["stdout"], sorted(os.listdir()))
    count.cmd = "echo changed"
    print(executor.submit(count).result(timeout=60).stdout)
allowed = ComputeSerializer(strategy_data=JSONData(), allowed_deserializer_types=[JSONData, DillCode])
with Executor("local", serializer=allowed, result_serializers=[JSONData]) as executor:
    future = executor.submit(count)
    print(type(future.result(timeout=60)).__name__, future.raw[:2])
"""

AGAIN = """
import sys
from compute_nb import Executor

with Executor("local") as executor:
    for future in executor.reload_tasks(sys.argv[1]):
        result = future.result(timeout=60)
        print(type(result).__name__, result["returncode"] if isinstance(result, dict) else result.returncode)
"""


def test_results_come_back_and_come_back_again(run_script: RunScript, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    group, *lines = run_script(THERE, str(folder)).splitlines()
    assert lines == [
        "['ShellResult', 'ShellResult', 'dict']",
        "True ''",
        "3 subprocess.CalledProcessError",
        "é",
        " ['data.csv', 'words']",
        "changed",
        "",
        "ShellResult 11",
    ]
    again = sorted(run_script(AGAIN, group).splitlines())
    assert again == ["ShellResult 0", "ShellResult 0", "ShellResult 3", "dict 0"]


REFUSED = """
from compute_nb import Executor, MPIFunction, ShellFunction

with Executor("local") as executor:
    for given in [(1,), ()]:
        try:
            executor.submit(ShellFunction("echo {x}"), *given)
        except TypeError as error:
            print(error)
    try:
        list(executor.map(ShellFunction("echo {x}"), [1, 2], chunksize=2))
    except TypeError as error:
        print(error)
    mpi = MPIFunction("solve")
    for given in [None, {"nodes": 2}]:
        executor.resource_specification = given
        try:
            executor.submit(mpi)
        except ValueError as error:
            print(error)
    print(executor.task_count_submitted)
    executor.resource_specification = {"num_nodes": 2, "ranks_per_node": 2}
    error = executor.submit(mpi).exception(timeout=60)
    print(error.remote_data)
    shell = executor.register_function(ShellFunction("echo {x}"))
    try:
        executor.submit_to_registered_function(shell)
    except TypeError as error:
        print(error)
    executor.resource_specification = None
    print(executor.submit_to_registered_function(shell, kwargs={"x": 1}).result(timeout=60).stdout)
"""


def test_what_cannot_work_is_refused_here_or_fails_with_the_reason(run_script: RunScript) -> None:
    lines = run_script(REFUSED).splitlines()
    assert "keyword arguments only" in lines[0]
    assert "needs a keyword argument for {x}" in lines[1]
    assert "submit it once for each value" in lines[2]
    assert "needs a resource_specification" in lines[3]
    assert "unknown keys ['nodes']" in lines[4]
    assert lines[5] == "0"
    assert "'num_ranks': 4" in lines[6]
    assert "GlobusMPIEngine" in lines[6]
    assert "needs a keyword argument for {x}" in lines[7]
    assert lines[8] == "1"


ENDED = """
import os, sys
from pathlib import Path
from compute_nb import Executor, ShellFunction
from compute_nb.errors import WorkerDied

how, path = sys.argv[1], Path(sys.argv[2])
os.mkfifo(path)
command = ShellFunction(
    "sleep 600 & (trap '' TERM; while true; do sleep 0.1; done) & sleep 0.2; echo $! $$ $PPID > {path}; wait",
    walltime=4 if how == "walltime" else None,
)
with Executor("local") as executor:
    executor.submit(abs, -1).result(timeout=60)  # the worker's start is no part of a walltime of 4 s
with Executor("local", walltime=4 if how == "executor" else None) as executor:
    future = executor.submit(command, path=path)
    *pids, worker = path.read_text().split()
    print(*pids)
    if how == "cancel":
        print(future.cancel())
    elif how == "worker":
        os.kill(int(worker), 9)
        print(type(future.exception(timeout=60)) is WorkerDied)
    elif how == "executor":
        print("WalltimeExceeded" in str(future.exception(timeout=60)))
    else:
        print(future.result(timeout=60).returncode == 124)
"""


@pytest.mark.parametrize("how", ["walltime", "cancel", "executor", "worker"])
def test_nothing_of_a_command_runs_on(run_script: RunScript, tmp_path: Path, how: str) -> None:
    pids, ended = run_script(ENDED, how, str(tmp_path / "pids")).splitlines()
    assert ended == "True"
    assert not left_of(*map(int, pids.split()))
