"""The quickstart in JupyterLab, as a person runs it: open, Run All, read."""

from pathlib import Path

from playwright.sync_api import Page, expect


def test_run_all(lab, page: Page, tmp_path: Path) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.goto(f"{lab.url}/lab/tree/01_quickstart.ipynb?reset")
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
    page.locator(".jp-StatusBar-Middle, .jp-StatusBar-Left", has_text="| Idle").first.wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    shown = page.locator(".jp-OutputArea-output", has_text="from a worker: True")
    expect(shown).to_be_visible(timeout=90_000)
    assert not page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']").count()
    assert not errors
