"""Runs come back: under their own cells, bound, counted right, after whatever happens to kernel and page."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import nbformat
import pytest
from playwright.sync_api import Locator, Page, expect

PANEL = "application/vnd.compute-nb.panel+json"
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

    def __init__(self, lab: Any, page: Page, name: str, gate: Path | None = None) -> None:
        self.lab, self.page, self.name = lab, page, name
        self.path: Path = lab.folder / name
        self.gate = gate or lab.folder / f"{name}.gate"
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)

    @property
    def others(self) -> list[str]:
        """Errors in the log of the page that are not the front end's own."""
        return self.errors

    def write(self, *last: str) -> Self:
        cells = [LOAD, SWEEP.format(gate=str(self.gate)), *(last or ("sweep.result()",))]
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(made, self.path)
        self._sign()
        return self

    def _sign(self) -> None:
        """Trusts it, as a notebook that was made in JupyterLab is."""
        command = [sys.executable, "-m", "jupyter", "trust", str(self.path)]
        subprocess.run(command, env=self.lab.environment, check=True, capture_output=True)

    def begin(self) -> None:
        """Opens it and submits the sweep."""
        self.open()
        self.run(0)
        self.run(1)
        expect(self.output(1)).to_contain_text("0 of 4 done")

    def end(self) -> None:
        """Lets the tasks end, and reads their values by the name."""
        self.release()
        self.run(2)
        expect(self.output(2)).to_contain_text("[0, 1, 4, 9]")

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

    def release(self) -> None:
        self.gate.touch()

    def saved(self) -> Any:
        return json.loads(self.path.read_text(encoding="utf-8"))

    def groups(self) -> list[Any]:
        return list(self.saved()["metadata"].get("compute_nb", {}).get("task_groups", []))


class Notebook7(Notebook):
    """The same in Notebook 7, which has errors of its own in its log."""

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


@pytest.fixture
def windowing(lab: Any) -> Iterator[None]:
    """Has pages that are loaded meanwhile make only the cells that are in sight."""
    settings = Path(lab.environment["JUPYTERLAB_SETTINGS_DIR"]) / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True, exist_ok=True)
    tracker = settings / "tracker.jupyterlab-settings"
    tracker.write_text('{"windowingMode": "full"}')
    yield
    tracker.unlink()


@pytest.fixture
def notebook(lab: Any, page: Page, request: pytest.FixtureRequest) -> Iterator[Notebook]:
    made = Notebook(lab, page, f"{request.node.name}.ipynb").write()
    yield made
    made.release()


def assert_whole(notebook: Notebook, cell: int = 1) -> None:
    """The panel stands under its cell, has ended, and nothing is broken."""
    expect(notebook.output(cell)).to_contain_text("4 of 4 done")
    assert not notebook.page.get_by_text("Error displaying widget").count()
    assert not notebook.page.get_by_text("model not found").count()
    assert not notebook.page.locator(".jp-Dialog").count()
    assert not notebook.others


def assert_moves(notebook: Notebook, cell: int = 1) -> None:
    """The panel is the kernel's own, under its cell."""
    expect(notebook.output(cell).get_by_role("button", name="cancel")).to_be_visible(timeout=60_000)
    expect(notebook.output(cell)).to_contain_text("0 of 4 done")


def test_restarts_a_kill_and_pages_that_are_loaded_again(notebook: Notebook) -> None:
    notebook.begin()
    expect(notebook.page.locator(".jp-mod-dirty")).to_have_count(0)
    (group,) = notebook.groups()
    assert (group["name"], group["tasks"], group["map"]) == ("sweep", 4, ["s"])
    assert group["cell_id"] == notebook.saved()["cells"][1]["id"]
    expect(notebook.page.get_by_role("button", name="Compute: 1 running")).to_be_visible()
    notebook.restart()
    assert_moves(notebook)
    notebook.run(0)
    expect(notebook.output(0)).to_contain_text("bound again: sweep")
    expect(notebook.cell(0).locator(".jp-InputPrompt")).to_have_text("[1]:")  # attaching took no number
    told = notebook.page.get_by_role("button", name="Ok", exact=True)
    notebook.kill()
    told.first.wait_for()
    notebook.page.add_locator_handler(told, lambda button: button.first.click())
    assert_moves(notebook)
    notebook.open(reset=False)
    assert_moves(notebook)
    notebook.restart()
    notebook.open(reset=False)
    notebook.run(0)
    assert_moves(notebook)
    notebook.save()
    with notebook.page.expect_response(lambda reply: reply.request.method == "PUT"):
        notebook.end()
    assert_whole(notebook)
    expect(notebook.page.locator(".jp-mod-dirty")).to_have_count(0)
    counts = notebook.saved()["cells"][1]["outputs"][0]["data"][PANEL]["counts"]
    assert counts == {"SUCCEEDED": 4}
    assert [one["id"] for one in notebook.groups()] == [group["id"]]


def test_the_end_comes_while_no_page_is_open(notebook: Notebook) -> None:
    notebook.begin()
    notebook.page.goto("about:blank")
    notebook.release()
    notebook.open(reset=False)
    assert_whole(notebook)
    notebook.save()
    counts = notebook.saved()["cells"][1]["outputs"][0]["data"][PANEL]["counts"]
    assert counts == {"SUCCEEDED": 4}


