"""Reading the notebook's own file, whatever state it is in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from entries import entry

from compute_nb.notebook.memory.saved import PANEL_MIME, path_seen, path_told, read_saved
from compute_nb.notebook.runs.record import Record, source_hash


def panel(number: int) -> Any:
    data = {PANEL_MIME: {"version": 1, "entry": entry(number).to_json(), "counts": {"RUNNING": 1}}}
    return nbformat.v4.new_output("display_data", data=data)


def write(path: Path, *, minor: int = 5) -> Path:
    made = nbformat.v4.new_notebook(nbformat_minor=minor)
    made.metadata["compute_nb"] = Record().adding(entry(1)).to_json()
    made.cells = [
        nbformat.v4.new_markdown_cell("# Sweep", id="head"),
        nbformat.v4.new_code_cell("%%compute -n sims\n1", id="walk-1", outputs=[panel(1)]),
        nbformat.v4.new_code_cell("%%compute\n2\n", id="walk-2", outputs=[panel(2)]),
    ]
    nbformat.write(made, path)
    if minor < 5:
        raw = json.loads(path.read_text())
        for cell in raw["cells"]:
            cell.pop("id", None)
        path.write_text(json.dumps(raw))
    return path


def test_record_and_panels_are_found(tmp_path: Path) -> None:
    found = read_saved(write(tmp_path / "a.ipynb"))
    assert found is not None
    assert [one.id for one in found.record] == [entry(1).id]
    assert [(one.cell, one.cell_id, one.entry.id) for one in found.panels] == [
        (1, "walk-1", entry(1).id),
        (2, "walk-2", entry(2).id),
    ]
    assert [one.id for one in found.entries()] == [entry(1).id, entry(2).id]
    assert found.cells == {"head", "walk-1", "walk-2"}
    assert found.panels[1].source_hash == source_hash("%%compute\n2")


def test_a_notebook_without_cell_ids(tmp_path: Path) -> None:
    found = read_saved(write(tmp_path / "a.ipynb", minor=4))
    assert found is not None
    assert found.cells == frozenset()
    assert [one.cell_id for one in found.panels] == [None, None]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<<<<<<< HEAD\n{}",
        "[1, 2]",
        '{"cells": 3, "metadata": []}',
        '{"cells": [null, {"outputs": [3, {"data": []}]}]}',
        "\udcff",
    ],
)
def test_what_is_no_notebook_counts_as_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.ipynb"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    found = read_saved(path)
    assert found is None or not found.entries()
    assert read_saved(tmp_path / "missing.ipynb") is None
    assert read_saved(tmp_path) is None


def test_the_server_and_vs_code_tell_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/ada/work/a.ipynb")
    assert path_told({}) == Path("/home/ada/work/a.ipynb")
    assert path_told({"__vsc_ipynb_file__": "/home/ada/b.ipynb"}) == Path("/home/ada/b.ipynb")
    for name in ("a-console", "work/a.ipynb"):
        monkeypatch.setenv("JPY_SESSION_NAME", name)
        assert path_told({"__vsc_ipynb_file__": 3}) is None
    monkeypatch.delenv("JPY_SESSION_NAME")
    assert path_told({}) is None


def test_a_page_tells_the_path_after_a_rename(tmp_path: Path) -> None:
    told = tmp_path / "root" / "work" / "a.ipynb"
    told.parent.mkdir(parents=True)
    assert path_seen(told, "work/a.ipynb") == told
    renamed = tmp_path / "root" / "done" / "b.ipynb"
    assert path_seen(told, "done/b.ipynb") is None
    renamed.parent.mkdir()
    renamed.touch()
    assert path_seen(told, "done/b.ipynb") == renamed
    assert path_seen(None, "a.ipynb") is None
