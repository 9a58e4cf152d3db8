"""Each cell of the table run here, by IPython, and there gives the same: value, outputs, text, error.

There is the harness for all of them, and the whole way over service and worker for a share. With
`CELL_TABLE=FILE` in the environment the table is written as a document.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cell_table import (
    RAW,
    Case,
    Outcome,
    cells_named,
    here,
    put_back,
    read_cases,
    ready,
    run_quietly,
    same,
    through_the_harness,
)
from own_home import own_home

from compute_nb.errors import TaskExecutionFailed
from compute_nb.notebook.refusal import CellRefused

CASES = [case for case in (*read_cases(), *RAW) if sys.version_info >= case.python]
WHOLE_WAY = [case for place, case in enumerate(CASES) if place % 6 == 0 or case.topic == "process"]


@pytest.fixture(scope="module")
def rows() -> Iterator[list[tuple[Case, str, str, str]]]:
    found: list[tuple[Case, str, str, str]] = []
    yield found
    if path := os.environ.get("CELL_TABLE"):
        with open(path, "w", encoding="utf-8") as file:
            file.write(document(found))


def document(rows: list[tuple[Case, str, str, str]]) -> str:
    """Returns the table as Markdown."""

    def cell(text: str) -> str:
        short = text if len(text) <= 220 else f"{text[:160]} [...] {text[-50:]}"
        shown = [one if one.isprintable() or one in "\n\r" else repr(one)[1:-1] for one in short]
        made = "".join(shown)
        return "`" + made.replace("`", "'").replace("|", "\\|").replace("\n", " ⏎ ").replace("\r", "␍") + "`"

    lines = [f"# {len(rows)} cells, here and there\n"]
    topic = ""
    for case, local, remote, verdict in rows:
        if case.topic != topic:
            topic = case.topic
            lines.append(f"\n## {topic}\n\n| cell | body | here | there | |\n|---|---|---|---|---|")
        lines.append(f"| {case.name} | {cell(case.body)} | {cell(local)} | {cell(remote)} | {verdict} |")
    return "\n".join(lines) + "\n"


def the_whole_way(shell: Any, case: Case) -> Outcome:
    """Runs the body by `%%compute local -w`."""
    options = [f"-o {','.join(case.outputs)}"] * bool(case.outputs) + [f"-i {','.join(case.inputs)}"] * bool(
        case.inputs
    )
    done, text = run_quietly(shell, f"%%compute local -w {' '.join(options)}\n{case.body}")
    error = done.error_in_exec
    if isinstance(error, CellRefused):
        raise error
    if error is not None:
        assert isinstance(error, TaskExecutionFailed)
        return Outcome(stdout=own(text[0]), stderr=own(text[1]), error=error.remote_data)
    value = done.result
    out = text[0] if value is None else re.sub(r"(?s)(^|\n)Out\[\d+\]: .*", r"\1", text[0])
    outputs = {name: shell.names.get(name) for name in case.outputs}
    return Outcome(value, outputs, own(out), own(text[1]))


def own(text: str) -> str:
    """Returns what a cell printed without what we say of it."""
    return "".join(line for line in text.splitlines(True) if not line.startswith("`"))


def check(shell: Any, case: Case, run: Callable[[Any, Case], Outcome]) -> tuple[str, str, str]:
    """Runs a case on both sides; returns both in words, and the verdict."""
    ready(shell, case)
    if case.refused:
        with pytest.raises(CellRefused, match=case.refused) as caught:
            run(shell, case)
        return "-", str(caught.value), "refused, with the mend"
    with put_back():
        there = run(shell, case)
    if case.there:
        assert case.there in there.told()
        return "-", there.told(), "as said"
    ready(shell, case)
    with put_back():
        local = here(shell, case)
    if local.error:
        assert local.error in there.error
        assert there.error == local.error or run is the_whole_way
    else:
        assert not there.error
    assert same(there.value, local.value), (there.value, local.value)
    assert same(there.outputs, local.outputs), (there.outputs, local.outputs)
    assert there.stdout.strip() == local.stdout.strip()
    assert cells_named(there.stderr) == cells_named(local.stderr)
    return local.told(), there.told(), "equal"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.topic}: {case.name}")
def test_here_and_there_are_the_same(shell, rows, case):
    rows.append((case, *check(shell, case, through_the_harness)))


@pytest.fixture(scope="module")
def _own_service() -> Iterator[None]:
    with own_home():
        yield


@pytest.mark.usefixtures("_own_service")
@pytest.mark.parametrize("case", WHOLE_WAY, ids=lambda case: f"{case.topic}: {case.name}")
def test_the_whole_way_too(shell, case):
    if "ComputeMagics" not in shell.ip.magics_manager.registry:
        shell.ip.run_line_magic("load_ext", "compute_nb")
    check(shell, case, the_whole_way)
