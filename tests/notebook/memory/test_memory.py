"""The memory by itself: which groups of a notebook's file are taken up, listed, or left alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from entries import entry

from compute_nb.home import Home
from compute_nb.notebook.memory.index import Index
from compute_nb.notebook.memory.memory import Memory, listed
from compute_nb.notebook.memory.messages import NotebookSeen
from compute_nb.notebook.runs.record import KEY, Entry, Record

PANEL = "application/vnd.compute-nb.panel+json"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").prepare()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "book.ipynb"


def write(path: Path, *entries: Entry, panels: Any = ()) -> None:
    """Writes a notebook with a record, and one cell with panels as (entry, counts)."""
    record = Record()
    for one in entries:
        record = record.adding(one)
    shown = [{PANEL: {"version": 1, "entry": one.to_json(), "counts": counts}} for one, counts in panels]
    cell = nbformat.v4.new_code_cell(outputs=[nbformat.v4.new_output("display_data", data) for data in shown])
    cell["id"] = "walk"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata={KEY: record.to_json()}), path)


def memory(path: Path, home: Home) -> Memory:
    return Memory({"__vsc_ipynb_file__": str(path)}, home)


def seen(path: Path, *cells: str) -> NotebookSeen:
    return NotebookSeen(path.name, None, cells, "c1", None)


def test_of_a_cell_the_latest_group_and_all_that_may_be_open_are_taken_up(path: Path, home: Home) -> None:
    old, older, new = (entry(n, cell_id="walk", name="sims", tasks=4) for n in (2, 1, 3))
    for one in (old, older, new):
        Index(home).note(path, one)
    write(path, old, older, new, panels=[(older, {"SUCCEEDED": 3}), (old, {"SUCCEEDED": 4})])
    found = memory(path, home).recall()
    assert [one.id for one in found.to_take_up()] == [older.id, new.id]
    assert found.names() == {"sims": new.id, "walk": new.id}
    assert found.open_before == {older.id: 1, old.id: 0}


def test_a_copy_takes_nothing_up_and_a_renamed_notebook_all(path: Path, home: Home) -> None:
    one = entry(1)
    Index(home).note(path, one)
    write(path, one)
    copy = path.with_name("copy.ipynb")
    shutil.copy(path, copy)
    assert not memory(copy, home).recall().entries
    path.unlink()
    assert [found.id for found in memory(copy, home).recall().entries] == [one.id]


def test_a_page_that_shows_another_path_is_believed(path: Path, home: Home) -> None:
    one, other = entry(1), path.with_name("other.ipynb")
    Index(home).note(path, one)
    write(path, one)
    write(other)
    known = memory(path, home)
    assert known.recall().entries
    assert known.seen(seen(path)) is None
    found = known.seen(seen(other))
    assert found is not None
    assert not found.entries


def test_what_another_service_has_is_elsewhere(path: Path, home: Home) -> None:
    theirs, unknown = entry(1), entry(2, service_id=None)
    write(path, theirs, unknown)
    found = memory(path, home).recall()
    assert not found.entries
    assert [one.id for one in found.elsewhere] == [theirs.id]
    home.service_file.write_text(
        json.dumps({"url": "http://127.0.0.1:1", "pid": 1, "service_id": theirs.service_id})
    )
    home.token_file.write_text("x")
    assert not memory(path, home).recall().elsewhere


def test_the_record_is_listed_with_how_it_stood(path: Path, home: Home) -> None:
    ours, theirs = entry(1), entry(2)
    Index(home).note(path, ours)
    write(path, theirs, panels=[(ours, {"SUCCEEDED": 3, "RUNNING": "many"})])
    rows = memory(path, home).listed()
    assert [(one.entry.id, one.counts, one.ours) for one in rows] == [
        (ours.id, {"SUCCEEDED": 3}, True),
        (theirs.id, None, False),
    ]


def test_the_same_run_of_a_cell_is_found_by_cell_and_key(path: Path, home: Home) -> None:
    first, second = (entry(n, cell_id="walk", key="hmac-sha256:1") for n in (1, 2))
    for one in (first, second, entry(3, cell_id="other", key="hmac-sha256:1"), entry(4, cell_id="walk")):
        Index(home).note(path, one)
    found = memory(path, home).same("walk", "hmac-sha256:1")
    assert [one.id for one in found] == [second.id, first.id]


def test_a_kernel_without_a_notebook_lists_the_runs_of_its_folder_and_takes_none_up(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    one = entry(1, cell_id="walk", key="1")
    Memory({}, home).note(one)
    alone = Memory({}, home)
    assert [(row.entry.id, row.counts, row.ours) for row in alone.listed()] == [(one.id, None, True)]
    assert not alone.recall().entries
    assert not alone.same("walk", "1")
    assert listed(alone.recall()) == ""
    alone.forget(one.id)
    assert not alone.listed()


def test_a_run_noted_for_a_folder_is_that_of_the_notebook_that_shows_it_and_no_other_comes_along(
    tmp_path: Path, path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    shown, other = entry(1), entry(2)
    for one in (shown, other):
        Memory({}, home).note(one)
    write(path, shown)
    assert [one.id for one in memory(path, home).recall().entries] == [shown.id]
    assert [one.entry.id for one in Memory({}, home).listed()] == [other.id]
    copy = path.with_name("copy.ipynb")
    shutil.copy(path, copy)
    assert not memory(copy, home).recall().entries


def test_a_folder_that_is_gone_takes_no_note(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    alone = Memory({}, home)
    alone.note(entry(1))
    assert not alone.listed()
