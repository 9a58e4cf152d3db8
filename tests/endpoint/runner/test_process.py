"""A worker is started by path, by any Python, and leaves no trace of itself to the user's code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from compute_nb.endpoint import runner
from compute_nb.endpoint.interpreter import about_python, lend_dill

FOLDER = Path(runner.__file__).parent


def others() -> list[str]:
    """Other interpreters on this machine, by path."""
    found = [shutil.which(f"python3.{minor}") for minor in range(8, 15)]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found += [str(path) for path in sorted(root.glob("versions/3.*/bin/python"))]
    mine = f"{sys.version_info[0]}.{sys.version_info[1]}."
    working = {}
    for path in found:
        about = about_python(path) if path else {}
        version = tuple(int(part) for part in about.get("python", "0.0.0").split("."))
        if version >= (3, 8) and not about["python"].startswith(mine):
            working[version[:2]] = path
    oldest_and_newest = sorted(working)[:1] + sorted(working)[-2:]
    return [working[version] for version in sorted(set(oldest_and_newest))]


def test_user_code_gets_its_own_modules_of_the_same_names_as_ours(rigs, tmp_path):
    names = [path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("__")]
    assert "pipe" in names
    for name in names:
        (tmp_path / f"{name}.py").write_text("MINE = True\n")
    source = (
        "def use(names):\n    import importlib\n"
        "    return [importlib.import_module(name).MINE for name in names]\n"
    )
    context = {"cwd": str(tmp_path), "sys_path": [str(tmp_path)]}
    assert rigs(workers=1).call(source, names, context=context) == [True] * len(names)


def test_user_code_sees_an_empty_main_and_no_folder_of_ours(shared):
    source = (
        "def look():\n    import os, sys, __main__\n"
        "    here = [path for path in sys.path if os.path.isfile(os.path.join(path, 'pipe.py'))]\n"
        "    mine = [name for name in vars(__main__) if not name.startswith('__')]\n"
        "    return here, mine, getattr(__main__, '__file__', None), 'compute_nb' in sys.modules\n"
    )
    assert shared.call(source) == ([], [], None, False)


def test_a_worker_that_is_started_through_a_link_does_not_keep_its_folder_on_the_path(tmp_path):
    (tmp_path / "link").symlink_to(FOLDER)
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys\natexit.register(lambda: print(sys.path[0], file=sys.stderr))\n"
    )
    command = [sys.executable, tmp_path / "link" / "__main__.py", "--about"]
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == str(tmp_path)


def test_printed_text_goes_to_the_log(rigs):
    rig = rigs(workers=1)
    rig.call("def talk():\n    import os\n    print('so it is')\n    os.system('echo from a child')\n")
    rig.engine.stop()
    rig.stop = lambda: None
    log = (rig.folder / "worker-0.log").read_text()
    assert "so it is" in log
    assert "from a child" in log


def test_other_pythons_are_workers_too(rigs, tmp_path):
    pythons = others()
    if not pythons:
        pytest.skip("no other Python is installed")
    for python in pythons:
        about = about_python(python)
        packages = None if about["dill"] else lend_dill(tmp_path / "packages")
        rig = rigs(workers=1, python=python, packages=packages)
        source = "def which(x):\n    import sys\n    return sys.version_info[:2], x\n"
        version, value = rig.call(source, [1, {"a": 2}])
        assert about["python"].startswith("{}.{}.".format(*version))
        assert value == [1, {"a": 2}]
        text = rig.failure("def fail():\n    raise KeyError('k')\n").data
        assert "KeyError: 'k'" in text
        assert "runner" not in text
        made = rig.failure("def make():\n    return (i for i in [])\n").data
        assert "generator" in made
