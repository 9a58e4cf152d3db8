"""Runs come back: under their own cells, bound, counted right, after whatever happens to kernel and page."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect

LOAD = "%load_ext compute_nb"
SWEEP = (
    "%%compute local -m s=range(4) -n sweep\n"
    "import os, time\n"
    "while not os.path.exists({gate!r}):\n"
    "    time.sleep(0.05)\n"
    "s * s"
)


class Notebook:
    """A notebook open in a real JupyterLab; its tasks end when its gate is opened."""

    def __init__(self, lab: Any, page: Page, name: str) -> None:
        self.lab, self.page, self.name = lab, page, name
        self.path: Path = lab.folder / name
        self.gate = lab.folder / f"{name}.gate"
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        cells = [LOAD, SWEEP.format(gate=str(self.gate)), "sweep.result()"]
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(made, self.path)

    def open(self, *, reset: bool = True) -> None:
        self.page.goto(f"{self.lab.url}/lab/tree/{self.name}{'?reset' if reset else ''}")
        self.cell(0).wait_for()
        self.idle()

    def idle(self) -> None:
        bar = self.page.locator(".jp-StatusBar-Middle, .jp-StatusBar-Left", has_text="| Idle")
        bar.first.wait_for(timeout=60_000)

    def cell(self, index: int) -> Locator:
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell").nth(index)

    def output(self, index: int) -> Locator:
        return self.cell(index).locator(".jp-Cell-outputWrapper")

    def run(self, index: int) -> None:
        """Runs a cell and waits until it has a number."""
        self.cell(index).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        expect(self.cell(index).locator(".jp-InputPrompt")).to_have_text(
            re.compile(r"\[\d+\]:"), timeout=60_000
        )

    def restart(self) -> None:
        self.menu("Kernel", "Restart Kernel…")
        self.page.get_by_role("button", name="Confirm Kernel Restart").click()
        self.idle()

    def menu(self, top: str, item: str) -> None:
        self.page.get_by_role("menuitem", name=top, exact=True).click()
        self.page.get_by_text(item, exact=True).click()

    def save(self) -> None:
        self.page.keyboard.press("Control+S")
        expect(self.page.locator(".jp-mod-dirty")).to_have_count(0)

    def release(self) -> None:
        self.gate.touch()

    def saved(self) -> Any:
        return json.loads(self.path.read_text(encoding="utf-8"))

    def groups(self) -> list[Any]:
        return list(self.saved()["metadata"].get("compute_nb", {}).get("task_groups", []))


@pytest.fixture
def notebook(lab: Any, page: Page, request: pytest.FixtureRequest) -> Iterator[Notebook]:
    made = Notebook(lab, page, f"{request.node.name}.ipynb")
    yield made
    made.release()


def assert_whole(notebook: Notebook, cell: int = 1) -> None:
    """The panel stands under its cell, has ended, and nothing is broken."""
    expect(notebook.output(cell)).to_contain_text("4 of 4 done", timeout=60_000)
    assert not notebook.page.get_by_text("Error displaying widget").count()
    assert not notebook.page.get_by_text("model not found").count()
    assert not notebook.page.locator(".jp-Dialog").count()
    assert not notebook.errors


def test_a_restart_by_the_menu(notebook: Notebook) -> None:
    notebook.open()
    notebook.run(0)
    notebook.run(1)
    expect(notebook.output(1)).to_contain_text("0 of 4 done")
    expect(notebook.page.locator(".jp-mod-dirty")).to_have_count(0)
    (group,) = notebook.groups()
    assert (group["name"], group["tasks"], group["map"]) == ("sweep", 4, ["s"])
    assert group["cell_id"] == notebook.saved()["cells"][1]["id"]
    notebook.restart()
    notebook.run(0)
    expect(notebook.output(1).get_by_role("button", name="cancel")).to_be_visible()
    notebook.release()
    notebook.run(2)
    expect(notebook.output(2)).to_contain_text("[0, 1, 4, 9]")
    assert_whole(notebook)
    assert [one["id"] for one in notebook.groups()] == [group["id"]]
