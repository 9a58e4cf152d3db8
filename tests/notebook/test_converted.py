"""Notebooks of real kernels through nbconvert: what a reader sees who has no kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from kernels import kernel_at
from nbconvert import HTMLExporter, MarkdownExporter
from own_home import own_home
from papers import LOAD, Paper

from compute_nb.notebook.runs.record import KEY

SWEEP = (
    "%%compute local -m s=range(6) -n sweep\n"
    "import os, time\n"
    "while s > 1 and not os.path.exists({gate!r}):\n"
    "    time.sleep(0.02)\n"
    "print('seen', s)\n"
    "assert s != 3, 'three &\\n\\n    <tt>four</tt>'\n"
    "s * s"
)
ENDING = ("%%compute -n table\nprint('over\\n\\n    there')\n{'a': 1}", "%%compute -w -n answer\n6 * 7")
FIRST = "[sweep[k].result() for k in range(2)]"


class Words(HTMLParser):
    """The words of a page, without styles and scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self._silent = 0
        self._parts: list[str] = []
        self.feed(page)
        self.raw = "".join(self._parts)
        self.text = " ".join(self.raw.split())

    def handle_starttag(self, tag: str, _: object) -> None:
        self._silent += tag in ("style", "script")
        self._parts.append(" " * (tag == "div"))

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        self._parts.append("" if self._silent else data)


def written(folder: Path, *, plugin: bool) -> tuple[Path, Path]:
    """Returns a notebook that was saved while a run was open, and the same after all had ended."""
    gate = folder / "gate"
    paper = Paper(folder / "paper.ipynb", LOAD, SWEEP.format(gate=str(gate)), *ENDING, plugin=plugin)
    early = folder / "early.ipynb"
    with kernel_at(paper.path) as kernel:
        paper.run(kernel, 0, 1)
        kernel.run(FIRST)
        if plugin:
            kernel.says("snapshots", lambda said: "'SUCCEEDED': 2" in str(said))
        early.write_bytes(paper.save(kernel).read_bytes())
        gate.touch()
        paper.run(kernel, 2, 3)
        paper.settle(kernel)
        return early, paper.save(kernel)


@pytest.fixture(scope="module", autouse=True)
def _own_service() -> Iterator[None]:
    with own_home():
        yield


@pytest.fixture(scope="module", params=[False, True], ids=["without the plugin", "with the plugin"])
def notebooks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return written(tmp_path_factory.mktemp("papers"), plugin=request.param)


def check_no_trace_of_widgets(page: str) -> None:
    """No widget that nobody can draw, and no script that would look for one."""
    for word in ("Error displaying widget", "model not found", "widget-view+json", "model_id", "cnb-live"):
        assert word not in page
    assert not re.search(r"\b[0-9a-f]{32}\b", page)


def test_html_of_a_notebook_whose_runs_have_ended(notebooks: tuple[Path, Path]) -> None:
    page, _ = HTMLExporter().from_filename(str(notebooks[1]))
    check_no_trace_of_widgets(page.partition("<main")[2])
    told = Words(page).text
    assert "sweep on local: ✓ 5 of 6 done, ✗ 1 failed" in told
    assert "■■■✗■■" in told
    assert "s=3: AssertionError: three &" in told
    assert "<tt>four</tt>" in told
    assert "table on local: ✓ 1 of 1 done" in told
    assert "over there" in told
    assert "{'a': 1}" in told
    assert told.endswith("42")
    assert re.search(r"task group [0-9a-f-]{36}", told)


def test_html_of_a_notebook_that_was_saved_while_a_run_was_open(notebooks: tuple[Path, Path]) -> None:
    page, _ = HTMLExporter().from_filename(str(notebooks[0]))
    check_no_trace_of_widgets(page.partition("<main")[2])
    told = Words(page).text
    if "as of" in told:
        assert re.search(r"sweep on local: ✓ 2 of 6 done, .* as of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", told)
    else:
        assert re.search(r"sweep: 6 tasks submitted to local at \d{4}-\d\d-\d\d \d\d:\d\d", told)
        assert re.search(r"after a restart: %compute reload [0-9a-f-]{36}", told)
    assert "progressbar" not in page  # nothing that looks as if it moved


def test_markdown_is_one_block_for_each_panel(notebooks: tuple[Path, Path]) -> None:
    """Markdown ends HTML at an empty line: what comes after it would be read as a text of the author."""
    for path, ends in zip(notebooks, (False, True), strict=True):
        page, _ = MarkdownExporter().from_filename(str(path))
        check_no_trace_of_widgets(page)
        panels = re.findall(r'^<div class="cnb-panel.*?(?=\n\n|\Z)', page, re.DOTALL | re.MULTILINE)
        assert len(panels) == (3 if ends else 1)
        for panel in panels:
            assert panel.count("<div") == panel.count("</div>")
            assert panel.count("<pre") == panel.count("</pre>")
        if ends:
            assert "■■■✗■■" in Words(panels[0]).text
            assert "three &\n\n    <tt>four" in Words(panels[0]).raw


def test_with_the_plugin_no_style_sheet_stands_in_the_file(notebooks: tuple[Path, Path]) -> None:
    """Where Markdown is shown with care, a style sheet is text."""
    page, _ = MarkdownExporter().from_filename(str(notebooks[1]))
    has_plugin = KEY in nbformat.read(notebooks[1], as_version=4).metadata
    assert page.count("<style") == (1 if has_plugin else 3)  # of the run before the page had answered


def test_text_of_an_open_run_says_nothing_that_is_soon_wrong(notebooks: tuple[Path, Path]) -> None:
    (output, *_) = nbformat.read(notebooks[0], as_version=4).cells[1].outputs
    assert re.search(
        r"^sweep(: 6 tasks submitted to local at | on local: 2 of 6 done)", output.data["text/plain"]
    )
