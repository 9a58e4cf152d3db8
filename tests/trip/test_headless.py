"""One notebook through nbclient, papermill and nbval: read by people, and failing when a task fails."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from own_home import own_home

PANEL = "application/vnd.compute-nb.panel+json"
RECORD = {"version": 1, "task_groups": []}
NUMBERS = """\
%%compute local -w
print("on the worker")
np.arange(3) * 2"""
SWEEP = """\
%%compute --map seed=range(4) -n sims -o walk --seed 1
walk = np.random.default_rng().standard_normal(5).cumsum()
seed, float(walk[-1])"""
PICTURE = """\
%%compute -n picture
import matplotlib.pyplot as plt
plt.plot([1, 2, 3]);"""
READER = "[(k, float(one[-1])) for k, one in enumerate(walk)] == sims.result() and 2 * later.result()"
LATER = "%%compute --no-wait -n later\n20 + 1"
WORKING = ("%load_ext compute_nb\nimport numpy as np", NUMBERS, SWEEP, PICTURE, LATER, READER)
FAILING = (
    "%load_ext compute_nb",
    "%%compute local --map seed=range(3) -n walks\nimport math\nmath.sqrt(1 - seed)",
    "print('never')",
)


@pytest.fixture(scope="module", autouse=True)
def _own_service() -> Iterator[None]:
    pytest.importorskip("matplotlib")
    with own_home():
        yield


def written(path: Path, cells: tuple[str, ...]) -> Path:
    """Writes a notebook of these cells."""
    made = nbformat.v4.new_notebook(metadata={"compute_nb": RECORD})
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(made, path)
    return path


def run(*words: object) -> tuple[int, str]:
    """Runs a program of this environment; returns its exit code and all that it printed."""
    command = [sys.executable, "-m", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    return done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)


def papermill(path: Path) -> tuple[int, str, Any]:
    """Runs a notebook; returns exit code, what was printed and the notebook that came out."""
    out = path.with_suffix(".out.ipynb")
    code, told = run("papermill", path, out, "--no-progress-bar")
    return code, told, nbformat.read(out, as_version=4)


def nbclient(path: Path) -> Any:
    """Runs a notebook in place."""
    made = nbformat.read(path, as_version=4)
    NotebookClient(made, timeout=150).execute()
    return made


def check_outputs(notebook: Any) -> None:
    """Checks what the working notebook shows."""
    first, numbers, sweep, picture, later, reader = [
        cell for cell in notebook.cells if cell.cell_type == "code"
    ]
    assert first.outputs == []
    assert streams(numbers) == {
        "stderr": "In[2]: 1 task submitted to local\nIn[2]: done\n",
        "stdout": "on the worker\nIn[2] on local: 1 of 1 done\n",
    }
    assert streams(sweep) == {
        "stderr": "sims: 4 tasks submitted to local\nsims: done\n",
        "stdout": "sims on local: 4 of 4 done\n",
    }
    assert streams(picture) == {
        "stderr": "picture: 1 task submitted to local\npicture: done\n",
        "stdout": "picture on local: 1 of 1 done\n",
    }
    assert streams(later) == {"stderr": "later: 1 task submitted to local\n"}
    panel_kinds = {PANEL, "text/html", "text/plain"}
    for cell, names in (
        (numbers, [panel_kinds, {"text/plain"}]),
        (sweep, [panel_kinds, {"text/plain"}]),
        (picture, [{"image/png", "text/plain"}, panel_kinds]),
        (later, [panel_kinds]),
        (reader, [{"text/plain"}]),
    ):
        assert [set(out.data) for out in cell.outputs if "data" in out] == names
    for cell in (sweep, later):
        (panel,) = [out for out in cell.outputs if PANEL in out.get("data", {})]
        assert panel.data["text/plain"] == ""
        assert not re.search(r"[0-9a-f]{8}-|\d\d:\d\d|\d s\b", panel.data["text/html"])
        assert panel.metadata["compute_nb"] == panel.data[PANEL]["entry"]
        assert panel.metadata["compute_nb"]["outputs"] == (["walk"] if cell is sweep else [])
    assert numbers.outputs[-1].data["text/plain"] == "array([0, 2, 4])"
    assert reader.outputs[0].data["text/plain"] == "42"
    assert notebook.metadata["compute_nb"] == RECORD


def streams(cell: Any) -> dict[str, str]:
    """Returns the text of each stream of a cell."""
    names = [out.name for out in cell.outputs if "name" in out]
    return {name: "".join(out.text for out in cell.outputs if out.get("name") == name) for name in names}


def check_error(told: str) -> None:
    """Checks that an error names the sweep, the task, its line and the remote error."""
    for text in (
        "ValueError: math domain error",
        "line 2",
        "math.sqrt(1 - seed)",
        "1 of 3 failed: seed=2",
        "walks on local: 2 of 3 done, 1 failed",
    ):
        assert text in told
    assert "compute_nb/" not in told  # no frame of ours


def test_22_nbclient(tmp_path: Path) -> None:
    check_outputs(nbclient(written(tmp_path / "working.ipynb", WORKING)))


def test_22_papermill(tmp_path: Path) -> None:
    code, told, made = papermill(written(tmp_path / "working.ipynb", WORKING))
    assert code == 0, told
    assert "compute_nb" not in told
    check_outputs(made)


def test_22_a_failing_task_fails_nbclient(tmp_path: Path) -> None:
    with pytest.raises(CellExecutionError) as caught:
        nbclient(written(tmp_path / "failing.ipynb", FAILING))
    told = re.sub(r"\x1b\[[0-9;]*m", "", str(caught.value))
    check_error(told)
    assert "seed=2: ValueError: math domain error" in told  # the list, printed before


def test_22_a_failing_task_fails_papermill(tmp_path: Path) -> None:
    code, told, made = papermill(written(tmp_path / "failing.ipynb", FAILING))
    assert code == 1
    assert "PapermillExecutionError" in told
    check_error(told.partition("PapermillExecutionError")[2])
    *_, failed, never = [cell for cell in made.cells if cell.cell_type == "code"]
    (panel,) = [out for out in failed.outputs if PANEL in out.get("data", {})]
    assert panel.metadata["compute_nb"]["name"] == "walks"
    assert streams(failed)["stderr"].splitlines() == [
        "walks: 3 tasks submitted to local",
        "walks: failed",
        "seed=2: ValueError: math domain error",
    ]
    assert never.outputs == []


def test_22_nbval(tmp_path: Path) -> None:
    paths = written(tmp_path / "working.ipynb", WORKING), written(tmp_path / "failing.ipynb", FAILING)
    code, told = run("pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax", *paths)
    assert code == 1
    assert "1 failed, 8 passed" in told  # the cell after it runs, as nbval's do
    assert re.search(r"^FAILED \S*failing.ipynb::Cell 1\b", told, re.MULTILINE)
    assert "Cell In[1], line 2" in told
    check_error(told)
    assert "warning" not in told
