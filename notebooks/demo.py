"""Runs a notebook headless, in a home of its own, and prints what each cell gave: demo.py NOTEBOOK [--save].

`--save` keeps the outputs in the notebook, for those who read it on a page and for nbval to compare with.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def main(path: Path, *, save: bool) -> int:
    with tempfile.TemporaryDirectory(prefix="compute_nb-demo-") as home:
        os.environ["COMPUTE_NB_HOME"] = home
        try:
            return show(path, save=save)
        finally:
            stop = [sys.executable, "-m", "compute_nb.cli", "service", "stop"]
            subprocess.run(stop, check=False, capture_output=True)


def show(path: Path, *, save: bool) -> int:
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=120,
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=["--log-level=ERROR"],  # else it warns of plain TCP on loopback
    )
    try:
        with client.setup_kernel():
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type == "markdown":
                    print(f"\n{cell.source.splitlines()[0]}")
                    continue
                client.execute_cell(cell, index)
                print_cell(cell)
    except CellExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    if save:
        nbformat.write(without_ids(notebook), path)
    print(f"\n{path.name}: every cell ran.")
    return 0


def without_ids(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Leaves out what is another at each run: times, ids and the panels' data."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            output.get("metadata", {}).pop("compute_nb", None)
            output.get("data", {}).pop("application/vnd.compute-nb.panel+json", None)
    notebook.metadata.pop("language_info", None)
    return notebook


def print_cell(cell: nbformat.NotebookNode) -> None:
    print("\n".join(f"  | {line}" for line in cell.source.splitlines()))
    for output in cell.outputs:
        for line in text_of(output).splitlines():
            print(f"  > {line}")


def text_of(output: nbformat.NotebookNode) -> str:
    if output.output_type == "stream":
        return str(output.text)
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}"
    if "image/png" in output.data:
        return f"[a picture of {len(output.data['image/png']) * 3 // 4:,} bytes]"
    return str(output.data.get("text/plain", ""))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), save="--save" in sys.argv[2:]))
