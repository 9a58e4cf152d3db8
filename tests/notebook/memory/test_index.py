"""The index by itself."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from entries import entry

from compute_nb.home import Home
from compute_nb.notebook.memory.index import Index


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_what_is_noted_is_found_by_notebook_and_by_group(home: Home, tmp_path: Path) -> None:
    sweep, other = tmp_path / "sweep.ipynb", tmp_path / "other.ipynb"
    Index(home).note(sweep, entry(1))
    Index(home).note(other, entry(2))
    Index(home).note(sweep, entry(3))
    index = Index(home)
    assert [one.id for one in index.of(sweep)] == [entry(1).id, entry(3).id]
    assert index.owner(entry(2).id) == other
    assert index.owner(entry(4).id) is None


def test_nothing_is_made_by_asking(home: Home, tmp_path: Path) -> None:
    index = Index(home)
    assert not list(index.of(tmp_path / "sweep.ipynb"))
    assert index.owner(entry(1).id) is None
    index.forget(tmp_path / "sweep.ipynb", entry(1).id)
    assert not home.root.exists()


def test_a_renamed_notebook_takes_its_groups_along(home: Home, tmp_path: Path) -> None:
    before, after = tmp_path / "before.ipynb", tmp_path / "after.ipynb"
    index = Index(home)
    index.note(before, entry(1))
    index.note(after, entry(2))
    index.move(before, after)
    assert [one.id for one in index.of(after)] == [entry(1).id, entry(2).id]
    assert index.owner(entry(1).id) == after
    assert not list(index.of(before))


def test_a_group_is_forgotten(home: Home, tmp_path: Path) -> None:
    index = Index(home)
    index.note(tmp_path / "a.ipynb", entry(1))
    index.forget(tmp_path / "a.ipynb", entry(1).id)
    assert index.owner(entry(1).id) is None


def test_a_broken_file_counts_as_none_and_is_written_anew(home: Home, tmp_path: Path) -> None:
    index, path = Index(home), tmp_path / "a.ipynb"
    index.note(path, entry(1))
    (file,) = (home.state / "notebooks").glob("*.json")
    file.write_text("{not json")
    assert not list(index.of(path))
    index.note(path, entry(2))
    assert [one.id for one in index.of(path)] == [entry(2).id]


def test_only_the_user_can_read_it(home: Home, tmp_path: Path) -> None:
    Index(home).note(tmp_path / "a.ipynb", entry(1))
    folder = home.state / "notebooks"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(os.stat(file).st_mode) == 0o600 for file in folder.iterdir())
