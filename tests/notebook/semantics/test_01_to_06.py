"""What a compute cell means: one namespace, capture, helpers, classes, `local`, other endpoints."""
# ruff: noqa: E501 - a cell is one line, so that a case is one line

import json
import os
import sys
from pathlib import Path

import psutil
import pytest
from own_home import service, terminal_agent

from compute_nb.config import LOCAL
from compute_nb.endpoint.engines.processes import IDLE_S
from compute_nb.endpoint.machine import usable_cpus
from compute_nb.errors import DeserializationError, TaskExecutionFailed
from compute_nb.local import find_service
from compute_nb.notebook.refusal import CellRefused
from compute_nb.service.config import ServiceConfig

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")


# -- 1: one namespace


def test_01_the_body_shares_one_namespace_with_its_helpers(nb):
    nb.here("scale = 2\ndef area(r): return scale * r * r\nclass Box:\n    def size(self): return scale")
    cell = "scale = 5\nfrom math import *\n__name__, area(2), Box().size(), floor(pi)"
    assert nb.here(f"%%compute -w\n{cell}") == ("__main__", 20, 5, 3)
    assert nb.names["scale"] == 2
    assert "pi" not in nb.names


CLEAN = """
import os, random, sys, time
import numpy as np
import matplotlib.pyplot as plt
found = os.getcwd(), os.environ.get("DIRT"), sys.argv[-1:], plt.get_fignums(), "dirt" in globals()
drawn = random.random(), float(np.random.rand())
os.chdir("/")
os.environ["DIRT"] = dirt = "here"
sys.argv.append("dirt")
random.seed(1), np.random.seed(1)
fig = plt.figure(); plt.gcf().number
fig.clear()
_ = k
found, drawn, os.getpid()
"""


def test_01_the_surroundings_are_put_back_before_each_task(nb):
    pytest.importorskip("matplotlib")
    nb.here(f"%%compute -m k=range(5) -n g\n{CLEAN}")
    found, drawn, workers = zip(*nb.names["g"].result(60), strict=True)
    assert len(set(workers)) < 5  # so some ran where another had run
    assert len({str(one) for one in found}) == 1
    folder, dirt, arguments, figures, name = found[0]
    assert (folder, dirt, figures, name) == (os.getcwd(), None, [], False)
    assert arguments != ["dirt"]
    assert len(set(drawn)) == 5
    assert len({value for pair in drawn for value in pair}) == 10


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("input('name? ')", EOFError),
        ("raise SystemExit(0)", TaskExecutionFailed),
        ("exit(0)", TaskExecutionFailed),
    ],
)
def test_01_input_has_ended_and_leaving_is_a_failure(nb, body, error):
    with pytest.raises(error):
        nb.here(f"%%compute -w -n f\n{body}")
    assert nb.names["_compute"].state.value == "FAILED"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (" ", "no code"),
        ("", "no code: write what is to run under the `%%compute` line"),
        ("# a comment", "no code"),
        ("x = 1\nreturn x", "line 2: `return` works in a function only; .*last expression is its value"),
    ],
)
def test_01_an_empty_body_and_a_return_are_refused_with_the_mend(nb, body, told):
    with pytest.raises(CellRefused, match=told):
        nb.here(f"%%compute\n{body}")
    assert nb.ip.check_complete("%%compute local")[0] == "incomplete"  # a plain terminal waits for the body


# -- 2: capture


def test_02_what_is_read_before_it_is_bound_travels(nb):
    nb.here("max = 'mine'\nn = 10\nnever = open('/dev/null')")
    body = "if n > 5:\n    n += 1\nfor never in range(2): pass\nmax, n, never"
    assert nb.here(f"%%compute -w\n{body}") == ("mine", 11, 1)
    nb.here("never.close()\ndel max")


