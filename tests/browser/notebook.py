"""This module is the notebook: one open in a real page, what a person does there, and what is asked of it."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any, Self

import nbformat
from nbformat.sign import NotebookNotary
from playwright.sync_api import ConsoleMessage, Locator, Page, expect

PANEL = "application/vnd.compute-nb.panel+json"
LOAD = "%load_ext compute_nb"
SWEEP = (
    "%%compute local -m s=range({tasks}) -n {name}\n"
    "import os, time\n"
    "while s >= {free} and not os.path.exists({gate!r}):\n"
    "    time.sleep(0.05)\n"
    "s * s"
)

# JupyterLab asks a kernel for it at each start, and says so where that kernel goes meanwhile.
DEBUGGER = "Could not restore the debugger state: Canceled future"

SAVED = """async ([name, mime, counts]) => {
  const file = await (await fetch(`/api/contents/${name}?content=1`)).json();
  const shown = (file.content?.cells[1].outputs ?? []).map(one => one.data?.[mime]?.counts).filter(Boolean);
  return counts ? JSON.stringify(shown) === JSON.stringify([counts]) : shown.length === 1;
}"""


class Notebook:
    """A notebook open in a real JupyterLab; its tasks end when its gate opens, but for the first `free`."""

    tasks, free = 4, 0

    def __init__(self, lab: Any, page: Page, name: str, gate: Path | None = None) -> None:
        self.lab, self.page, self.name = lab, page, name
        self.path: Path = lab.folder / name
        self.gate = gate or lab.folder / f"{name}.gate"
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._hear)

    def _hear(self, said: ConsoleMessage) -> None:
        if said.type == "error" and not said.text.startswith(DEBUGGER):
            self.errors.append(f"{said.text} ({said.location.get('url', '?')})")

    @property
    def others(self) -> list[str]:
        """Errors in the log of the page that are not the front end's own."""
        return self.errors

    def sweep(self, name: str, tasks: int, free: int = 0) -> str:
        return SWEEP.format(name=name, tasks=tasks, free=free, gate=str(self.gate))

    def write(self, *last: str) -> Self:
        cells = [LOAD, self.sweep("sweep", self.tasks, self.free), *(last or ("sweep.result()",))]
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(made, self.path)
        self._sign()
        return self

    def _sign(self) -> None:
        """Trusts it, as a notebook that was made in JupyterLab is."""
        notary = NotebookNotary(data_dir=self.lab.environment["JUPYTER_DATA_DIR"])
        notary.sign(nbformat.read(self.path, as_version=4))
        notary.store.close()

    def begin(self) -> None:
        """Opens it and submits the sweep."""
        self.open()
        self.run(0)
        self.run(1)
        expect(self.output(1)).to_contain_text(self.begun)

    @property
    def begun(self) -> str:
        """What the panel says while the gate is shut."""
        return f"{self.free} of {self.tasks} done"

    def end(self) -> None:
        """Lets the tasks end, and reads their values by the name."""
        self.release()
        self.run(2)
        expect(self.output(2)).to_contain_text(f"{[s * s for s in range(self.tasks)]}")

    def open(self, *, reset: bool = True) -> None:
        self.page.goto(f"{self.lab.url}/lab/tree/{self.name}{'?reset' if reset else ''}")
        self.cell(0).wait_for()
        self.idle()

    def idle(self) -> None:
        bar = self.page.locator(".jp-StatusBar-Middle, .jp-StatusBar-Left", has_text="| Idle")
        bar.first.wait_for()

    def cell(self, index: int) -> Locator:
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell").nth(index)

    def output(self, index: int) -> Locator:
        return self.cell(index).locator(".jp-Cell-outputWrapper")

    def run(self, index: int) -> None:
        """Runs a cell and waits until it has a number."""
        self.cell(index).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        expect(self.cell(index).locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]:"))

    def restart(self) -> None:
        self.menu("Kernel", "Restart Kernel…")
        self.page.get_by_role("button", name="Confirm Kernel Restart").click()
        self.idle()

    def kill(self) -> None:
        """Kills the kernel's process, of which the sweep's cell says nothing to the tasks."""
        self.run_text("import os; print(os.getpid())")
        os.kill(int(self.output(3).inner_text()), signal.SIGKILL)

    def run_text(self, text: str) -> None:
        """Runs text in a new cell at the end."""
        self.cell(2).locator(".jp-InputPrompt").click()
        self.page.keyboard.press("b")
        self.cell(3).locator(".cm-content").click()
        self.page.keyboard.type(text)
        self.run(3)

    def rename(self, name: str) -> None:
        self.menu("File", "Rename Notebook…")
        self.page.locator(".jp-Dialog input").fill(f"{name}.ipynb")
        self.page.get_by_role("button", name="Rename").click()
        self.name, self.path = f"{name}.ipynb", self.lab.folder / f"{name}.ipynb"
        self.page.get_by_role("tab", name=self.name).wait_for()

    def copy(self) -> Self:
        """Returns a copy of the file, not open yet, with another source, which makes it one of no trust."""
        name = f"copy-{self.name}"
        self.save()
        changed = self.path.read_text(encoding="utf-8").replace("s * s", "s * s  # changed")
        (self.lab.folder / name).write_text(changed, encoding="utf-8")
        return type(self)(self.lab, self.page, name, self.gate)

    def seen_in(self, page: Page) -> Self:
        """Returns the same notebook in another tab of the browser."""
        return type(self)(self.lab, page, self.name, self.gate)

    def key(self, index: int, *keys: str) -> None:
        """Presses keys with a cell selected."""
        self.cell(index).locator(".jp-InputPrompt").click()
        for key in keys:
            self.page.keyboard.press(key)

    def menu(self, top: str, item: str) -> None:
        self.page.get_by_role("menuitem", name=top, exact=True).click()
        self.page.get_by_text(item, exact=True).click()

    def save(self) -> None:
        with self.page.expect_response(lambda reply: reply.request.method == "PUT"):
            self.page.keyboard.press("Control+S")
        expect(self.page.locator(".jp-mod-dirty")).to_have_count(0)

    def saves_by_itself(self, **counts: int) -> None:
        """Waits until the file shows the sweep's one panel, with these counts if any, though nobody saves."""
        self.page.wait_for_function(SAVED, arg=[self.name, PANEL, counts or None])

    def release(self) -> None:
        self.gate.touch()

    def saved(self) -> Any:
        return json.loads(self.path.read_text(encoding="utf-8"))

    def groups(self) -> list[Any]:
        return list(self.saved()["metadata"].get("compute_nb", {}).get("task_groups", []))


