"""What happens to a notebook's file between two kernels, and what the later one knows then."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from entries import entry
from kernels import Kernel, kernel_at
from own_home import own_home
from papers import LOAD, Paper
from small_server import SmallServer, small_server

from compute_nb.home import Home
from compute_nb.notebook.memory.index import Index
from compute_nb.notebook.memory.outlet import LIVE_MIME, WIDGET_MIME
from compute_nb.notebook.runs.record import KEY, Record

SWEEP = (
    "%%compute local -m s=range(3) -n sweep\n"
    "import os, time\n"
    "while not os.path.exists({gate!r}):\n"
    "    time.sleep(0.02)\n"
    "square = s * s\n"
    "square"
)


@pytest.fixture(scope="module", autouse=True)
def home() -> Iterator[Home]:
    with own_home() as made:
        yield made


class Begun:
    """A notebook whose kernel has submitted a sweep and is gone; its tasks end when the gate is opened."""

    def __init__(self, folder: Path, *, plugin: bool = True) -> None:
        self.path, self.gate = folder / "book.ipynb", folder / "gate"
        self.cell = SWEEP.format(gate=str(self.gate))
        self.paper = Paper(self.path, LOAD, self.cell, plugin=plugin)
        with kernel_at(self.path) as kernel:
            self.paper.run(kernel, 0, 1)
            if plugin:
                kernel.says("record")
            self.paper.save(kernel)

    def read(self) -> Any:
        return json.loads(self.path.read_text(encoding="utf-8"))

    def write(self, notebook: Any) -> None:
        self.path.write_text(json.dumps(notebook), encoding="utf-8")

    def groups(self) -> list[str]:
        return [one.id for one in Index(Home.default()).of(self.path)]


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Begun]:
    made = Begun(tmp_path)
    yield made
    made.gate.touch()


def bound(kernel: Kernel) -> str:
    """Returns which group the name means, "" if it means nothing."""
    return kernel.text("print(sweep.task_group_id if 'sweep' in globals() else '')", None).strip()


def test_cells_copied_split_merged_and_moved(begun: Begun) -> None:
    (group,) = begun.groups()
    notebook = begun.read()
    notebook["cells"].reverse()  # moved
    begun.write(notebook)
    head, tail = begun.cell.rsplit("\n", 1)
    with kernel_at(begun.path) as kernel:
        assert "bound again: sweep" in kernel.text(LOAD)
        assert bound(kernel) == group
        assert "attached to it" in kernel.text(begun.cell, "c1")  # the cell itself
        assert begun.groups() == [group]
        for changed, cell_id in (
            (begun.cell, "c2"),  # copied
            (head, "c1"),  # split: the half that keeps the id
            (f"{begun.cell}\n{tail}", "c1"),  # merged with the cell below
        ):
            assert "attached" not in kernel.text(changed, cell_id)
            assert bound(kernel) == begun.groups()[-1]
    assert len(set(begun.groups())) == 4


def test_a_cell_that_was_deleted_binds_nothing_and_its_run_can_be_reached(begun: Begun) -> None:
    (group,) = begun.groups()
    notebook = begun.read()
    del notebook["cells"][1]
    begun.write(notebook)
    with kernel_at(begun.path) as kernel:
        assert "bound again" not in kernel.text(LOAD)
        assert bound(kernel) == ""
        assert group in kernel.text("%compute tasks")
        begun.gate.touch()
        assert "[0, 1, 4]" in kernel.text(f"%compute reload {group} -n sweep\nsweep.result()")


def test_a_duplicate_of_the_notebook_attaches_to_nothing(begun: Begun, tmp_path: Path) -> None:
    (group,) = begun.groups()
    copy = tmp_path / "copy.ipynb"
    shutil.copy(begun.path, copy)
    with kernel_at(copy) as kernel:
        assert "bound again" not in kernel.text(LOAD)
        assert bound(kernel) == ""
        assert "attached" not in kernel.text(begun.cell, "c1")
        assert bound(kernel) not in ("", group)
    assert begun.groups() == [group]


def test_after_nbstripout_the_name_is_bound_and_no_other_cell_attaches(begun: Begun) -> None:
    (group,) = begun.groups()
    command = [sys.executable, "-m", "nbstripout", str(begun.path)]
    subprocess.run(command, check=True, capture_output=True)
    assert [cell["id"] for cell in begun.read()["cells"]] == ["0", "1"]
    with kernel_at(begun.path) as kernel:
        assert "bound again: sweep" in kernel.text(LOAD, "0")
        assert bound(kernel) == group
        told = kernel.text(begun.cell, "1")
        assert "attached" not in told  # without the cell's own id nothing does
    assert len(begun.groups()) == 2


def outputs(messages: list[Any]) -> list[Any]:
    """Returns the display data of a cell."""
    return [one["content"]["data"] for one in messages if one["msg_type"] == "display_data"]


def test_without_the_plugin_earlier_runs_are_folded_under_the_load_cell(tmp_path: Path) -> None:
    begun = Begun(tmp_path, plugin=False)
    (group,) = begun.groups()
    with kernel_at(begun.path) as kernel:
        line, shelf, view = outputs(kernel.run(LOAD))
        assert "bound again: sweep" in line["text/plain"]
        assert shelf["text/html"].startswith('<details class="cnb-panel cnb-shelf"')
        assert "1 earlier run of this notebook" in shelf["text/html"]
        assert group in shelf["text/html"]
        assert "sweep on local: 0 of 3 done" in shelf["text/plain"]
        assert LIVE_MIME in shelf  # a page with the plugin draws it as nothing
        assert WIDGET_MIME in view
        begun.gate.touch()
        kernel.run("%compute wait")
        while not any("3 of 3 done" in one["data"]["text/plain"] for one in kernel.updates):
            kernel.next()
        (last, *_) = [one["data"] for one in kernel.updates[::-1] if "text/html" in one["data"]]
        assert "cnb-final" not in last["text/html"]  # that would hide parts of widgets beside it
    with kernel_at(begun.path) as kernel:
        _, shelf = outputs(kernel.run(LOAD))
        assert "3 of 3 done" in shelf["text/plain"]


def test_when_a_page_answers_it_shows_the_runs_and_the_fold_is_emptied(begun: Begun) -> None:
    with kernel_at(begun.path) as kernel:
        shown = [one for one in kernel.run(LOAD) if one["msg_type"] == "display_data"]
        ids = [
            one["content"]["transient"]["display_id"] for one in shown if LIVE_MIME in one["content"]["data"]
        ]
        assert len(ids) == 2
        kernel.greet(begun.path)
        while len({one["transient"]["display_id"] for one in kernel.updates}) < len(ids):
            kernel.next()
        last = {one["transient"]["display_id"]: one["data"] for one in kernel.updates}
        assert [last[each] for each in ids] == [{LIVE_MIME: {"id": ""}, "text/plain": ""}] * 2


def test_a_colleagues_notebook_is_read_and_no_service_is_asked(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entries name services of another configuration; one of them listens here, and hears nothing."""
    path = tmp_path / "theirs.ipynb"
    paper = Paper(path, LOAD, "1 + 1")
    heard: list[object] = []
    monkeypatch.setattr(
        SmallServer, "verify_request", lambda _, request, address: bool(heard.append(address))
    )
    with small_server() as server:
        theirs = [
            entry(1, service="lab", service_id=None, endpoint=f"{server.url}/endpoint"),
            entry(2, service=server.url, label="<b>by url</b>"),
            entry(3, service="globus", service_id=None, name="on_globus"),
        ]
        record = Record()
        for one in theirs:
            record = record.adding(one)
        paper.notebook.metadata[KEY] = record.to_json()
        before = sorted(file.name for file in (home.state / "notebooks").glob("*.json"))
        with kernel_at(path) as kernel:
            paper.save(kernel)
            told = kernel.text(LOAD)
            assert "not reachable from here: sims" in told
            assert "run elsewhere: <b>by url</b>" in told
            assert "bound" not in told
            assert "2" in kernel.text("1 + 1", "c1")
            listed = kernel.text("%compute tasks")
            for one in theirs:
                assert one.id in listed
            assert listed.count("run elsewhere") == 3
        assert heard == []
        asked = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        asked.request("GET", "/")
        with pytest.raises(ConnectionError):  # it does listen, and would have noticed
            asked.getresponse()
        asked.close()
        assert len(heard) == 1
        assert sorted(file.name for file in (home.state / "notebooks").glob("*.json")) == before
