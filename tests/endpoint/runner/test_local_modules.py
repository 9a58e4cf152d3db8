"""Modules of a task's own folder are imported again when they have changed."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from compute_nb.endpoint import runner
from compute_nb.endpoint.runner.local_modules import LocalModules


def test_context_gives_folder_and_path_and_a_changed_module_is_read_again(rigs, tmp_path):
    rig = rigs(workers=1)
    project, library = tmp_path / "project", tmp_path / "library"
    project.mkdir()
    library.mkdir()
    (library / "far.py").write_text("NAME = 'far'\n")
    helper = project / "helper.py"
    helper.write_text("X = 1\n")
    source = "def use():\n    import os, far, helper\n    return os.getcwd(), far.NAME, helper.X\n"
    context = {"cwd": str(project), "sys_path": [str(project), str(library)]}
    assert rig.call(source, context=context) == (str(project), "far", 1)
    helper.write_text("X = 22\n")
    assert rig.call(source, context=context) == (str(project), "far", 22)
    edit = (
        "def edit():\n    import helper\n    open('helper.py', 'w').write('X = 333\\n')\n"
        "    return helper.X\n"
    )
    assert rig.call(edit, context=context) == 22
    assert rig.call(source, context=context) == (str(project), "far", 333)
    assert sorted(os.listdir(project)) == ["helper.py"]
    assert "ModuleNotFoundError" in rig.failure("def use():\n    import nowhere_here\n").data


def test_a_worker_that_runs_below_the_folder_keeps_its_own_modules():
    modules = LocalModules(str(Path(runner.__file__).parents[2]))
    modules.find(time.time())
    assert "compute_nb.endpoint" in modules.files
    assert LocalModules.__module__ in sys.modules
    assert not [name for name in modules.files if name.startswith(runner.__name__)]


def test_a_changed_module_of_another_entry_of_the_path_is_read_again(rigs, tmp_path):
    rig = rigs(workers=1)
    project, library = tmp_path / "project", tmp_path / "library"
    project.mkdir()
    library.mkdir()
    source = "def use():\n    import far\n    return far.X\n"
    context = {"cwd": str(project), "sys_path": [str(project), str(library)]}
    for value in (1, 22):
        (library / "far.py").write_text(f"X = {value}\n")
        assert rig.call(source, context=context) == value


def test_the_standard_library_is_never_local():
    modules = LocalModules("/")
    modules.find(time.time())
    assert "json" not in modules.files
    assert "os" not in modules.files
    assert pytest.__name__ not in modules.files


def test_a_module_of_another_folder_with_the_same_name_is_another(rigs, tmp_path):
    rig = rigs(workers=1)
    source = "def use():\n    import helper\n    return helper.X\n"
    for name in ("one", "two", "one"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "helper.py").write_text(f"X = {name!r}\n")
        context = {"cwd": str(folder), "sys_path": [str(folder)]}
        assert rig.call(source, context=context) == name
    assert "ModuleNotFoundError" in rig.failure(source).data


def test_a_changed_module_of_a_folder_without_an_init_file_is_read_again(rigs, tmp_path):
    rig = rigs(workers=1)
    helper = tmp_path / "lib" / "helper.py"
    helper.parent.mkdir()
    source = "def use():\n    from lib import helper\n    return helper.X\n"
    context = {"cwd": str(tmp_path), "sys_path": [str(tmp_path)]}
    for value in (1, 22):
        helper.write_text(f"X = {value}\n")
        assert rig.call(source, context=context) == value


def test_a_lazy_module_is_not_woken(tmp_path, monkeypatch):
    class Lazy(ModuleType):
        def __getattr__(self, name):
            raise ImportError(name)

    monkeypatch.setitem(sys.modules, "lazy", Lazy("lazy"))
    monkeypatch.setitem(sys.modules, "nothing", None)
    modules = LocalModules(str(tmp_path))
    modules.find(time.time())
    assert not modules.files


@pytest.mark.parametrize(("age_s", "trusted"), [(10, True), (0.004, False), (-1, False)])
def test_a_file_that_was_edited_at_about_the_moment_of_its_import_is_not_trusted(
    tmp_path, monkeypatch, age_s, trusted
):
    path = tmp_path / "local.py"
    path.touch()
    since = time.time()
    os.utime(path, (since - age_s, since - age_s))
    module = ModuleType("local")
    module.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "local", module)
    modules = LocalModules(str(tmp_path))
    modules.find(since)
    file, stamp = modules.files["local"]
    assert (stamp == modules.stamp(file)) is trusted
