"""Settings of the process and of libraries are put back after each cell."""

import os
import subprocess
import sys
import warnings

import pytest

CHANGES = (
    "import decimal, os, sys, warnings\nimport numpy as np\nnp.seterr(all='raise')\n"
    "np.set_printoptions(precision=2)\nwarnings.simplefilter('ignore')\nsys.setrecursionlimit(5000)\n"
    "os.umask(0)\ndecimal.getcontext().prec = 3\n"
)
SEEN = (
    "import decimal, os, sys, warnings\nimport numpy as np\n"
    "[np.geterr()['divide'], np.get_printoptions()['precision'], decimal.getcontext().prec, "
    "sys.getrecursionlimit(), os.umask(0o22), "
    "any(f[:3] == ('ignore', None, Warning) for f in warnings.filters)]"
)


def test_settings_are_put_back(shell):
    before = list(warnings.filters), sys.getrecursionlimit(), shell.there(SEEN).value(shell.notebook.home)
    shell.there(CHANGES)
    after = list(warnings.filters), sys.getrecursionlimit(), shell.there(SEEN).value(shell.notebook.home)
    assert after == before


def in_a_worker(shell, *bodies: str) -> str:
    """Runs cells one after the other in a fresh process; returns the text of the last one's value."""
    sources = [shell.source(body)[0] + "\nlast = compute_cell(0, {})\n" for body in bodies]
    program = "".join(sources) + "print(last['display'][0]['text/plain'])"
    done = subprocess.run([sys.executable, "-"], input=program, text=True, capture_output=True, check=True)
    return done.stdout


def test_settings_of_the_cell_that_imports_the_library_are_put_back(shell):
    umask = os.umask(0o22)
    os.umask(umask)
    assert in_a_worker(shell, CHANGES, SEEN) == f"['warn', 8, 28, 1000, {umask}, False]\n"


def test_parameters_of_matplotlib_are_put_back(shell):
    pytest.importorskip("matplotlib")
    change = "import matplotlib\nmatplotlib.rcParams['lines.linewidth'] = 9"
    seen = "import matplotlib\nmatplotlib.rcParams['lines.linewidth']"
    assert in_a_worker(shell, change, seen) == in_a_worker(shell, seen)
    assert in_a_worker(shell, "import matplotlib", change, seen) == in_a_worker(shell, seen)


def test_filters_of_an_imported_library_stay(shell, tmp_path):
    (tmp_path / "lib_of_test.py").write_text("import warnings\nwarnings.filterwarnings('ignore', 'noise')")
    first = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport lib_of_test"
    assert in_a_worker(shell, first, "import warnings\nwarnings.filters[0][0]") == "'ignore'\n"
