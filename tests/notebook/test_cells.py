"""Each cell of the table run here, by IPython, and there gives the same: value, outputs, text, error.

There is the harness for all of them, and the whole way over service and worker for a share. With
`CELL_TABLE=FILE` in the environment the table is written as a document.
"""

from __future__ import annotations

import base64
import decimal
import json
import os
import re
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cell_table import RAW, Case, Outcome, cells_named, read_cases, same
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
        made = short.encode("ascii", "backslashreplace").decode() if "\ud800" in short else short
        return "`" + made.replace("`", "'").replace("|", "\\|").replace("\n", " ⏎ ").replace("\r", "␍") + "`"

    lines = [f"# {len(rows)} cells, here and there\n"]
    topic = ""
    for case, here, there, verdict in rows:
        if case.topic != topic:
            topic = case.topic
            lines.append(f"\n## {topic}\n\n| cell | body | here | there | |\n|---|---|---|---|---|")
        lines.append(f"| {case.name} | {cell(case.body)} | {cell(here)} | {cell(there)} | {verdict} |")
    return "\n".join(lines) + "\n"


@contextmanager
def put_back() -> Iterator[None]:
    """Undoes what a body that runs here does to this process."""
    folder, path, limit, environ = os.getcwd(), list(sys.path), sys.getrecursionlimit(), dict(os.environ)
    argv = sys.argv
    try:
        with warnings.catch_warnings():
            warnings.resetwarnings()
            warnings.simplefilter("default")
            warnings.showwarning = print_warning  # pytest's gathers them
            with decimal.localcontext():
                yield
    finally:
        os.chdir(folder)
        sys.path[:], sys.argv = path, argv
        sys.setrecursionlimit(limit)
        os.environ.clear()
        os.environ.update(environ)


def print_warning(*warned: Any) -> None:
    sys.stderr.write(warnings.formatwarning(*warned[:4]))


def told(error: BaseException) -> str:
    text = re.sub(r" \(<\w+>, line \d+\)$", "", str(error))  # of a SyntaxError, whose traceback says it
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def ready(shell: Any, case: Case, capsys: Any) -> None:
    """Makes a notebook as new and runs the cells that come before."""
    shell.reset()
    for source in case.cells:
        shell.here(source)
    capsys.readouterr()


def run_quietly(shell: Any, source: str) -> Any:
    """Runs a cell without drawing its error."""
    shell.ip.showtraceback = lambda *_, **__: None
    try:
        return shell.ip.run_cell(source, store_history=True)
    finally:
        del shell.ip.showtraceback


def here(shell: Any, case: Case, capsys: Any) -> Outcome:
    """Runs the body as IPython does."""
    done = run_quietly(shell, case.body)
    text = capsys.readouterr()
    error = done.error_before_exec or done.error_in_exec
    if error is not None:
        noise = r"(?s)\S*interactiveshell.py:\d+: UserWarning: To exit: .*"
        return Outcome(stdout=text.out, stderr=re.sub(noise, "", text.err), error=told(error))
    shown = text.out if done.result is None else re.sub(r"(?s)(^|\n)Out\[\d+\]: .*", r"\1", text.out)
    outputs = {name: shell.names.get(name) for name in case.outputs}
    return Outcome(done.result, outputs, shown, text.err)


def through_the_harness(shell: Any, case: Case, _: Any) -> Outcome:
    """Runs the body as a worker does, in this process."""
    try:
        result = shell.there(case.body, case.outputs, case.inputs)
    except CellRefused:
        raise
    except Exception as error:
        text = str(error).rsplit("compute_nb:1:", 1)[1]
        facts = json.loads(zlib.decompress(base64.b64decode(text)))
        named = type(facts["type"], (Exception,), {})
        return Outcome(**printed(facts["outputs"]), error=told(named(facts["message"])))
    home = shell.notebook.home
    outputs = {name: result.output(name, home) for name in case.outputs}
    return Outcome(result.value(home), outputs, **printed(result.items))


def printed(items: Any) -> dict[str, str]:
    return {
        name: "".join(item["text"] for item in items if item.get("stream") == name)
        for name in ("stdout", "stderr")
    }


def the_whole_way(shell: Any, case: Case, capsys: Any) -> Outcome:
    """Runs the body by `%%compute local -w`."""
    options = [f"-o {','.join(case.outputs)}"] * bool(case.outputs) + [f"-i {','.join(case.inputs)}"] * bool(
        case.inputs
    )
    done = run_quietly(shell, f"%%compute local -w {' '.join(options)}\n{case.body}")
    text = capsys.readouterr()
    error = done.error_in_exec
    if isinstance(error, CellRefused):
        raise error
    if error is not None:
        assert isinstance(error, TaskExecutionFailed)
        return Outcome(stdout=own(text.out), stderr=own(text.err), error=error.remote_data)
    value = done.result
    out = text.out if value is None else re.sub(r"(?s)(^|\n)Out\[\d+\]: .*", r"\1", text.out)
    outputs = {name: shell.names.get(name) for name in case.outputs}
    return Outcome(value, outputs, own(out), own(text.err))


def own(text: str) -> str:
    """Returns what a cell printed without what we say of it."""
    return "".join(line for line in text.splitlines(True) if not line.startswith("`"))


def check(
    shell: Any, case: Case, capsys: Any, run: Callable[[Any, Case, Any], Outcome]
) -> tuple[str, str, str]:
    """Runs a case on both sides; returns both in words, and the verdict."""
    ready(shell, case, capsys)
    if case.refused:
        with pytest.raises(CellRefused, match=case.refused) as caught:
            run(shell, case, capsys)
        return "-", str(caught.value), "refused, with the mend"
    with put_back():
        there = run(shell, case, capsys)
    if case.there:
        assert case.there in there.told()
        return "-", there.told(), "as said"
    ready(shell, case, capsys)
    with put_back():
        local = here(shell, case, capsys)
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
def test_here_and_there_are_the_same(shell, capsys, rows, case):
    rows.append((case, *check(shell, case, capsys, through_the_harness)))


@pytest.fixture(scope="module")
def _own_service() -> Iterator[None]:
    with own_home():
        yield


@pytest.mark.usefixtures("_own_service")
@pytest.mark.parametrize("case", WHOLE_WAY, ids=lambda case: f"{case.topic}: {case.name}")
def test_the_whole_way_too(shell, capsys, case):
    if "ComputeMagics" not in shell.ip.magics_manager.registry:
        shell.ip.run_line_magic("load_ext", "compute_nb")
    check(shell, case, capsys, the_whole_way)