def test_02_what_a_helper_binds_or_shows_is_there(nb):
    nb.here("def deeper():\n    def inner():\n        global found\n        found = 5\n    return inner")
    nb.here("def search(): deeper()()")
    assert nb.here("%%compute -w\nsearch()\nfound + 1") == 6
    with pytest.raises(CellRefused, match="`foound` exists neither here nor in the cell"):
        nb.here("%%compute -w\nsearch()\nfoound + 1")
    nb.here("from IPython.display import clear_output, display as show\nfrom math import tau as display")
    nb.here("def step(i):\n    clear_output(wait=True)\n    print('step', i)")
    assert nb.here(
        "%%compute -w -n f\nshow('a')\nstep(1)\nstep(2)\nclear_output.__name__, round(display)"
    ) == (
        "clear_output",
        6,
    )
    nb.here("del display")
    assert "step 2" in str(nb.names["f"].raw)
    assert "step 1" not in str(nb.names["f"].raw)


def test_02_i_adds_names_and_replaces_none(nb):
    nb.here("df = __import__('pandas').DataFrame({'k': [1, 2, 3]})\nx, y = 2, 40")
    assert nb.here("%%compute -w -i x\nlen(df.query('k >= @x')) + y") == 42


@pytest.mark.parametrize("name", ["In", "Out", "get_ipython"])
def test_02_what_is_the_notebooks_own_is_refused(nb, name):
    with pytest.raises(CellRefused, match=rf"line 1: `{name}` can't travel: "):
        nb.here(f"%%compute\n{name}")


def test_02_inputs_are_a_snapshot_and_stay_shared(nb, gate):
    nb.here("a = [1]\nb = a\nlater = {'a': a}")
    nb.here("%%compute -n f -o c,d\nopen(gate).read()\nc = [a]\nd = c\na is b is later['a'], a, c")
    nb.here("a.append(2)")
    gate.open()
    same, there, value = nb.names["f"].result(60)
    assert (same, there) == (True, [1])
    nb.here("%compute wait")
    assert nb.names["c"] is nb.names["d"] is value
    assert value[0] is there
    assert nb.names["a"] == [1, 2]


def test_02_the_culprit_is_named_with_type_and_size(nb, capsys):
    nb.here("import threading\ngood, lock, big = [1], threading.Lock(), bytes(12_000_000)")
    with pytest.raises(CellRefused, match=r"^`lock` \(a _thread.lock\) can't travel"):
        nb.here("%%compute\ngood, lock")
    with pytest.raises(CellRefused, match=r"^`big` \(a bytes, 12.0 MB\) is too large"):
        nb.here("%%compute\ngood, big")
    assert nb.here("%%compute -w\nif not good:\n    lock\nlen(good)") == 1
    assert "`lock` (a _thread.lock) can't travel" in capsys.readouterr().err


# -- 3: helpers as source


def test_03_what_source_does_not_tell_travels_by_value(nb):
    nb.here("class Cfg:\n    lr = 0.01\nCfg.lr = 0.1\nbase = 4\ndef add(x, n=base): return x + n\nbase = 100")
    nb.here("def adder(n):\n    def inner(x): return x + n\n    return inner\nadd7 = adder(7)")
    nb.here("made = eval('lambda x: x * 3')")
    assert nb.here("%%compute -w\nCfg.lr, add(1), add7(1), made(2)") == (0.1, 5, 8, 6)


# -- 4: classes of the notebook


def test_04_classes_match_by_name_both_ways(nb, gate):
    define = "class P:\n    def __init__(self, x): self.x = x"
    nb.here(f"{define}\np = P(1)")
    nb.here(
        "%%compute -n f -o q\nopen(gate).read()\nq = {'deep': [P(3)]}\nisinstance(p, P), type(p) is P, P(2)"
    )
    nb.here(define)  # the present class counts
    gate.open()
    *flags, made = nb.names["f"].result(60)
    assert flags == [True, True]
    nb.here("%compute wait")
    assert type(made) is type(nb.names["q"]["deep"][0]) is nb.names["P"]


