"""Notebooks that other programs have rewritten: merged by git, stripped of outputs, converted, broken."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from entries import entry
from hypothesis import given, settings
from hypothesis import strategies as st

from compute_nb.home import Home
from compute_nb.notebook.memory.index import Index
from compute_nb.notebook.memory.memory import Found, Memory
from compute_nb.notebook.memory.saved import PANEL_MIME, read_saved
from compute_nb.notebook.runs.record import KEY, Entry, Record, source_hash

SOURCE = "%%compute local -m seed=range(40) -n sims\nseed"
OTHER = "%%compute -n walks\n2"
GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "merge.conflictStyle=merge")


class Clone:
    """A notebook under git, whose runs are noted in a home folder."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home").prepare()
        self.path = folder / "book.ipynb"
        self._now = 1_795_000_000
        self.write([])
        self.git("init", "-q", "-b", "main")
        self.commit()

    def git(self, *words: str) -> str:
        done = subprocess.run(
            [*GIT, *words], cwd=self.path.parent, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    def commit(self) -> None:
        self.git("add", "book.ipynb")
        self.git("commit", "-q", "-m", "a run")

    def write(self, entries: list[Entry]) -> None:
        """Saves it as a page does after these runs of its first cell: the record, the last one's panel."""
        record = Record()
        for one in entries:
            record = record.adding(one)
        outputs = [_output(one) for one in entries[-1:]]
        cells = [
            nbformat.v4.new_code_cell(SOURCE, id="walk-1", outputs=outputs),
            nbformat.v4.new_code_cell(OTHER, id="walk-2"),
        ]
        metadata = {KEY: record.to_json()} if entries else {}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), self.path)

    def run(self, number: int, *before: Entry) -> Entry:
        """Submits from the first cell, and saves."""
        one = entry(number, cell_id="walk-1", name="sims", source_hash=source_hash(SOURCE))
        Index(self.home).note(self.path, one)
        self.write([*before, one])
        self.commit()
        return one

    def recall(self) -> Found:
        return Memory({"__vsc_ipynb_file__": str(self.path)}, self.home).recall()

    def read(self) -> Any:
        return json.loads(self.path.read_text(encoding="utf-8"))


def _output(one: Entry) -> Any:
    panel = {"version": 1, "entry": one.to_json(), "counts": {"SUCCEEDED": 40}}
    return nbformat.v4.new_output(
        "display_data", {PANEL_MIME: panel, "text/plain": one.id}, metadata={KEY: one.to_json()}
    )


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


@pytest.fixture
def merged(clone: Clone) -> tuple[Clone, Entry, Entry]:
    """Two branches with another run each, in the middle of their merge."""
    clone.git("checkout", "-q", "-b", "theirs")
    first = clone.run(1)
    clone.git("checkout", "-q", "main")
    second = clone.run(2)
    assert "CONFLICT" in clone.git("merge", "theirs")
    return clone, first, second


def test_between_conflict_markers_the_home_folder_alone_says_what_ran(
    merged: tuple[Clone, Entry, Entry],
) -> None:
    clone, first, second = merged
    assert "<<<<<<< HEAD" in clone.path.read_text()
    assert read_saved(clone.path) is None
    found = clone.recall()
    assert [one.id for one in found.entries] == [first.id, second.id]
    assert found.names() == {"sims": second.id, "walk": second.id}


def test_a_side_that_was_taken_binds_its_own_run(merged: tuple[Clone, Entry, Entry]) -> None:
    clone, first, second = merged
    for side, own, other in (("--theirs", first, second), ("--ours", second, first)):
        clone.git("checkout", side, "book.ipynb")
        saved = read_saved(clone.path)
        assert saved is not None
        assert [panel.entry.id for panel in saved.panels] == [own.id]
        found = clone.recall()
        assert found.names() == {"sims": own.id, "walk": own.id}
        assert {one.id for one in found.to_take_up()} >= {own.id}
        assert other.id in {one.id for one in found.entries}  # listed: its tasks may go on


def test_both_sides_bind_the_newer_run_and_keep_both_panels(merged: tuple[Clone, Entry, Entry]) -> None:
    clone, first, second = merged
    clone.git("checkout", "--theirs", "book.ipynb")
    theirs = clone.read()
    clone.git("checkout", "--ours", "book.ipynb")
    ours = clone.read()
    ours["cells"][0]["outputs"] += theirs["cells"][0]["outputs"]
    ours["metadata"][KEY]["task_groups"] += theirs["metadata"][KEY]["task_groups"]  # out of order
    clone.path.write_text(json.dumps(ours))
    saved = read_saved(clone.path)
    assert saved is not None
    assert [panel.entry.id for panel in saved.panels] == [second.id, first.id]
    assert [one.id for one in saved.entries()] == [first.id, second.id]
    assert clone.recall().names() == {"sims": second.id, "walk": second.id}


