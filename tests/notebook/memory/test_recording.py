"""The recording by itself: of which runs the home folder has a note, and of which a page hears."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from entries import entry

from compute_nb.home import Home
from compute_nb.notebook.memory.index import Index
from compute_nb.notebook.memory.memory import Memory
from compute_nb.notebook.memory.page import Page
from compute_nb.notebook.memory.recording import Recording


class Kept:
    """A recording, its notes, and the entries that a page has heard of."""

    def __init__(self, folder: Path) -> None:
        self.home, self.path = Home(folder / "home"), folder / "book.ipynb"
        self.heard: list[str] = []
        page = Page(lambda _: None, lambda _: self, lambda page: page.draw())
        self.recording = Recording(page, Memory({"__vsc_ipynb_file__": str(self.path)}, self.home))

    def send(self, data: Any) -> None:
        self.heard.extend(entry["id"] for entry in data["entries"])

    @property
    def noted(self) -> list[str]:
        return [one.id for one in Index(self.home).of(self.path)]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_a_run_is_noted_while_it_is_sent_and_recorded_once_it_is_accepted(kept: Kept) -> None:
    kept.recording.begin(entry(1))
    kept.recording._told.result(60)
    assert (kept.noted, kept.heard) == ([entry(1).id], [])
    assert kept.recording.keep(entry(1)) == ""
    kept.recording.withdraw()
    assert kept.noted == kept.heard == [entry(1).id]


def test_what_the_service_has_not_taken_leaves_no_note(kept: Kept) -> None:
    kept.recording.begin(entry(1))
    kept.recording.withdraw()
    kept.recording.withdraw()
    assert (kept.noted, kept.heard) == ([], [])


def test_a_group_that_its_service_has_named_otherwise_is_noted_by_that_name(kept: Kept) -> None:
    kept.recording.begin(entry(1))
    assert kept.recording.keep(entry(2)) == ""
    assert kept.noted == kept.heard == [entry(2).id]


def test_a_home_folder_that_takes_no_note_is_told_with_the_reason(kept: Kept) -> None:
    kept.home.state.mkdir(parents=True)
    (kept.home.state / "notebooks").write_text("a file where the folder should be")
    told = kept.recording.keep(entry(1))
    assert told.startswith("the home folder has no note of this run: ")
    assert kept.heard == [entry(1).id]
