"""Cells and functions on workers that are not as the notebook: another Python, no compute_nb, no dill."""

import json
import subprocess
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kernels import Kernel, kernel_at
from own_home import own_home, service, terminal_agent

NOT_THERE = ("compute_nb", "_editable_impl_compute_nb", "dill")
HERE = """\
%load_ext compute_nb
class Reading:
    def __init__(self, value):
        self.value = value

    def doubled(self):
        return Reading(self.value * factor)

    def _repr_html_(self):
        return f"<b>{self.value}</b>"

factor, limit, rows = 2, 3, [Reading(1.5), Reading(2)]
"""
VALUES = """\
%%compute {name} -w -n run -o squares
import importlib.util, platform, sys
print("printed by", platform.python_version())
squares = {{n: n * n for n in range(limit)}}
there = [one for one in ("compute_nb", "dill") if importlib.util.find_spec(one)]
[one.doubled() for one in rows], sys.prefix, there"""
BACK = """\
import json
doubled, prefix, there = run.result()
doubled = [one.value for one in doubled if isinstance(one, Reading)]
print(json.dumps([doubled, list(squares), prefix, there]))"""
SHOWN = "%%compute {name} -w\nrows[0].doubled()"
JSON = """\
%%compute {name} -w --serializer JSONData --result-serializer JSONData
[limit, {{"n": factor}}]"""
BROKEN = """\
%%compute {name} -n broken --no-wait
values = {{"a": limit}}

def deeper(key):
    return values[key]

deeper("b")"""
TOLD = "%compute wait broken\n%compute tb broken"
CAUGHT = """\
try:
    broken.result()
except KeyError as error:
    print("caught", error.args)"""
PLAIN = """\
from compute_nb import Executor
from compute_nb.serialize import ComputeSerializer, JSONData, PureSourceTextInspect

def plain(x):
    return x + 1

source = ComputeSerializer(strategy_code=PureSourceTextInspect(), strategy_data=JSONData())
with Executor("{name}", serializer=source) as executor:
    print("value", executor.submit(plain, 1).result(60))
with Executor("{name}") as executor:
    print("error", executor.submit(plain, 1).exception(60))"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with own_home() as home:
        service(home, "start")
        with kernel_at(tmp_path_factory.mktemp("far") / "far.ipynb") as one:
            one.text(HERE)
            yield one


def cells(kernel: Kernel, name: str) -> tuple[str, list[Any]]:
    """Runs the cells that go everywhere; returns what the first one printed, and its place and modules."""
    printed = kernel.text(VALUES.format(name=name), "c1")
    values, squares, *back = json.loads(kernel.text(BACK, "c2"))
    assert (values, squares) == ([3.0, 4], [0, 1, 2])
    shown = [message["content"].get("data", {}) for message in kernel.run(SHOWN.format(name=name), "c3")]
    assert "<b>3.0</b>" in [data.get("text/html") for data in shown]
    assert kernel.text(JSON.format(name=name), "c4").endswith("[3, {'n': 2}]")
    kernel.run(BROKEN.format(name=name), "c5")
    told = kernel.text(TOLD, "c6")
    for line, text in ((6, 'deeper("b")'), (4, "return values[key]")):
        assert f"], line {line}" in told
        assert text in told
    assert "KeyError: 'b'" in told
    assert "caught ('b',)" in kernel.text(CAUGHT, "c7")
    return printed, back


def test_another_python_runs_cells(kernel: Kernel, other_python: str) -> None:
    told = subprocess.run([other_python, "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    name = f"python-{told.replace('.', '-')}"
    with terminal_agent(name, "--python", other_python, "--workers", "1"):
        printed, _ = cells(kernel, name)
    assert f"printed by {told}" in printed


def test_a_bare_python_runs_cells(kernel: Kernel, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    venv.create(bare, symlinks=True)  # nothing is installed in it: dill is lent by the agent, who has it
    with terminal_agent("bare", "--python", str(bare / "bin" / "python"), "--workers", "1"):
        _, back = cells(kernel, "bare")
    assert back == [str(bare), ["dill"]]


def test_a_dask_worker_without_dill_runs_cells(kernel: Kernel, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    lean = without(tmp_path / "lean")
    with (
        distributed.LocalCluster(
            n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs="ERROR"
        ) as cluster,
        dask_worker(lean / "bin" / "python", cluster.scheduler_address, tmp_path),
    ):
        file = tmp_path / "far.toml"
        file.write_text(f'engine = "dask"\n[dask]\naddress = "{cluster.scheduler_address}"\n')
        with terminal_agent("dask", "--config", str(file)):
            _, back = cells(kernel, "dask")
            told = kernel.text(PLAIN.format(name="dask"), "c8")
    assert back == [str(lean), []]
    assert "value 2" in told
    assert f"this task needs dill, which {lean}/bin/python can't import" in told
    assert "-m pip install dill` on the endpoint" in told


def without(folder: Path) -> Path:
    """Makes an environment with all that is installed here but compute_nb and dill."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if path.name.partition(".")[0].partition("-")[0] not in NOT_THERE:
            (packages / path.name).symlink_to(path)
    return folder


@contextmanager
def dask_worker(python: Path, address: str, folder: Path) -> Iterator[None]:
    """Runs a worker of that interpreter, with one thread."""
    options = ["--no-nanny", "--no-dashboard", "--nthreads", "1", "--local-directory", str(folder)]
    command = [str(python), "-m", "distributed.cli.dask_worker", address, *options]
    log = (folder / "worker.log").open("w")
    worker = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        yield
    finally:
        worker.terminate()
        worker.wait(60)
        log.close()
