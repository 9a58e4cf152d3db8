"""The panel in JupyterLab: while its tasks run, and on a page that was loaded again meanwhile."""

import re

import nbformat
from playwright.sync_api import Page, expect

CELLS = (
    "%load_ext compute_nb",
    "%%compute local -m s=range(6) -n sweep\nimport time\ntime.sleep(2)\nif s == 1: 1 / 0\ns",
)


def test_a_page_loaded_again_while_tasks_run_shows_their_end(lab, page: Page) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    made = nbformat.v4.new_notebook()
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made.cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    nbformat.write(made, lab.folder / "panel.ipynb")
    open_notebook(page, f"{lab.url}/lab/tree/panel.ipynb?reset")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    cancel = page.get_by_role("button", name="cancel", exact=True)
    expect(cancel).to_be_visible(timeout=60_000)
    box = cancel.bounding_box()
    assert box is not None
    assert box["width"] < 120
    cancel.focus()
    expect(cancel).to_be_focused()
    page.keyboard.press("Control+S")
    open_notebook(page, f"{lab.url}/lab/tree/panel.ipynb")
    expect(page.get_by_text(re.compile("on local: 5 of 6 done, 1 failed"))).to_be_visible(timeout=60_000)
    expect(page.get_by_text("s=1: ZeroDivisionError: division by zero")).to_be_visible()
    expect(cancel).not_to_be_visible()
    assert not page.get_by_text("Error displaying widget").count()
    assert not errors


def open_notebook(page: Page, url: str) -> None:
    page.goto(url)
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
    page.locator(".jp-StatusBar-Middle, .jp-StatusBar-Left", has_text="| Idle").first.wait_for(timeout=60_000)
