"""`%%compute` in a kernel with the id of a published agent, whose workers have nothing of compute_nb."""

from __future__ import annotations

from typing import Any

import nbformat
import pytest
from conformance.conftest import Early, Side
from nbclient import NotebookClient

BEFORE = "%load_ext compute_nb\nsteps = 21"
CELL = """\
%%compute {endpoint} -w -n there -o twice
import importlib.util
print("on the worker")
class Mark:
    def __repr__(self):
        return "a mark"
    def _repr_html_(self):
        return "<b>a mark</b>"
display(Mark())
twice = steps * 2
twice + 1, importlib.util.find_spec("compute_nb")"""
WRONG = """\
%%compute {endpoint} --no-wait -n wrong
def share(of):
    return of / 0
share(steps)"""
VALUES = "there.result(), twice"
FRAMES = "wrong.exception()"
FULL = "%compute tb wrong"


@pytest.fixture(scope="module")
def cells(extended: Side, early: Early) -> dict[str, list[Any]]:
    """What each cell has shown."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPUTE_NB_SERVICE_URL", extended.url)
        patch.setenv("COMPUTE_NB_TOKEN", extended.token)
        made = nbformat.v4.new_notebook()
        sources = [
            source.format(endpoint=extended.published.endpoint_id)
            for source in (BEFORE, CELL, WRONG, VALUES, FRAMES, FULL)
        ]
        made.cells = [nbformat.v4.new_code_cell(source) for source in sources]
        NotebookClient(made, timeout=300, kernel_name="python3").execute()
    names = ("before", "cell", "wrong", "values", "frames", "full")
    return {name: cell.outputs for name, cell in zip(names, made.cells, strict=True)}


def test_what_it_printed_and_displayed_is_under_the_cell(cells: dict[str, list[Any]]) -> None:
    printed = "".join(one.text for one in cells["cell"] if one.get("name") == "stdout")
    shown = [one.data for one in cells["cell"] if one.output_type == "display_data"]
    assert printed.startswith("on the worker\n")
    assert {"text/plain": "a mark", "text/html": "<b>a mark</b>"} in shown


def test_its_value_and_its_output_come_back(cells: dict[str, list[Any]]) -> None:
    (value,) = cells["values"]
    assert value.data["text/plain"] == "((43, None), 42)", "and there is no compute_nb where it ran"


def test_an_error_names_its_cell_and_lines(cells: dict[str, list[Any]]) -> None:
    assert cells["frames"][0].data["text/plain"] == "ZeroDivisionError('division by zero')"
    assert cells["full"][0].text == (
        "Traceback (most recent call last):\n"
        "  Cell In[3], line 3\n"
        "    share(steps)\n"
        "  Cell In[3], line 2, in share\n"
        "    return of / 0\n"
        "           ^^^^^^\n"
        "ZeroDivisionError: division by zero\n"
    )
