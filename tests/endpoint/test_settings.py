"""An endpoint.toml, key by key."""

import os
from pathlib import Path
from uuid import UUID

import pytest

from compute_nb.endpoint import settings
from compute_nb.endpoint.settings import Settings, read_settings
from compute_nb.errors import ComputeError

FUNCTION = UUID(int=7)
NOTHING = {"engine": None, "workers": None, "python": None}


def read(tmp_path, text, **given) -> Settings:
    path = tmp_path / "endpoint.toml"
    path.write_text(text)
    return read_settings(path, given)


def test_nothing_said_is_the_default():
    assert read_settings(None, NOTHING) == Settings()


def test_every_key(tmp_path):
    found = read(
        tmp_path,
        f"""
        engine = "mpi"
        workers = 3
        python = "python3"
        working_folder = "work"
        walltime_s = 60
        stop_s = 20.5
        kill_s = 0
        idle_s = 30
        public = true
        min_workers = 2
        max_tasks_per_worker = 100
        preload = ["numpy", "scipy.linalg"]
        result_limit = 1000
        memory_limit = "1.5 GB"
        allowed_functions = ["{FUNCTION}"]
        allowed_serializers = ["JSONData", "compute_nb.serialize.PureSourceTextInspect"]
        [environment]
        OMP_NUM_THREADS = "1"
        [mpi]
        launcher = "srun"
        nodes = ["a", "b"]
        slots_per_node = 8
        """,
    )
    assert (found.engine, found.workers, found.python) == ("mpi", 3, "python3")
    assert found.folder == tmp_path / "work"
    assert (found.limits.walltime_s, found.stop_s, found.kill_s, found.idle_s) == (60.0, 20.5, 0.0, 30.0)
    assert (found.min_workers, found.max_tasks, found.public) == (2, 100, True)
    assert found.preload == ("numpy", "scipy.linalg")
    assert found.limits.result_chars == 1000
    assert found.limits.memory_bytes == 1_500_000_000
    assert found.limits.functions == {FUNCTION}
    assert found.limits.serializers == {"11", "st"}
    assert found.environ == {"OMP_NUM_THREADS": "1"}
    assert (found.mpi_launcher, found.mpi_nodes, found.mpi_slots) == ("srun", ("a", "b"), 8)


def test_the_command_line_wins(tmp_path):
    found = read(tmp_path, 'workers = 3\npython = "a"\n', workers=5, engine="threads", python="./b")
    assert (found.workers, found.engine) == (5, "threads")
    assert found.python == os.path.abspath("b")


def test_a_python_file_is_a_config_of_parsl(tmp_path):
    path = tmp_path / "cluster.py"
    path.write_text("")
    found = read_settings(path, {})
    assert (found.engine, found.parsl_config) == ("parsl", path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("worker = 2", "there is no key 'worker' (did you mean 'workers'?)"),
        ("[mpi]\nslots = 2\n", "there is no key 'mpi.slots'"),
        ('engine = "proceses"', "(did you mean 'processes'?)"),
        ("public = 1", "public must be true or false, not 1"),
        ("workers = 0", "workers must be a count from 1, not 0"),
        ("workers = 2\nmin_workers = 3", "min_workers must be at most `workers`, which is 2 here, not 3"),
        ("min_workers = 9999", "min_workers must be at most `workers`, which is "),
        ("min_workers = -1", "min_workers must be a count from 0, at most `workers`, not -1"),
        ('engine = "threads"\nmin_workers = 2', "the engine threads can't honour min_workers"),
        ('engine = "dask"\nmin_workers = 0', "choose another engine, such as processes"),
        (
            'engine = "threads"\nmax_tasks_per_worker = 2',
            "can't honour max_tasks_per_worker, since its tasks",
        ),
        (
            "max_tasks_per_worker = -2",
            "max_tasks_per_worker must be a count from 1, or 0 for no limit, not -2",
        ),
        ('preload = "numpy"', "preload must be a list of modules by name, not 'numpy'"),
        ('preload = ["numpy;import os"]', "preload must be a list of modules by name, such as"),
        ("workers = 1000000000000000000000", "workers must be at most 100000, not 1"),
        ("workers = true", "workers must be a count from 1, not True"),
        ('walltime_s = "1h"', "walltime_s must be seconds above 0, not '1h'"),
        ("walltime_s = 0", "walltime_s must be seconds above 0, not 0"),
        ("stop_s = nan", "stop_s must be seconds from 0"),
        ('engine = "threads"\nwalltime_s = 5', "the engine threads can't honour walltime_s"),
        ('[dask]\naddress = "tcp://a:1"', "[dask] is for the engine dask, and this endpoint has processes"),
        ('allowed_functions = ["all"]', "allowed_functions must be a list of function ids"),
        ('allowed_serializers = ["JSONDat"]', "(did you mean 'JSONData'?)"),
        ("result_limit = 99999999999", "result_limit must be characters from 1 to 10485760"),
        ("memory_limit = 1000", 'memory_limit must be bytes from 64000000, or a text such as "4 GB"'),
        ('memory_limit = "999999999999999 TB"', "not '999999999999999 TB'"),
        ('memory_limit = "4 giga"', "not '4 giga'"),
        ("memory_limit = 4.5e9", "not 4500000000.0"),
        ("[environment]\nA = 1\n", "environment.A must be a text, not 1"),
        ("[mpi]\nnodes = [1]\n", "mpi.nodes must be a list of texts"),
        ("workers = ", "can't be read"),
    ],
)
def test_what_can_not_be_is_told_with_the_file(tmp_path, text, said):
    engine = {"engine": "mpi"} if "[mpi]" in text else {}
    with pytest.raises(ComputeError) as caught:
        read(tmp_path, text, **engine)
    assert said in str(caught.value)
    assert str(tmp_path / "endpoint.toml") in str(caught.value)


def test_the_documentation_has_every_key():
    text = (Path(__file__).parent.parent.parent / "docs" / "endpoint.md").read_text()
    tables = [f"`[{name}]` `{key}`" for name, table in settings._TABLES.items() for key in table]
    for key in [
        f"`{key}`" for key in settings._TOP if key not in (*settings._TABLES, "environment")
    ] + tables:
        assert f"| {key} |" in text, key


@pytest.mark.parametrize(
    ("text", "size"),
    [("100000000", 10**8), ('"256 MiB"', 1 << 28), ('"2tb"', 2 * 10**12), ('"70000 kB"', 7 * 10**7)],
)
def test_sizes_of_memory(tmp_path, text, size):
    assert read(tmp_path, f"memory_limit = {text}").limits.memory_bytes == size