def test_04_a_class_that_is_not_here_yet_is_asked_for(nb):
    nb.here("class Q:\n    def __init__(self, x): self.x = x")
    where = nb.ip.execution_count - 1
    nb.here("%%compute -n f\n[Q(7)]")
    nb.here("%compute wait\ndel Q")
    with pytest.raises(DeserializationError, match=rf"needs `Q`.*run the cell.*In\[{where}\]"):
        nb.names["f"].result(0)
    nb.here("class Q:\n    def __init__(self, x): self.x = x")
    (found,) = nb.names["f"].result(0)
    assert (type(found), found.x) == (nb.names["Q"], 7)


# -- 5: local is here

HERE = """
import os, sys
import here_helper
sys.executable, os.getcwd(), here_helper.value, here_helper.__file__, os.environ.get("OMP_NUM_THREADS"), os.getpid()
"""


def test_05_local_is_the_kernels_own_python_and_folder(nb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    helper = tmp_path / "here_helper.py"
    threads = str(max(1, (os.cpu_count() or 1) // usable_cpus()))
    for value in (1, 22):  # read again once it has changed
        helper.write_text(f"value = {value}\n")
        for _ in range(2):
            python, folder, found, file, blas, _ = nb.here(f"%%compute -w\n{HERE}")
            assert (python, folder, found, file) == (sys.executable, str(tmp_path), value, str(helper))
            assert blas == threads
    nb.here("%%compute --shell -w\necho hello")
    assert {path.name for path in tmp_path.iterdir()} <= {"__pycache__", "here_helper.py"}


def test_05_workers_are_as_many_as_usable_cpus_and_state_is_per_host(nb, home):
    assert nb.here("%%compute -w\n1") == 1  # no endpoint named: local
    status = json.loads(service(home, "status", "--json"))
    (local,) = [row for row in status["endpoints"] if row["name"] == LOCAL]
    assert local["workers"] == usable_cpus()
    assert Path(status["token_file"]).is_relative_to(home.root)
    assert Path(status["store"].rpartition(":///")[2] or status["store"]).parent.is_relative_to(
        home.root / "hosts"
    )


def test_05_the_service_is_in_a_session_of_its_own(nb, home):
    assert nb.here("%%compute -w\n1") == 1
    info = find_service(home)
    assert info is not None
    assert os.getsid(info.pid) not in (os.getsid(0), 0)
    assert os.getpid() not in [parent.pid for parent in psutil.Process(info.pid).parents()]


def test_05_idle_workers_and_services_end(home):
    assert IDLE_S == 10 * 60
    assert ServiceConfig(home).idle_s == 60 * 60


# -- 6: other endpoints


@pytest.fixture(scope="module")
def gpu(home):
    """An endpoint of the same service that is not `local`, and so counts as elsewhere."""
    service(home, "start")
    with terminal_agent("gpu") as name:
        yield name


def test_06_local_modules_travel_to_other_endpoints(nb, gpu, tmp_path, monkeypatch):
    (tmp_path / "far_helper.py").write_text("def twice(x): return 2 * x\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    body = "import far_helper, os\nfar_helper.twice(21), os.path.exists('far_helper.py')"
    assert nb.here(f"%%compute {gpu} -w\n{body}") == (42, False)
    with pytest.raises(CellRefused, match="there is no module `far_helperr`"):
        nb.here(f"%%compute {gpu} -w\nimport far_helperr")


def test_06_what_is_named_like_a_secret_leaves_only_by_i(nb, gpu):
    for name in ("hub_token", "my_password", "SECRET_1", "openai_api_key"):
        nb.here(f"{name} = 'abc123'")
        with pytest.raises(CellRefused, match=rf"`{name}` looks like a secret.*`-i {name}`") as caught:
            nb.here(f"%%compute {gpu} -w\nlen({name})")
        assert "abc123" not in str(caught.value)
    assert nb.here(f"%%compute {gpu} -w -i hub_token\nlen(hub_token)") == 6
    assert nb.here("%%compute local -w\nlen(hub_token)") == 6
