"""The modules that an endpoint tells of."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from compute_nb.endpoint.interpreter import about_python
from compute_nb.endpoint.modules import Modules, names_in


def test_this_interpreters_modules_are_those_that_can_be_imported():
    program = (  # pytest has an import hook of its own
        "from compute_nb.endpoint.interpreter import about_python\n"
        "from compute_nb.endpoint.modules import Modules\n"
        "import sys\nprint(Modules(about_python(sys.executable)).text())"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    names = told.stdout.split()
    assert {"json", "numpy", "dill", "sys"} <= set(names)
    assert "no_such_module" not in names
    assert not [name for name in ("math", "zlib", "email") if name not in names]
    assert names == sorted(names)


def test_another_interpreter_tells_the_same_of_itself(tmp_path):
    link = tmp_path / "python"
    link.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    link.chmod(0o755)
    other = Modules(about_python(str(link))).text()
    assert set((other or "").split()) >= {"json", "numpy", "math", "sys"}
    assert "process" not in (other or "").split()  # of the runner's own folder


def test_folders_files_and_extensions_count_and_nothing_else(tmp_path):
    for name in ("one.py", "two.cpython-311-x86_64-linux-gnu.so", "three.pyd", "readme.txt", "x-y.py"):
        (tmp_path / name).touch()
    (tmp_path / "four").mkdir()
    (tmp_path / "five-1.0.dist-info").mkdir()
    assert sorted(names_in(str(tmp_path))) == ["four", "one", "three", "two"]
    assert list(names_in(str(tmp_path / "nowhere"))) == []


def test_what_is_installed_later_is_told(tmp_path):
    modules = Modules({"path": [str(tmp_path)], "builtin": ["sys"], "hooks": []})
    assert modules.text() == "sys"
    (tmp_path / "late.py").touch()
    assert modules.text() == "late sys"


@pytest.mark.parametrize(
    "about",
    [
        {},
        {"path": [], "builtin": [], "hooks": []},
        {"path": [sys.prefix], "builtin": [], "hooks": ["somebodys_hook"]},
        {"path": [sys.prefix], "builtin": []},
        {"path": [__file__], "builtin": [], "hooks": []},
    ],
)
def test_where_more_may_be_found_nothing_is_told(about):
    assert Modules(about).text() is None


def test_the_runner_tells_what_the_agent_asks():
    runner = find_spec("compute_nb.endpoint.runner")
    assert runner is not None
    told = subprocess.run(
        [sys.executable, f"{runner.submodule_search_locations[0]}/__main__.py", "--about"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert '"hooks":' in told.stdout
