"""A notebook's file, written as a front end writes it from what a real kernel says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from kernels import Kernel

from compute_nb.notebook.memory.saved import PANEL_MIME
from compute_nb.notebook.runs.record import KEY, Entry, Record

LOAD = "%load_ext compute_nb"
CELL = "c{}"


class Paper:
    """A notebook that is open in a front end.

    Args:
        cells: The sources of its code cells; each gets the id "c" with its number.
        plugin: Whether the front end has the plugin, which keeps the record and writes snapshots.
    """

    def __init__(self, path: Path, *cells: str, plugin: bool = False) -> None:
        self.path, self._plugin = path, plugin
        self.notebook = nbformat.v4.new_notebook()
        self.notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        self.notebook.cells = [
            nbformat.v4.new_code_cell(cell, id=CELL.format(number)) for number, cell in enumerate(cells)
        ]
        self._shown: dict[str, Any] = {}
        self._applied = 0

    def run(self, kernel: Kernel, *numbers: int) -> None:
        """Runs cells, one after the other; their outputs are those that a front end shows."""
        for number in numbers:
            cell = self.notebook.cells[number]
            cell.outputs = []
            for message in kernel.run(cell.source, cell.id):
                self._take(cell, message)
            if self._plugin and not kernel.greeted and any(PANEL_MIME in one for one in _data(cell)):
                kernel.greet(self.path, tuple(cell.id for cell in self.notebook.cells))

    def save(self, kernel: Kernel) -> Path:
        """Writes the file; the kernel has answered a cell since whatever is to be in it."""
        self._update(kernel)
        if self._plugin:
            self._write_what_was_heard(kernel)
        nbformat.write(self.notebook, self.path)
        return self.path

    def settle(self, kernel: Kernel) -> None:
        """Waits until all its panels show their end."""
        while any(not _ended(panel) for panel in self._panels()):
            kernel.next()
            self._update(kernel)
        for panel in self._panels() if self._plugin else ():
            group = panel.entry.id
            kernel.says("snapshots", lambda said, group=group: group in said["ended"])

    def _panels(self) -> list[Any]:
        return [one[PANEL_MIME] for cell in self.notebook.cells for one in _data(cell) if PANEL_MIME in one]

    def _update(self, kernel: Kernel) -> None:
        for update in kernel.updates[self._applied :]:
            output = self._shown.get(update["transient"]["display_id"])
            if output is not None:
                output.data, output.metadata = map(nbformat.from_dict, (update["data"], update["metadata"]))
        self._applied = len(kernel.updates)

    def _take(self, cell: Any, message: Any) -> None:
        content, kind = message["content"], message["msg_type"]
        if kind in ("display_data", "execute_result", "stream", "error"):
            cell.outputs.append(nbformat.v4.output_from_msg(message))
            display_id = (content.get("transient") or {}).get("display_id")
            if display_id:
                self._shown[display_id] = cell.outputs[-1]
        elif kind == "execute_input":
            cell.execution_count = content["execution_count"]

    def _write_what_was_heard(self, kernel: Kernel) -> None:
        record = Record(self.notebook.metadata.get(KEY))
        bundles: dict[str, Any] = {}
        results: dict[str, Any] = {}
        for said in kernel.heard:
            if said["kind"] == "record":
                for entry in filter(None, map(Entry.read, said["entries"])):
                    record = record.adding(entry)
            elif said["kind"] == "forget":
                record = record.without(said["id"])
            bundles.update(said.get("bundles", {}))
            results.update(said.get("results", {}))
        if record.to_json():
            self.notebook.metadata[KEY] = nbformat.from_dict(record.to_json())
        for output in (one for cell in self.notebook.cells for one in cell.outputs if "data" in one):
            panel = output.data.get(PANEL_MIME)
            made = bundles.get(panel.entry.id) if panel else results.get(_kept_for(output))
            if made is not None:
                output.data = nbformat.from_dict(made)


def _kept_for(output: Any) -> str:
    return str(output.metadata.get(KEY, {}).get("results", ""))


def _ended(panel: Any) -> bool:
    ends = ("SUCCEEDED", "FAILED", "CANCELLED", "LOST")
    return sum(panel.counts.get(state, 0) for state in ends) == panel.entry.tasks


def _data(cell: Any) -> list[Any]:
    return [output.get("data", {}) for output in cell.outputs]