def test_a_cell_twice_and_entries_doubled_count_once(clone: Clone) -> None:
    one = clone.run(1)
    both = clone.read()
    both["cells"].insert(1, copy.deepcopy(both["cells"][0]))
    both["metadata"][KEY]["task_groups"] *= 3
    clone.path.write_text(json.dumps(both))
    found = clone.recall()
    assert [each.id for each in found.entries] == [one.id]
    assert [
        each.entry.id for each in Memory({"__vsc_ipynb_file__": str(clone.path)}, clone.home).listed()
    ] == [one.id]
    assert len(Record(both["metadata"][KEY]).adding(one).to_json()["task_groups"]) == 1


def test_after_a_checkout_the_runs_of_that_branch_are_bound(clone: Clone) -> None:
    old = clone.run(1)
    clone.git("checkout", "-q", "-b", "later")
    new = clone.run(2, old)
    assert clone.recall().names() == {"sims": new.id, "walk": new.id}
    clone.git("checkout", "-q", "main")
    assert clone.recall().names() == {"sims": old.id, "walk": old.id}
    assert new.id in {one.id for one in clone.recall().entries}


def test_a_run_that_was_not_saved_yet_is_the_newest_all_the_same(clone: Clone) -> None:
    old = clone.run(1)
    new = entry(2, cell_id="walk-1", name="sims", submitted_at="2026-11-22T11:00:00Z")
    Index(clone.home).note(clone.path, new)
    os.utime(clone.path, (new.submitted_s - 60,) * 2)  # the kernel died before the page could save
    assert clone.recall().names() == {"sims": new.id, "walk": new.id}
    os.utime(clone.path, (new.submitted_s + 60,) * 2)
    assert clone.recall().names() == {"sims": old.id, "walk": old.id}


@pytest.mark.parametrize("options", [(), ("--keep-id",), ("--extra-keys", "metadata.compute_nb")])
def test_nbstripout_takes_outputs_and_ids_and_what_ran_is_still_known(
    clone: Clone, options: tuple[str, ...]
) -> None:
    one = clone.run(1)
    command = [sys.executable, "-m", "nbstripout", *options, str(clone.path)]
    subprocess.run(command, check=True, capture_output=True)
    cells = clone.read()["cells"]
    assert [cell["outputs"] for cell in cells] == [[], []]
    assert cells[0]["id"] == ("walk-1" if options == ("--keep-id",) else "0")
    assert (KEY in clone.read()["metadata"]) is (options[:1] != ("--extra-keys",))
    found = clone.recall()
    assert found.names() == {"sims": one.id, "walk": one.id}
    assert [each.id for each in found.to_take_up()] == [one.id]
    memory = Memory({"__vsc_ipynb_file__": str(clone.path)}, clone.home)
    assert [(each.entry.id, each.counts) for each in memory.listed()] == [(one.id, None)]
    assert not memory.same("0", one.key)  # the id is another's: nothing attaches


def test_a_notebook_of_4_4_has_no_ids_and_one_that_is_converted_has_new_ones(clone: Clone) -> None:
    one = clone.run(1)
    made = clone.read()
    for cell in made["cells"]:
        del cell["id"]
        cell["outputs"] = []
    made["nbformat_minor"] = 4
    clone.path.write_text(json.dumps(made))
    saved = read_saved(clone.path)
    assert saved is not None
    assert saved.cells == frozenset()
    assert clone.recall().names() == {"sims": one.id, "walk": one.id}
    converted = nbformat.convert(nbformat.read(clone.path, as_version=4), 4)
    converted.nbformat_minor = 5
    converted = nbformat.v4.upgrade(converted, from_version=4, from_minor=4)
    nbformat.write(converted, clone.path)
    assert all(cell["id"] not in ("walk-1", "walk-2") for cell in clone.read()["cells"])
    assert clone.recall().names() == {"sims": one.id, "walk": one.id}


def test_a_cell_that_is_gone_binds_nothing_and_its_run_is_listed(clone: Clone) -> None:
    one = clone.run(1)
    made = clone.read()
    del made["cells"][0]
    clone.path.write_text(json.dumps(made))
    found = clone.recall()
    assert found.names() == {}
    assert [each.id for each in found.entries] == [one.id]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Returns all places in a value as (container, key)."""
    found: list[tuple[Any, Any]] = []
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        found += [(value, key), *_places(value[key])]
    return found


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_stands_in_the_file_nothing_is_raised_and_no_group_made_up(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "junk"
    folder.mkdir(exist_ok=True)
    home, path = Home(folder / "home"), folder / "book.ipynb"
    one, theirs = entry(1), entry(2)
    record = Record().adding(one).adding(theirs)
    cells = [nbformat.v4.new_code_cell(SOURCE, id="walk-1", outputs=[_output(one), _output(theirs)])]
    made = json.loads(
        nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata={KEY: record.to_json()}))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        container, key = data.draw(st.sampled_from(_places(made)))
        container[key] = data.draw(JUNK)
    path.write_text(json.dumps(made))
    memory = Memory({"__vsc_ipynb_file__": str(path)}, home)
    found = memory.recall()
    found.to_take_up(), found.names()
    assert not found.entries  # the home folder knows none of them
    known = {one.id, theirs.id}
    assert {each.entry.id for each in memory.listed()} <= known
    assert {each.id for each in found.elsewhere} <= known
    for each in found.elsewhere:
        json.dumps(each.to_json(), ensure_ascii=False).encode()  # it can be sent to a page
