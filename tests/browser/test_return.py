"""Runs come back: under their own cells, bound, counted right, after whatever happens to kernel and page."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser.notebook import PANEL, Notebook, Notebook7, assert_moves, assert_whole
from playwright.sync_api import BrowserContext, Page, WebSocketRoute, expect


@pytest.fixture
def windowing(lab: Any) -> Iterator[None]:
    """Has pages that are loaded meanwhile make only the cells that are in sight."""
    settings = Path(lab.environment["JUPYTERLAB_SETTINGS_DIR"]) / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True, exist_ok=True)
    tracker = settings / "tracker.jupyterlab-settings"
    tracker.write_text('{"windowingMode": "full"}')
    yield
    tracker.unlink()


def test_restarts_a_kill_and_pages_that_are_loaded_again(notebook: Notebook) -> None:
    notebook.begin()
    notebook.saves_by_itself()
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
    notebook.end()
    assert_whole(notebook)
    notebook.saves_by_itself(SUCCEEDED=4)
    assert [one["id"] for one in notebook.groups()] == [group["id"]]


def test_the_end_comes_while_no_page_is_open(notebook: Notebook) -> None:
    notebook.begin()
    notebook.saves_by_itself()
    expect(notebook.page.locator(".jp-mod-dirty")).to_have_count(0)  # else there is nothing to come back to
    notebook.page.goto("about:blank")
    notebook.release()
    notebook.open(reset=False)
    assert_whole(notebook)
    notebook.saves_by_itself(SUCCEEDED=4)


def test_a_greeting_that_is_lost_on_its_way_is_said_again(notebook: Notebook) -> None:
    notebook.begin()
    notebook.saves_by_itself()
    expect(notebook.page.locator(".jp-mod-dirty")).to_have_count(0)
    lost = loses_once(notebook.page, b'"kind":"notebook"')
    notebook.open(reset=False)
    assert_moves(notebook)
    assert len(lost) == 1
    notebook.end()
    assert_whole(notebook)


def loses_once(page: Page, words: bytes) -> list[bytes]:
    """Has the first message to a kernel that has these words go nowhere; returns what was lost."""
    lost: list[bytes] = []

    def connect(page_side: WebSocketRoute) -> None:
        server = page_side.connect_to_server()

        def forward(message: str | bytes) -> None:
            written = message.encode() if isinstance(message, str) else message
            if words in written and not lost:
                lost.append(written)
            else:
                server.send(message)

        page_side.on_message(forward)

    page.route_web_socket(re.compile("/api/kernels/.*/channels"), connect)
    return lost


def test_saves_that_overlap_or_are_called_off(notebook: Notebook) -> None:
    notebook.begin()
    for _ in range(5):  # the first in the middle of the one that the submit causes
        notebook.page.keyboard.press("Control+S")
    expect(notebook.page.locator(".jp-mod-dirty")).to_have_count(0)
    assert_moves(notebook)
    assert not notebook.page.locator(".jp-Dialog").count()

    notebook.open(reset=False)
    assert_moves(notebook)
    changed = notebook.saved()
    changed["metadata"]["by_another_program"] = True
    notebook.path.write_text(json.dumps(changed), encoding="utf-8")
    dialog = notebook.page.locator(".jp-Dialog", has_text="File Changed")
    notebook.page.keyboard.press("Control+S")
    dialog.get_by_role("button", name="Cancel").click()
    notebook.release()
    dialog.get_by_role("button", name="Overwrite").click()  # the end of the run is to be saved, and asks
    notebook.saves_by_itself(SUCCEEDED=4)
    assert_whole(notebook)


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
    assert not copy.errors, copy.errors


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
    seven.saves_by_itself()
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
    notebook.saves_by_itself()
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


def test_run_all_in_the_middle_of_a_sweep_of_20_submits_nothing_again(notebook: Notebook, lab: Any) -> None:
    notebook.tasks, notebook.free = 20, 5
    notebook.write("for _ in sweep: print(_.task_id)")
    before = tasks_at_service(lab)
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
    assert tasks_at_service(lab) == before + 20


def tasks_at_service(lab: Any) -> int:
    command = [sys.executable, "-m", "compute_nb.cli", "service", "status", "--json"]
    told = subprocess.run(command, env=lab.environment, check=False, capture_output=True, text=True)
    return sum(json.loads(told.stdout).get("tasks", {}).values())


def test_a_browser_that_was_closed_while_tasks_run(
    lab: Any, page: Page, other_browser: BrowserContext
) -> None:
    closed = Notebook(lab, other_browser.new_page(), "closed.ipynb").write()
    closed.begin()
    expect(closed.page.locator(".jp-mod-dirty")).to_have_count(0)
    other_browser.close()
    notebook = closed.seen_in(page)
    notebook.open()
    assert_moves(notebook)
    expect(page.get_by_role("button", name="Compute: 1 running")).to_be_visible()
    notebook.end()
    assert_whole(notebook)
    assert not closed.errors, closed.errors


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
    assert not notebook.errors, notebook.errors
    notebook.save()
    notebook.restart()
    notebook.open(reset=False)
    expect(notebook.output(1)).to_contain_text("4 tasks submitted to local")
    for said in notebook.page.get_by_text("Error displaying widget").all():
        expect(said).not_to_be_visible()
