"""What the home folder knows of earlier runs, for a line that names one."""

from pathlib import Path

import pytest
from entries import entry

from compute_nb.home import Home
from compute_nb.notebook.memory.index import Index
from compute_nb.notebook.memory.recent import MOST, recent


def test_the_runs_of_this_notebook_stand_first_and_the_newest_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home")
    here, other = tmp_path / "here.ipynb", tmp_path / "other.ipynb"
    monkeypatch.setenv("JPY_SESSION_NAME", str(here))
    assert recent({}, home) == []
    for number in range(MOST):
        for path in (here, other):
            at = f"2026-11-22T10:{number:02}:{30 * (path == other):02}Z"
            Index(home).note(path, entry(number, id=_id(number, path == other), submitted_at=at))
    found = recent({}, home)
    assert len(found) == MOST
    assert [one.entry.id for one in found] == [_id(number, False) for number in reversed(range(MOST))]
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "third.ipynb"))
    first, second, *_ = recent({}, home)
    assert (first.notebook, second.notebook) == ("other.ipynb", "here.ipynb")
    assert first.told.endswith("other.ipynb")


def _id(number: int, is_other: bool) -> str:
    return f"{int(is_other):08x}-0000-4000-8000-{number:012x}"
