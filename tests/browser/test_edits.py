"""Cells moved, split, merged, cleared, deleted: a run stays where its output is, and stays listed."""

from __future__ import annotations

import re

from browser.notebook import Notebook
from playwright.sync_api import Locator, expect


def panel(notebook: Notebook, name: str) -> Locator:
    return notebook.page.locator(".cnbp-output", has_text=f"{name} on local")


def row(notebook: Notebook, name: str) -> Locator:
    return notebook.page.locator(".cnbp-row", has=notebook.page.get_by_text(name, exact=True))


def assert_own(notebook: Notebook, **cells: int) -> None:
    """Each panel lives under the cell of this index, and is nobody else's; all groups are listed."""
    for name, index in cells.items():
        expect(panel(notebook, name)).to_have_count(1)
        shown = notebook.cell(index).locator(".cnbp-output")
        expect(shown).to_have_count(1)
        expect(shown).to_contain_text(f"{name} on local: ")
        expect(shown.get_by_role("button", name="cancel")).to_be_visible()
    expect(notebook.page.locator(".cnbp-output")).to_have_count(len(cells))
    for name in ("sweep", "other"):
        expect(row(notebook, name)).to_have_count(1)


def test_cells_that_are_edited_while_their_tasks_run_and_after_a_restart(notebook: Notebook) -> None:
    notebook.write(notebook.sweep("other", 3), "[*sweep.result(), *other.result()]")
    notebook.begin()
    notebook.run(2)
    notebook.page.get_by_role("button", name="Compute: 2 running").click()
    assert_own(notebook, sweep=1, other=2)

    notebook.key(2, "Control+Shift+ArrowUp")
    assert_own(notebook, other=1, sweep=2)
    split(notebook, 2, "time.sleep")
    assert_own(notebook, other=1, sweep=3)
    expect(panel(notebook, "sweep")).to_contain_text("The source of this cell has changed since this run.")
    notebook.restart()
    assert_own(notebook, other=1, sweep=3)

    notebook.key(1)
    notebook.menu("Edit", "Clear Cell Output")
    assert_own(notebook, sweep=3)
    notebook.restart()
    assert_own(notebook, sweep=3)
    row(notebook, "other").get_by_role("button").click()
    expect(notebook.cell(1)).to_have_class(re.compile("jp-mod-active"))

    notebook.key(3, "d", "d")
    expect(notebook.page.locator(".cnbp-output")).to_have_count(0)
    expect(row(notebook, "sweep")).to_have_count(1)
    expect(row(notebook, "sweep")).to_contain_text("Its cell is not in this notebook any more.")
    notebook.page.keyboard.press("z")
    assert_own(notebook, sweep=3)
    notebook.key(2, "Shift+ArrowDown", "Shift+M")
    expect(notebook.page.locator(".cnbp-output")).to_have_count(0)
    notebook.restart()
    for name in ("sweep", "other"):
        expect(row(notebook, name)).to_have_count(1)
    expect(notebook.page.locator(".cnbp-output")).to_have_count(0)

    notebook.release()
    notebook.run(0)
    notebook.run(3)
    expect(notebook.output(3)).to_contain_text("[0, 1, 4, 9, 0, 1, 4]")
    expect(row(notebook, "sweep")).to_contain_text("4 of 4 done")
    expect(row(notebook, "other")).to_contain_text("3 of 3 done")
    notebook.save()
    assert {one["name"] for one in notebook.groups()} == {"sweep", "other"}
    assert not notebook.page.locator(".jp-Dialog").count()
    assert not notebook.errors, notebook.errors


def split(notebook: Notebook, index: int, before: str) -> None:
    """Splits a cell before a text in it."""
    notebook.cell(index).locator(".cm-line", has_text=before).click()
    notebook.page.keyboard.press("Home")
    notebook.page.keyboard.press("Control+Shift+-")
