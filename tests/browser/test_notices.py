"""Who does not look on is told of the end of a run, once; the settings are followed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser.notebook import Notebook, assert_moves
from playwright.sync_api import Locator, expect

HIDE = "Object.defineProperty(document, 'hidden', {get: () => true, configurable: true})"
SHORT = "%%compute local --label {label}\n{body}"
CELLS = [SHORT.format(label=label, body=body) for label, body in (("good", "1 + 1"), ("bad", "1 / 0"))]

Set = Callable[..., None]


@pytest.fixture
def settings(lab: Any) -> Iterator[Set]:
    """Sets what pages that are loaded afterwards read as the user's own settings."""
    file = Path(lab.environment["JUPYTERLAB_SETTINGS_DIR"]) / "compute-nb" / "plugin.jupyterlab-settings"
    file.parent.mkdir(parents=True, exist_ok=True)
    yield lambda **values: file.write_text(json.dumps(values))
    file.unlink(missing_ok=True)


def notice(notebook: Notebook, text: str) -> Locator:
    return notebook.page.locator(".Toastify__toast", has_text=text)


def show_groups(notebook: Notebook) -> None:
    notebook.page.get_by_role("tab", name="Compute tasks of this notebook").click()


def run_to_its_end(notebook: Notebook, index: int, told: str) -> None:
    """Runs a cell; what is told of its end was told when the list of groups has it."""
    notebook.run(index)
    expect(notebook.page.locator(".cnbp-row").first).to_contain_text(told)


def test_an_end_that_nobody_sees_is_told_once(notebook: Notebook, settings: Set) -> None:
    notebook.write(*CELLS)
    notebook.open()
    show_groups(notebook)
    notebook.run(0)
    run_to_its_end(notebook, 2, "1 of 1 done")
    expect(notice(notebook, "on local")).to_have_count(0)  # it was short, and the page is looked at
    notebook.page.evaluate(HIDE)
    run_to_its_end(notebook, 3, "1 failed")
    failed = notice(notebook, "bad on local: 0 of 1 done, 1 failed")
    expect(failed).to_have_count(1)
    expect(failed).to_have_class(re.compile("toast--error"))
    notebook.run(2)
    expect(notice(notebook, "good on local: 1 of 1 done")).to_have_count(1)
    expect(failed).to_be_visible()  # it stays until it is read
    notebook.save()

    settings(notifications=False)
    notebook.open()
    show_groups(notebook)
    notebook.page.evaluate(HIDE)
    run_to_its_end(notebook, 3, "1 failed")
    expect(notice(notebook, "on local")).to_have_count(0)
    assert not notebook.errors, notebook.errors


def test_a_long_run_is_told_also_to_who_looks_on(notebook: Notebook, settings: Set) -> None:
    settings(longRunSeconds=1)
    notebook.begin()
    notebook.page.wait_for_function(
        "begun => Date.now() - begun > 2000", arg=notebook.page.evaluate("Date.now()")
    )
    notebook.release()
    expect(notice(notebook, "sweep on local: 4 of 4 done")).to_have_count(1)
    assert not notebook.errors, notebook.errors


def test_who_does_not_want_it_has_runs_attached_by_a_click_only(notebook: Notebook, settings: Set) -> None:
    settings(attachAfterRestart=False)
    notebook.begin()
    notebook.restart()
    connect = notebook.output(1).get_by_role("button", name="connect")
    expect(connect).to_be_visible()
    connect.focus()
    notebook.page.keyboard.press("Enter")
    assert_moves(notebook)
    notebook.end()
    assert not notebook.errors, notebook.errors
