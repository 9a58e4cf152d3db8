"""The pre-flight: silently before a submit, and as the report of a dry run; a real endpoint elsewhere."""
# ruff: noqa: E501 - a cell is one line, so that a case is one line

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from own_home import terminal_agent

from compute_nb.client import Client
from compute_nb.errors import ComputeError, TaskExecutionFailed
from compute_nb.home import Home
from compute_nb.local import find_service
from compute_nb.notebook.body.cell import analyse
from compute_nb.notebook.cargo import preflight
from compute_nb.notebook.cargo.packing import Flight, pack_cell
from compute_nb.notebook.cargo.there import There
from compute_nb.notebook.line.arguments import read_cell
from compute_nb.notebook.refusal import CellRefused

HELPERS = """\
from consts import K
class Cfg:
    def __init__(self, a): self.a = a
def area(r):
    if r < 0: raise ValueError('bad r')
    return K * r * r
"""
FILES = {
    "helpers.py": HELPERS,
    "consts.py": "K = 3\n",
    "pkg/__init__.py": "",
    "pkg/deep.py": "from . import sib\nV = sib.W + 1\n",
    "pkg/sib.py": "W = 41\n",
}


pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def nb(nb, tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield nb
    for name in ("helpers", "consts", "pkg", "pkg.deep", "pkg.sib"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def gpu(home: Home) -> Iterator[str]:
    """An endpoint of the same service that is not `local`, and so counts as elsewhere."""
    client = Client()
    client.version_check()  # starts the service
    with terminal_agent("gpu") as name:
        yield name


def test_a_dry_run_submits_nothing_and_starts_nothing(nb, capsys, home):
    nb.here("import numpy as np\ndata = np.zeros((100, 200))\nhub_token = 's3cret'\n")
    nb.here("def mean(x):\n    import statistics\n    return np.mean(x)")
    nb.here("before = dict(globals())")
    began = time.monotonic()
    assert (
        nb.here("%%compute local --dry-run -n f -m seed=range(40)\nimport json\nmean(data) + seed; hub_token")
        is None
    )
    assert time.monotonic() - began < 20
    told = capsys.readouterr().out
    assert find_service(home) is None
    assert "f" not in nb.names
    assert "_compute" not in nb.names
    assert told.startswith("Dry run: 40 tasks for local\n")
    assert re.search(r"^data +ndarray, 100 x 200 +160\.\d kB  by value$", told, re.MULTILINE)
    assert re.search(r"^mean +function +\d+ B  as source$", told, re.MULTILINE)
    assert re.search(r"^hub_token +hidden .*stays on this machine$", told, re.MULTILINE)
    assert re.search(r"^json +✓ there +standard library +line 1$", told, re.MULTILINE)
    assert re.search(r"^statistics +✓ there .*`mean`$", told, re.MULTILINE)
    assert re.search(r"^seed +one for each task +--map seed=range\(40\)$", told, re.MULTILINE)
    assert "s3cret" not in told
    assert "12 B for each task at most" in told


def test_a_dry_run_names_what_would_be_refused(nb, capsys):
    nb.here("%%compute local --dry-run\nimport panads\n1")
    assert "✗ would be refused: line 1: there is no module `panads` in this Python" in capsys.readouterr().out
    with pytest.raises(CellRefused, match=r"`lock` .*can't travel"):
        nb.here(
            "import threading\nlock = threading.Lock()\nget_ipython().run_cell_magic('compute', '--dry-run', 'lock')"
        )


def test_a_module_that_is_surely_missing_costs_no_task(nb, home):
    with pytest.raises(
        CellRefused, match=r"^line 2: there is no module `numpi` in this Python, did you mean `numpy`\?$"
    ):
        nb.here("%%compute local\n'''What it does'''\nimport numpi\n1")
    with pytest.raises(
        CellRefused, match=r"there is no module `skimage` in this Python: `%pip install scikit-image`"
    ):
        nb.here("%%compute local\nimport json, skimage\n1")
    assert find_service(home) is None


@pytest.mark.parametrize(
    "body",
    [
        "try:\n    import nosuch\nexcept ImportError:\n    nosuch = 0\n1",
        "if 0:\n    import nosuch\n1",
        "def f():\n    import nosuch\n1",
        "open('made_here.py', 'w').write('x = 1')\nimport made_here\nmade_here.x",
        "import sys\nsys.path.append('lib')\nimport in_lib\nin_lib.x",
        "import sys, types\nsys.modules['made'] = types.SimpleNamespace(x=1)\nimport made\nmade.x",
    ],
)
def test_a_module_that_may_come_is_not_refused(nb, body):
    Path("lib").mkdir()
    Path("lib/in_lib.py").write_text("x = 1")
    assert nb.here(f"%%compute local -w\n{body}") == 1


def test_a_module_written_a_moment_ago_is_found(nb):
    for number in range(3):
        Path(f"fresh{number}.py").write_text(f"x = {number}")
        assert nb.here(f"%%compute local -w\nimport fresh{number}\nfresh{number}.x") == number


def test_local_modules_travel_to_other_endpoints(nb, gpu):
    nb.here(
        "import helpers\ncfg = helpers.Cfg(5)\ndef far(r):\n    from helpers import area\n    return area(r)"
    )
    assert nb.here("%%compute gpu -w\nimport os\nos.getcwd()") != os.getcwd()
    assert nb.here("%%compute gpu -w\nimport helpers\nhelpers.area(2)") == 12
    assert nb.here("%%compute gpu -w\nfrom pkg.deep import V\nV") == 42
    assert nb.here("%%compute gpu -w\nhelpers.area(2), far(1)") == (12, 3)
    assert nb.here("%%compute gpu -w\ncfg.a") == 5
    assert (
        nb.here("%%compute gpu -w\nimport sys\n[m for m in ('helpers', 'consts', 'pkg') if m in sys.modules]")
        == []
    )
    back = nb.here("%%compute gpu -w\nimport helpers\nhelpers.Cfg(7)")
    assert type(back) is nb.names["helpers"].Cfg
    Path("helpers.py").write_text(HELPERS.replace("K * r * r", "K * r"))
    assert nb.here("%%compute gpu -w\nimport helpers\nhelpers.area(2)") == 6


def test_what_is_installed_is_not_replaced_by_what_only_has_its_name(nb, gpu):
    Path("numpy").mkdir()
    Path("numpy/setup.py").write_text("raise SystemExit('a clone')")
    Path("random.py").write_text("raise RuntimeError('too late')")
    nb.here("import numpy, random")
    assert (
        nb.here("%%compute gpu -w\nimport numpy, random\nint(numpy.zeros(3).sum()) + random.randint(1, 1)")
        == 1
    )


def test_packages_without_init_travel_too(nb, gpu):
    Path("space/inner").mkdir(parents=True)
    Path("space/inner/leaf.py").write_text("x = 8\n")
    Path("space/top.py").write_text("from .inner import leaf\ny = leaf.x\n")
    assert nb.here("%%compute gpu -w\nfrom space.top import y\nfrom space.inner.leaf import x\nx + y") == 16


def test_an_error_in_a_module_that_travelled_shows_its_line(nb, gpu):
    with pytest.raises(ValueError, match="bad r") as caught:
        nb.here("%%compute gpu -w\nimport helpers\nhelpers.area(-1)")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(caught.value._render_traceback_()))
    assert "File helpers.py:5, in area(r)" in shown
    assert "----> 5     if r < 0: raise ValueError('bad r')" in shown
    assert "travelled" not in shown


@pytest.mark.parametrize("endpoint", ["local", "gpu"])
def test_an_import_that_fails_shows_no_frames_of_the_import_itself(nb, gpu, endpoint):
    Path("broken.py").write_text("x = 1\ndef f(:\n")
    nb.here("import importlib\ndef far():\n    importlib.import_module('broken')\n    import broken")
    for body in ("import broken", "far()"):
        with pytest.raises(TaskExecutionFailed) as caught:
            nb.here(f"%%compute {endpoint} -w\n{body}")
        shown = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(caught.value._render_traceback_()))
        assert "def f(:" in shown
        assert "frozen importlib" not in shown
        assert "importlib/__init__" not in shown
        assert "broken.py" in shown


