"""The panel in JupyterLab: while its tasks run, and on a page that was loaded again meanwhile."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect

SWEEP = """\
%%compute local -m s=range({tasks}) -n sweep
import itertools, os, time
if s == 1: 1 / 0
for turn in itertools.count():  # in which tasks run, whatever worker has which
    try:
        open({gate!r} + "turn-" + str(turn), "x").close()
        break
    except FileExistsError:
        pass
while turn and not os.path.exists({gate!r} + str(turn // {each})): time.sleep(0.05)
s"""


class Gates:
    """The second task fails and the first one ends at once; of all others so many end at each gate."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "gate-"

    def cells(self, tasks: int, each: int) -> tuple[str, str]:
        return "%load_ext compute_nb", SWEEP.format(tasks=tasks, gate=str(self._path), each=each)

    def open(self, *numbers: int) -> None:
        for number in numbers:
            self._path.with_name(f"gate-{number}").touch()


@pytest.fixture
def gates(tmp_path: Path) -> Iterator[Gates]:
    made = Gates(tmp_path)
    yield made
    made.open(*range(4))  # of a test that failed: its tasks would keep the workers


def test_a_page_loaded_again_while_tasks_run_shows_their_end(lab, page: Page, gates: Gates) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    write_notebook(lab, "panel.ipynb", *gates.cells(6, 6))
    open_notebook(page, f"{lab.url}/lab/tree/panel.ipynb?reset")
    run_all(page)
    cancel = page.get_by_role("button", name="cancel", exact=True)
    expect(cancel).to_be_visible(timeout=60_000)
    box = cancel.bounding_box()
    assert box is not None
    assert box["width"] < 120
    cancel.focus()
    expect(cancel).to_be_focused()
    page.keyboard.press("Control+S")
    open_notebook(page, f"{lab.url}/lab/tree/panel.ipynb")
    gates.open(0)
    end = page.get_by_text(re.compile(r"sweep on local:\s.\s5 of 6 done, .\s1 failed"))
    expect(end).to_be_visible(timeout=60_000)
    expect(page.get_by_text("s=1: ZeroDivisionError: division by zero")).to_be_visible()
    expect(cancel).not_to_be_visible()
    assert not page.get_by_text("Error displaying widget").count()
    assert not errors


def open_notebook(page: Page, url: str) -> None:
    page.goto(url)
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
    page.locator(".jp-StatusBar-Middle, .jp-StatusBar-Left", has_text="| Idle").first.wait_for()


def write_notebook(lab: Any, name: str, *cells: str) -> None:
    made = nbformat.v4.new_notebook()
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(made, lab.folder / name)


def run_all(page: Page) -> None:
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()


@pytest.mark.usefixtures("without_plugin")
def test_the_keyboard_does_all_and_keeps_its_place_while_the_panel_moves(
    lab, page: Page, gates: Gates
) -> None:
    write_notebook(lab, "keys.ipynb", *gates.cells(60, 15))
    open_notebook(page, f"{lab.url}/lab/tree/keys.ipynb?reset")
    run_all(page)
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(1)
    button = cell.get_by_role("button")
    retry, details = (button.filter(has_text=name) for name in ("retry failed", "details"))
    expect(retry).to_be_visible(timeout=60_000)
    button.filter(has_text="cancel").focus()
    page.keyboard.press("Tab")
    expect(retry).to_be_focused()
    page.keyboard.press("Tab")
    expect(details).to_be_focused()
    assert details.evaluate("element => getComputedStyle(element).outlineWidth") == "2px"
    page.keyboard.press("Enter")
    number = cell.get_by_label("task", exact=True)
    expect(number).to_have_value("1")
    expect(cell.get_by_text("s=1", exact=True)).to_be_visible()
    gates.open(0)
    waits_for_moves(cell, 1 + 15)
    expect(details).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(cell.get_by_label("task group")).to_be_visible()
    page.keyboard.press("Tab")
    expect(number).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(cell.get_by_text("s=2", exact=True)).to_be_visible()
    gates.open(1)
    waits_for_moves(cell, 1 + 30)
    expect(number).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(cell.get_by_label("task group")).to_be_focused()
    page.keyboard.press("Control+A")
    UUID(page.evaluate("() => { const e = document.activeElement; return e.value.slice(e.selectionStart) }"))
    gates.open(2, 3)
    expect(cell.locator(".cnb-final")).to_be_visible(timeout=60_000)
    expect(cell.get_by_label("task group")).to_be_focused()
    expect(cell.get_by_role("progressbar")).to_have_count(1)
    expect(cell.get_by_role("progressbar")).to_be_visible()


def waits_for_moves(cell: Locator, done: int) -> None:
    expect(cell.get_by_role("progressbar")).to_have_attribute("aria-valuenow", str(done))


@pytest.mark.usefixtures("without_plugin")
def test_a_panel_whose_kernel_is_gone_says_how_it_stood_and_shows_no_dead_widget(
    lab, page: Page, gates: Gates
) -> None:
    write_notebook(lab, "gone.ipynb", *gates.cells(6, 6))
    open_notebook(page, f"{lab.url}/lab/tree/gone.ipynb?reset")
    run_all(page)
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(1)
    retry = cell.get_by_role("button", name="retry failed", exact=True)
    expect(retry).to_be_visible(timeout=60_000)
    expect(cell.get_by_text("s=1: ZeroDivisionError: division by zero", exact=True)).to_be_visible()
    page.keyboard.press("Control+S")
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_text("Restart Kernel…", exact=True).click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    open_notebook(page, f"{lab.url}/lab/tree/gone.ipynb?reset")
    cell = page.locator(".jp-Notebook .jp-CodeCell").nth(1)
    expect(cell.get_by_text(re.compile("sweep: 6 tasks submitted to local"))).to_be_visible()
    expect(cell.get_by_text("Error displaying widget")).to_be_hidden()
