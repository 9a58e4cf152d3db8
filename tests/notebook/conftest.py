"""A real IPython shell in this process, and the ways of a cell: through the harness alone, and all of it."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from own_home import own_home
from traitlets.config import Config

from compute_nb.home import Home as HomeFolder
from compute_nb.notebook.body.cell import analyse
from compute_nb.notebook.cargo.capture import Captured, capture, pack_points
from compute_nb.notebook.cargo.namespace import Notebook
from compute_nb.notebook.cargo.payload import FUNCTION_NAME, CellResult, function_source, read_envelope
from compute_nb.notebook.kit.harness import Cell
from compute_nb.notebook.kit.home import Home
from compute_nb.notebook.kit.source import POSTPONED


@dataclass
class Shell:
    """A notebook without front end."""

    ip: Any

    @property
    def names(self) -> dict[str, Any]:
        return self.ip.user_ns

    @property
    def notebook(self) -> Notebook:
        return Notebook(Home(self.ip.user_ns, self._label), self.ip.user_ns_hidden)

    def _label(self, filename: str) -> str:
        found = self.ip.compile.format_code_name(filename)
        return filename if found is None else " ".join(found)

    def reset(self) -> None:
        """Is as new."""
        _forget_names(self.ip)
        self.ip.execution_count = 1

    def here(self, source: str) -> Any:
        """Runs a cell here and returns its value; an error of the cell is raised."""
        done = self.ip.run_cell(source, store_history=True)
        done.raise_error()
        return done.result

    def source(
        self, body: str, outputs: tuple[str, ...] = (), inputs: tuple[str, ...] = (), **swept: Any
    ) -> tuple[str, Any, Captured]:
        """Returns the function that travels, a task's own values as they travel, and what was captured."""
        read = analyse(body, postponed=bool(self.ip.compile.flags & POSTPONED))
        points = pack_points([swept], self.notebook)
        captured = capture(read, self.notebook, inputs=inputs, swept=swept, also=points.met)
        label = f"Cell In[{self.ip.execution_count}]"
        travelling = (captured.imports, captured.values, outputs)
        flags = (read.shows, read.postponed)
        cell = Cell(label, read.source, *flags, *travelling, notes=captured.notes)
        return function_source(cell), points.packed[0], captured

    def there(
        self, body: str, outputs: tuple[str, ...] = (), inputs: tuple[str, ...] = (), **swept: Any
    ) -> CellResult:
        """Runs a cell through the harness; all that crosses the border is text."""
        source, point, _ = self.source(body, outputs, inputs, **swept)
        space: dict[str, Any] = {}
        exec(source, space)
        answer = space[FUNCTION_NAME](0, json.loads(json.dumps(point)))
        return read_envelope(json.loads(json.dumps(answer)))


@pytest.fixture(scope="package")
def ipython() -> Iterator[Any]:
    hook, main = sys.displayhook, sys.modules["__main__"]
    config = Config()
    config.HistoryManager.enabled = False
    InteractiveShell.clear_instance()
    ip = InteractiveShell.instance(config=config)
    sys.modules["__main__"] = main
    yield ip
    ip.restore_sys_module_state()
    InteractiveShell.clear_instance()
    sys.modules["__main__"], sys.displayhook = main, hook


@pytest.fixture
def shell(ipython: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    monkeypatch.setitem(sys.modules, "__main__", ipython.user_module)
    _forget_names(ipython)
    ipython.execution_count = 1
    yield Shell(ipython)
    _forget_names(ipython)


@pytest.fixture(scope="module")
def home() -> Iterator[HomeFolder]:
    """A home folder with a service of its own, that of the module."""
    with own_home() as home:
        yield home


@pytest.fixture
def nb(home: HomeFolder, shell: Shell, tmp_path: Path) -> Shell:
    """A notebook whose cells go the whole way: service, broker, agent and workers; `folder` is a new one."""
    if "ComputeMagics" not in shell.ip.magics_manager.registry:
        shell.ip.run_line_magic("load_ext", "compute_nb")
    shell.names["folder"] = str(tmp_path)
    return shell


def _forget_names(ip: Any) -> None:
    # What `reset` does, without its collections of the whole heap.
    for name in set(ip.user_ns) - set(ip.user_ns_hidden):
        if not (name.startswith("__") and name.endswith("__")):
            del ip.user_ns[name]
    ip.user_ns.pop("__annotations__", None)
    ip.compile.flags &= ~POSTPONED
