"""The home folder."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from compute_nb.errors import ComputeError
from compute_nb.home import _NETWORK, Home
from compute_nb.private import write_private


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").prepare()


def test_the_home_is_named_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPUTE_NB_HOME", str(tmp_path / "here"))
    assert Home.default().root == tmp_path / "here"


def test_the_home_without_a_name_is_the_users_data_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("COMPUTE_NB_HOME", raising=False)
    assert Home.default().root.name == "compute_nb"


def test_folders_are_the_users_own(home):
    for folder in (home.root, home.state, home.state / "endpoints"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert home.state == home.root / "hosts" / "local"
    assert home.store_file.parent == home.state


@pytest.mark.parametrize(("name", "mode"), [(None, 0o700), ("config.toml", 0o700), ("thesis.tex", 0o755)])
def test_a_folder_that_was_there_is_closed_unless_it_has_other_things_in_it(tmp_path, name, mode):
    folder = tmp_path / "home"
    folder.mkdir()
    folder.chmod(0o755)
    if name:
        (folder / name).write_text("")
    home = Home(folder).prepare()
    assert stat.S_IMODE(folder.stat().st_mode) == mode
    assert stat.S_IMODE((folder / "hosts").stat().st_mode) == 0o700
    assert stat.S_IMODE(home.state.stat().st_mode) == 0o700


def test_preparing_twice_changes_nothing(home):
    write_private(home.token_file, "secret")
    home.prepare()
    assert home.token_file.read_text() == "secret"


def test_a_home_that_cannot_be_written_names_the_mend(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ComputeError, match=r"can't be written: .*set COMPUTE_NB_HOME to a folder"):
        Home(tmp_path / "file" / "home").prepare()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "x" * 129])
def test_an_endpoint_needs_a_name_that_fits_a_folder(home, name):
    with pytest.raises(ComputeError, match="can't name an endpoint"):
        home.endpoint_dir(name)


def test_an_endpoint_has_a_folder_of_its_own(home):
    assert home.endpoint_dir("lab") == home.state / "endpoints" / "lab"


@pytest.mark.parametrize(("kind", "network"), [("nfs4", True), ("ext4", False), ("fuse.sshfs", True)])
def test_network_file_systems_are_told_apart(kind, network):
    assert bool(_NETWORK.match(kind)) is network
