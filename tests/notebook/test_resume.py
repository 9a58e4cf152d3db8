"""Kernels that come after each other on one notebook: what the later ones know of the earlier ones' runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from entries import entry
from kernels import Kernel, kernel_at
from own_home import own_home

from compute_nb.home import Home
from compute_nb.notebook.memory.index import Index
from compute_nb.notebook.runs.record import KEY, Record

PANEL = "application/vnd.compute-nb.panel+json"
LOAD = "%load_ext compute_nb"


@pytest.fixture(scope="module", autouse=True)
def home() -> Iterator[Home]:
    with own_home():
        yield Home.default()


class Book:
    """A notebook's file and the kernels that it has one after the other."""

    def __init__(self, path: Path) -> None:
        self.path, self.gate = path, path.with_suffix(".gate")
        self.cell = (
            "%%compute local -m s=range(3) -n sweep\n"
            "import os, time\n"
            f"while not os.path.exists({str(self.gate)!r}):\n"
            "    time.sleep(0.02)\n"
            "s * s"
        )
        self.save()

    def save(self, messages: list[Any] = (), record: Any = None) -> None:  # type: ignore[assignment]
        """Saves it, with a cell's outputs of these messages."""
        outputs = [
            nbformat.v4.new_output(
                "display_data", one["content"]["data"], metadata=one["content"]["metadata"]
            )
            for one in messages
            if one["msg_type"] == "display_data"
        ]
        cells = [nbformat.v4.new_code_cell(LOAD), nbformat.v4.new_code_cell(self.cell, outputs=outputs)]
        cells[0]["id"], cells[1]["id"] = "c0", "c1"
        nbformat.write(
            nbformat.v4.new_notebook(cells=cells, metadata={KEY: record} if record else {}), self.path
        )

    def kernel(self) -> contextlib.AbstractContextManager[Kernel]:
        return kernel_at(self.path)

    def noted(self, home: Home) -> Record:
        return Index(home).of(self.path)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    made = Book(tmp_path / "book.ipynb")
    yield made
    made.gate.touch()


@pytest.fixture
def begun(book: Book) -> Book:
    """The notebook after a kernel that has submitted the sweep and is gone."""
    with book.kernel() as kernel:
        kernel.run(LOAD)
        book.save(kernel.run(book.cell, "c1"))
    return book


def test_a_later_kernel_follows_the_run_and_gives_a_page_its_results(begun: Book, home: Home) -> None:
    (noted,) = begun.noted(home)
    with begun.kernel() as kernel:
        assert "bound again: sweep" in kernel.text(LOAD)
        kernel.greet(begun.path)
        assert kernel.says("live", lambda said: said["live"])["live"].keys() == {noted.id}
        assert "3 of 3 done" not in kernel.text("%compute tasks")
        begun.gate.touch()
        assert "[0, 1, 4]" in kernel.text("sweep.result()")
        ended = kernel.says("snapshots", lambda said: noted.id in said["ended"])
        shown = ended["bundles"][noted.id][PANEL]
        assert shown["counts"] == {"SUCCEEDED": 3}
        assert shown["entry"] == noted.to_json()


def test_an_output_means_what_the_latest_run_of_its_cell_gives(book: Book) -> None:
    book.cell = book.cell.replace("-n sweep", "-n sweep -o r").replace(
        "s * s", "r = len(os.listdir(folder)) + s"
    )
    folder = book.path.with_suffix(".folder")
    folder.mkdir()
    prepared = f"folder, gate = {str(folder)!r}, {str(book.gate)!r}"
    with book.kernel() as kernel:
        kernel.run(LOAD)
        kernel.run(prepared)
        book.gate.touch()
        kernel.run(book.cell, "c1")
        assert "[0, 1, 2]" in kernel.text("sweep.result(); r")
        book.gate.unlink()
        (folder / "one").touch()
        kernel.run(book.cell, "c1")
        book.save()  # neither run's panel is in the file: both may be open
    with book.kernel() as kernel:
        assert "bound again: sweep, r" in kernel.text(LOAD)
        assert "<`r` of " in kernel.text("r")  # and not what the finished one gave
        book.gate.touch()
        assert "[1, 2, 3]" in kernel.text("r.result()")


def test_pictures_of_a_run_of_before_go_to_the_output_that_its_cell_keeps(book: Book) -> None:
    book.cell = (
        book.cell.replace(" -m s=range(3)", "")
        .replace("s * s", "Shown()")
        .replace(
            "import os, time\n",
            "import os, time\nclass Shown:\n    def _repr_markdown_(self):\n        return '**bold**'\n",
        )
    )
    with book.kernel() as kernel:
        kernel.run(LOAD)
        submitted = kernel.run(book.cell, "c1")
        kept = [m["content"]["metadata"] for m in submitted if m["msg_type"] == "display_data"]
        book.save(submitted)
    with book.kernel() as kernel:
        kernel.run(LOAD)
        kernel.greet(book.path)
        book.gate.touch()
        given = kernel.says("results")["results"]
    (group,) = [one["compute_nb"]["results"] for one in kept if "results" in one.get("compute_nb", {})]
    assert given[group]["text/markdown"] == "**bold**"