def test_a_notebook_that_is_renamed_and_a_copy_that_nobody_trusts(notebook: Notebook) -> None:
    notebook.begin()
    notebook.rename("renamed")
    notebook.restart()
    assert_moves(notebook)
    copy = notebook.copy()
    notebook.end()
    assert_whole(notebook)
    assert_tells_what_has_changed(notebook)
    copy.open()
    expect(copy.output(1)).to_contain_text("0 of 4 done")
    expect(copy.output(1)).to_contain_text("The source of this cell has changed since this run.")
    copy.run(0)
    expect(copy.output(1)).to_contain_text("This kernel does not follow the run")
    assert not copy.output(0).get_by_text("bound again").count()
    assert not copy.errors


def assert_tells_what_has_changed(notebook: Notebook) -> None:
    """The panel of a run says so while its cell has another source, and by keys also what that is."""
    drift = notebook.output(1).locator(".cnbp-drift")
    expect(drift).not_to_be_visible()
    notebook.cell(1).locator(".cm-content").click()
    notebook.page.keyboard.press("Control+End")
    notebook.page.keyboard.type("  # <b>twice</b>")
    expect(drift).to_contain_text("The source of this cell has changed since this run.")
    drift.locator("summary").press("Enter")
    expect(drift.locator(".cnbp-new")).to_have_text("+s * s  # <b>twice</b>\n")
    expect(drift.locator(".cnbp-gone")).to_have_text("-s * s\n")
    notebook.cell(1).locator(".cm-content").click()
    notebook.page.keyboard.press("Control+Z")
    expect(drift).not_to_be_visible()


def test_a_server_that_is_started_again(notebook: Notebook, lab: Any) -> None:
    notebook.begin()
    notebook.save()
    notebook.page.goto("about:blank")
    lab.stop()
    lab.start()
    notebook.open()
    notebook.run(0)
    assert_moves(notebook)
    notebook.end()
    assert_whole(notebook)


def test_notebook_7(notebook: Notebook) -> None:
    seven = Notebook7(notebook.lab, notebook.page, notebook.name)
    seven.begin()
    seven.open()
    assert_moves(seven)
    seven.restart()
    assert_moves(seven)
    seven.end()
    assert_whole(seven)


@pytest.mark.usefixtures("windowing")
def test_cells_out_of_sight_that_were_copied_moved_and_cleared(notebook: Notebook) -> None:
    notebook.write(*["1"] * 60)
    notebook.begin()
    notebook.key(1, "c", "v")
    expect(notebook.output(2)).to_contain_text("0 of 4 done")
    notebook.key(1, "Control+Shift+ArrowUp")
    notebook.restart()
    assert_moves(notebook, 0)
    assert_moves(notebook, 2)
    notebook.release()
    assert_whole(notebook, 0)
    assert_whole(notebook, 2)


def test_two_tabs_of_one_notebook(notebook: Notebook, page: Page) -> None:
    notebook.begin()
    with page.context.new_page() as second:
        other = notebook.seen_in(second)
        other.open(reset=False)
        assert_moves(other)
        notebook.release()
        assert_whole(notebook)
        assert_whole(other)
        notebook.page.bring_to_front()
        notebook.save()
        assert not notebook.page.locator(".jp-Dialog").count()


def test_run_all_in_the_middle_of_a_sweep_submits_nothing_again(notebook: Notebook) -> None:
    notebook.write("for _ in sweep: print(_.task_id)")
    notebook.begin()
    notebook.restart()
    notebook.menu("Run", "Run All Cells")
    expect(notebook.output(2)).to_contain_text("-")
    assert_moves(notebook)
    expect(notebook.output(1)).to_contain_text("attached to it")
    (group,) = notebook.groups()
    notebook.release()
    assert_whole(notebook)
    notebook.save()
    panels = [out for out in notebook.saved()["cells"][1]["outputs"] if PANEL in out.get("data", {})]
    assert [out["data"][PANEL]["entry"]["id"] for out in panels] == [group["id"]]
    assert [one["id"] for one in notebook.groups()] == [group["id"]]


@pytest.mark.usefixtures("without_plugin")
def test_without_the_plugin_names_come_back_and_nothing_is_broken(notebook: Notebook) -> None:
    notebook.begin()
    assert not notebook.page.locator(".cnbp-output").count()
    notebook.save()
    notebook.restart()
    notebook.run(0)
    expect(notebook.output(0)).to_contain_text("bound again: sweep")
    live = notebook.output(0).get_by_role("button", name="cancel")
    expect(live).not_to_be_visible()
    notebook.output(0).locator("summary", has_text="1 earlier run of this notebook").press("Enter")
    expect(live).to_be_visible()
    expect(
        notebook.output(1).get_by_role("button", name="cancel")
    ).not_to_be_visible()  # died with its kernel
    notebook.end()
    assert not notebook.errors
    notebook.save()
    notebook.restart()
    notebook.open(reset=False)
    expect(notebook.output(1)).to_contain_text("4 tasks submitted to local")
    for said in notebook.page.get_by_text("Error displaying widget").all():
        expect(said).not_to_be_visible()