def test_modules_too_large_to_travel_are_refused(nb, gpu):
    Path("huge.py").write_text("x = 1\n" + "# much\n" * 200_000)
    with pytest.raises(CellRefused, match=r"the largest is `huge.py`, and at most 1,000,000 travel"):
        nb.here("%%compute gpu\nimport huge\nhuge.x")


def test_what_the_endpoint_lacks_is_refused_by_its_own_word(nb, gpu, capsys):
    with pytest.raises(
        CellRefused, match=r"^line 1: there is no module `numpi` at `gpu` \(.+\), did you mean `numpy`\?$"
    ):
        nb.here("%%compute gpu\nimport numpi\n1")
    nb.here("%%compute gpu --dry-run\nimport helpers\nimport _odd\nif 1:\n    import nosuch\n1")
    told = capsys.readouterr().out
    assert re.search(r"^endpoint +● online, .+", told, re.MULTILINE)
    assert re.search(r"^helpers +✓ travels as source", told, re.MULTILINE)
    assert re.search(r"^_odd +○ not known", told, re.MULTILINE)
    assert re.search(r"^nosuch +▲ missing there", told, re.MULTILINE)


def test_a_secret_in_a_function_stays_here_too(nb, gpu, capsys):
    nb.here("api_key = 'k3y'\ndef call():\n    return api_key")
    for cell in ("%%compute gpu\napi_key", "%%compute gpu\ncall()"):
        with pytest.raises(CellRefused, match=r"`api_key` looks like a secret.*`-i api_key`") as caught:
            nb.here(cell)
        assert "k3y" not in str(caught.value)
    nb.here("%%compute gpu --dry-run\ncall()")
    told = capsys.readouterr().out
    assert "✗ would be refused: `api_key` looks like a secret" in told
    assert "k3y" not in told
    assert nb.here("%%compute gpu -w -i api_key\ncall()") == "k3y"