def test_what_is_forgotten_is_in_no_record_and_can_be_reloaded(begun: Book, home: Home) -> None:
    (noted,) = begun.noted(home)
    begun.gate.touch()
    with begun.kernel() as kernel:
        assert "bound again: sweep" in kernel.text(LOAD)
        assert "sweep: no longer in this notebook's record" in kernel.text("%compute forget sweep")
        assert kernel.says("forget")["id"] == noted.id
    assert not len(begun.noted(home))
    with begun.kernel() as kernel:
        assert "bound again" not in kernel.text(LOAD)
        assert "nothing was submitted" in kernel.text("%compute tasks")
        assert f"`{noted.id}`: this notebook's record has no such group" in kernel.text(
            f"%compute forget {noted.id}"
        )
        assert "[0, 1, 4]" in kernel.text(f"%compute reload {noted.id} -n again\nagain.result()")


def test_where_no_notebook_is_known_runs_are_listed_for_the_folder_and_reloaded_by_name(book: Book) -> None:
    folder = book.path.parent
    with kernel_at(folder) as kernel:
        kernel.run(LOAD)
        kernel.run(book.cell, None)
        group = kernel.text("sweep.task_group_id").strip("'")
    with kernel_at(folder) as kernel:
        assert "bound again" not in kernel.text(LOAD)
        assert kernel.text("'sweep' in dir()") == "False"
        listed = kernel.text("%compute tasks")
        assert group in listed
        assert "runs of before are those of this folder" in listed
        kernel.run("%compute reload sweep", None)
        book.gate.touch()
        assert "[0, 1, 4]" in kernel.text("sweep.result()")
        assert "runs of before" not in kernel.text("%compute tasks")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    with kernel_at(elsewhere) as kernel:
        kernel.run(LOAD)
        assert "nothing was submitted from this kernel yet" in kernel.text("%compute tasks")
        assert group in kernel.text("%compute reload")


def test_without_reattach_runs_are_listed_and_attached_when_asked(begun: Book, home: Home) -> None:
    (noted,) = begun.noted(home)
    with begun.kernel() as kernel:
        kernel.run("get_ipython().config.ComputeMagics.reattach = False")
        assert "1 earlier run of this notebook: `%compute tasks` lists them" in kernel.text(LOAD)
        listed = kernel.text("%compute tasks")
        assert "0 of 3 done" in listed
        assert "when saved" in listed
        assert noted.id in listed
        assert "False" in kernel.text("'sweep' in globals()")
        begun.gate.touch()
        kernel.run(f"%compute reload {noted.id[:8]}")
        assert "[0, 1, 4]" in kernel.text("sweep.result()")


def test_the_same_cell_attaches_by_the_record_alone_and_new_submits_again(begun: Book, home: Home) -> None:
    (noted,) = begun.noted(home)
    with begun.kernel() as kernel:
        kernel.run("get_ipython().config.ComputeMagics.reattach = False")
        kernel.run(LOAD)
        assert "attached to it; `--new` submits again" in kernel.text(begun.cell, "c1")
        assert noted.id in kernel.text("print(sweep.task_group_id)")
        assert "attached" not in kernel.text(begun.cell.replace("local", "local --new"), "c1")
        first, second = begun.noted(home)
        assert (first.id, first.key) == (noted.id, second.key)


def test_a_colleagues_run_is_left_alone_and_told_as_run_elsewhere(book: Book) -> None:
    theirs = entry(1)
    panel = {PANEL: {"version": 1, "entry": theirs.to_json(), "counts": {"SUCCEEDED": 40}}}
    shown = {"msg_type": "display_data", "content": {"data": panel, "metadata": {}}}
    book.save([shown], Record().adding(theirs).to_json())
    with book.kernel() as kernel:
        assert f"run elsewhere: {theirs.title}" in kernel.text(LOAD)
        assert kernel.says("notes")["notes"] == {theirs.id: "run elsewhere"}
        assert "run elsewhere, 40 of 40 done when saved" in kernel.text("%compute tasks")
        assert f"{theirs.title}: no longer in" in kernel.text(f"%compute forget {theirs.id[:8]}")


def test_a_run_of_a_service_that_is_not_there_is_told_as_not_reachable(book: Book, home: Home) -> None:
    gone = entry(2, service="gone", service_id=None)
    Index(home).note(book.path, gone)
    with book.kernel() as kernel:
        assert f"not reachable from here: {gone.title}" in kernel.text(LOAD)
        assert kernel.says("notes")["notes"] == {gone.id: "not reachable from here"}