class Notebook7(Notebook):
    """The same in Notebook 7, which has errors of its own in its log."""

    # The outer two come with our extension disabled too; the command is its file browser's, and we run none.
    OWN = re.compile(r"reading 'schema'|'filebrowser:open-path' not registered|the debugger state")

    @property
    def others(self) -> list[str]:
        return [error for error in self.errors if not self.OWN.search(error)]

    def open(self, *, reset: bool = True) -> None:
        self.page.goto(f"{self.lab.url}/notebooks/{self.name}")
        self.cell(0).wait_for()
        self.idle()

    def idle(self) -> None:
        """Waits for a kernel that has nothing to do; before there is one the sign says so too."""
        expect(self.page.locator(".jp-KernelName")).to_contain_text("Python 3")
        expect(self.page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")).to_have_count(1)


def assert_whole(notebook: Notebook, cell: int = 1) -> None:
    """The panel stands under its cell, has ended, and nothing is broken."""
    expect(notebook.output(cell)).to_contain_text(f"{notebook.tasks} of {notebook.tasks} done")
    assert not notebook.page.get_by_text("Error displaying widget").count()
    assert not notebook.page.get_by_text("model not found").count()
    assert not notebook.page.locator(".jp-Dialog").count()
    assert not notebook.others, notebook.others


def assert_moves(notebook: Notebook, cell: int = 1) -> None:
    """The panel is the kernel's own, under its cell."""
    expect(notebook.output(cell).get_by_role("button", name="cancel")).to_be_visible(timeout=60_000)
    expect(notebook.output(cell)).to_contain_text(notebook.begun)