def test_a_dry_run_of_a_command_and_of_json(nb, capsys):
    nb.here("path = 'data.csv'\nsteps = [1, 2]")
    nb.here("%%compute local --shell --dry-run -m n=[1, 2]\nhead -n {n} {path}")
    assert re.search(r"^strategy +a command line;", capsys.readouterr().out, re.MULTILINE)
    nb.here("%%compute local --serializer JSONData --dry-run\nlen(steps)")
    assert re.search(r"^strategy +body as source; values as JSON", capsys.readouterr().out, re.MULTILINE)


def test_an_unknown_endpoint_is_named_in_a_dry_run_too(nb, gpu):
    with pytest.raises((CellRefused, ComputeError), match=r"did you mean 'gpu'"):
        nb.here("%%compute gpus --dry-run\n1")


def flight(nb, body: str) -> Flight:
    return pack_cell("In[1]", analyse(body), read_cell(["far"]), None, nb.notebook, "far")


def test_code_without_source_is_refused_for_another_python(nb):
    nb.here("exec('def made(x): return x')\nwritten = lambda x: x\n")
    far = There("far", python="3.8.1")
    with pytest.raises(
        CellRefused, match=r"`made` was made by a program.* to 3\.8\.1 of `far`: define it in a cell"
    ):
        preflight.check(flight(nb, "made(1)"), far, nb.notebook.home)
    preflight.check(flight(nb, "written(1)"), far, nb.notebook.home)
    preflight.check(flight(nb, "made(1)"), There("far"), nb.notebook.home)


def test_nothing_is_refused_where_nothing_is_known(nb, capsys):
    cell = flight(nb, "import nosuch\n1")
    preflight.check(cell, There("far"), nb.notebook.home)
    told = "\n".join(table.text() for table in preflight.report(cell, There("far"), nb.notebook.home))
    assert re.search(r"^nosuch +○ not known", told, re.MULTILINE)
    assert "not known there" in told


