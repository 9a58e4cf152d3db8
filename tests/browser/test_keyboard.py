"""From the status bar to the side panel and to a cell, by keys only."""

from __future__ import annotations

import re

from browser.notebook import Notebook, assert_whole
from playwright.sync_api import Locator, Page, expect

MANY = 150  # more than there are places to stop at in JupyterLab's page


def tab_to(page: Page, target: Locator) -> None:
    """Presses Tab until the target has the focus."""
    for _ in range(MANY):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{target} is not to be reached by Tab")


def test_from_the_status_bar_to_a_cell_without_a_mouse(notebook: Notebook) -> None:
    page = notebook.page
    notebook.write("sweep.result()", *["1"] * 40)
    notebook.begin()
    page.keyboard.press("Escape")
    page.keyboard.press("End")
    status = page.get_by_role("button", name="Compute: 1 running")
    tab_to(page, status)
    page.keyboard.press("Enter")
    side = page.get_by_label("Compute tasks", exact=True)
    first = side.get_by_role("list", name="Task groups of this notebook").get_by_role("button")
    expect(first).to_be_focused()
    expect(first).to_contain_text("sweep")
    expect(side.get_by_role("progressbar", name="sweep")).to_have_attribute(
        "aria-valuetext", re.compile("0 of 4 done")
    )
    page.keyboard.press("Shift+Tab")
    expect(side.get_by_role("button", name="Reload compute tasks")).to_be_focused()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.closest('.jp-Notebook') !== null")
    tab_to(page, status)
    page.keyboard.press("Space")
    expect(first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".jp-Cell.jp-mod-active .cnbp-output")).to_be_in_viewport()
    assert page.evaluate("document.activeElement.closest('.jp-Notebook') !== null")

    notebook.release()
    told = notebook.output(1).get_by_role("status").filter(has_text="sweep: done, 4 of 4 done")
    expect(told).to_have_count(1)
    expect(status).to_be_hidden()
    assert_whole(notebook)