def test_html_of_the_report_is_escaped(nb):
    nb.here("class Odd: pass\nOdd.__name__ = '<b>x</b>'\nodd = Odd()")
    cell = flight(nb, "odd")
    shown = "".join(table.html() for table in preflight.report(cell, There("<i>"), nb.notebook.home))
    assert "<i>" not in shown
    assert "&lt;b&gt;x&lt;/b&gt;" in shown


FAR = There("far", python="3.8.1", modules=frozenset({"statistics", "collections", "json"}))


def told(nb, body: str, *, there: There = FAR, line: str = "far") -> str:
    """Returns what a dry run says is refused, and sees that a submit is refused with the same."""
    options = read_cell([*line.split()])
    points = [{name: nb.names[text]} for names, text in options.maps for name in names] or None
    cell = pack_cell("In[1]", analyse(body), options, points, nb.notebook, "far")
    shown = "\n".join(table.text() for table in preflight.report(cell, there, nb.notebook.home))
    if "nothing is known that would fail" in shown:
        preflight.check(cell, there, nb.notebook.home)
        return ""
    with pytest.raises(CellRefused) as caught:
        preflight.check(cell, there, nb.notebook.home)
    assert all(f"✗ would be refused: {text}" in shown for text in str(caught.value).split("; "))
    return str(caught.value)


def test_what_no_source_tells_is_refused_with_the_name_of_value_and_class(nb):
    nb.here(
        "class Box:\n    pass\nexec('def area(self): return 1')\nBox.area = area\nbox = [Box()]\n"
        "from dataclasses import dataclass\n@dataclass(order=True)\nclass Cfg:\n    dt: float = 0.1\ncfg = Cfg()\n"
        "one = Box()\nswept = eval('lambda: 1')"
    )
    assert told(nb, "cfg.dt") == ""
    assert told(nb, "Cfg(3).dt") == ""
    why = "made by a program, so no source tells its code, and it can't go from Python "
    assert f"`box` (a list) needs `area`, {why}" in told(nb, "box")
    assert f"`one` (a Box) needs `area`, {why}" in told(nb, "one")
    assert f"`Box` (the class) needs `area`, {why}" in told(nb, "Box()")
    assert f"the values of `--map` need `<lambda>`, {why}" in told(nb, "k", line="far -m k=swept")


def test_modules_that_values_need_are_looked_for_there(nb):
    nb.here(
        "import numpy as np, collections\nxs = np.arange(4.)\nn = np.float64(2)\nd = collections.deque([1])"
    )
    assert (
        "`xs` (a ndarray): there is no module `numpy` at `far`: install it there, or send `xs.tolist()`"
        in told(nb, "sum(xs)")
    )
    assert "`n` (a float64): there is no module `numpy`" in told(nb, "n + 1")
    assert "values of `--map`: there is no module `numpy`" in told(nb, "k", line="far -m k=xs")
    assert told(nb, "d") == ""
    assert told(nb, "sum(xs)", there=There("far")) == ""


def test_a_module_beside_the_notebook_that_only_swept_values_need_travels(nb, gpu):
    nb.here("import helpers\ncfgs = [helpers.Cfg(5), helpers.Cfg(6)]")
    assert nb.here("%%compute gpu -m c=cfgs -w\nc.a") == [5, 6]


def test_an_import_hook_that_raises_refuses_nothing(nb, home, monkeypatch):
    class Hook:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "odd_module":
                raise RuntimeError("odd")

    monkeypatch.setattr(sys, "meta_path", [Hook, *sys.meta_path])
    body = "try:\n    import odd_module\nexcept ImportError:\n    pass\n1"
    nb.ip.run_cell_magic("compute", "local -w --cache", body)
    with pytest.raises(ModuleNotFoundError, match="odd_module"):
        nb.ip.run_cell_magic("compute", "local -w --cache", "import odd_module")
