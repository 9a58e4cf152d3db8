"""Tab on the line of the magic, asked as a front end asks: of a real kernel."""

import os
import platform
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from entries import entry
from jupyter_client.manager import start_new_kernel
from own_home import own_home

from compute_nb.home import Home
from compute_nb.local import find_service
from compute_nb.notebook.memory.index import Index
from compute_nb.private import write_private

BODY = "\nimport numpy as np\nwalk = np.arange(steps)\nwalk.sum() + seed"


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with own_home() as home:
        yield home


class Kernel:
    """A kernel with the extension loaded."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def run(self, code: str) -> None:
        done = self.client.execute_interactive(code, allow_stdin=True, timeout=60, output_hook=lambda _: None)
        assert done["content"]["status"] == "ok", done["content"]

    def tab(self, line: str, after: str = "") -> dict[str, str]:
        """Returns what is offered at the end of `line`, each with its type; `after` stands behind it."""
        answer = self.client.complete(line + after, len(line), reply=True, timeout=60)["content"]
        kinds = answer["metadata"].get("_jupyter_types_experimental", [])
        kept = line[: answer["cursor_start"]]
        return {kept + kind["text"]: kind["type"].replace("\u00a0", " ") for kind in kinds}


@pytest.fixture(scope="module")
def kernel(home: Home) -> Iterator[Kernel]:
    manager, client = start_new_kernel(env=dict(os.environ))
    kernel = Kernel(client)
    kernel.run("%load_ext compute_nb\nsteps = 10")
    yield kernel
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_endpoints_are_offered_before_any_service_runs_and_none_is_started(kernel, home):
    python = platform.python_version()
    for line in ("%%compute lo", "%%compute "):
        assert kernel.tab(line, BODY) == {"%%compute local": f"starts when needed, Python {python}"}
    assert find_service(home) is None


def test_options_and_their_values(kernel):
    assert list(kernel.tab("%%compute local --ret", BODY)) == ["%%compute local --retries"]
    offered = kernel.tab("%%compute local -", BODY)
    assert {"%%compute local -n", "%%compute local --dry-run"} <= offered.keys()
    assert "%%compute local --map" in kernel.tab("%%compute local ", BODY)
    assert kernel.tab("%%compute -o wa", BODY) == {"%%compute -o walk": "bound in this cell"}
    assert kernel.tab("%%compute -m ", BODY) == {"%%compute -m seed=": "read in this cell"}
    assert kernel.tab("%%compute -i x,st", BODY) == {"%%compute -i x,steps": "int"}
    assert "%%compute --serializer JSONData" in kernel.tab("%%compute --serializer J", BODY)
    assert "%%compute --retries 3" in kernel.tab("%%compute --retries ", BODY)
    assert "%%compute -w local local" not in kernel.tab("%%compute -w local ", BODY)
    assert "%%compute -w -n f local" in kernel.tab("%%compute -w -n f lo", BODY)


def test_subcommands_and_what_they_take(kernel):
    assert list(kernel.tab("%compute can")) == ["%compute cancel"]
    assert list(kernel.tab("x = 1\n%compute en")) == ["x = 1\n%compute endpoints"]
    assert list(kernel.tab("%compute cancel --")) == ["%compute cancel --all", "%compute cancel --help"]
    assert "%compute use local" in kernel.tab("%compute use ")


def test_lines_that_are_not_ours_are_left_to_others(kernel):
    assert "steps" in kernel.tab("ste")
    assert "x\n%%compute local" not in kernel.tab("x\n%%compute lo")
    assert "%%compute\nsteps" in kernel.tab("%%compute\nste")


def test_names_groups_and_a_live_endpoint(kernel):
    kernel.run("%%compute local -n sims -w\nsteps")
    assert kernel.tab("%compute cancel s") == {"%compute cancel sims": "local, 1 of 1 done"}
    offered = list(kernel.tab("%compute wait "))
    assert offered[0] == "%compute wait sims"
    assert offered[1].startswith("%compute wait In[")
    assert len(offered[2]) == len("%compute wait ") + 36
    until = time.monotonic() + 60
    told = ""
    while "online" not in told and time.monotonic() < until:  # what is kept is 5 s old at most
        told = kernel.tab("%%compute lo", BODY).get("%%compute local", "")
    assert told.startswith("online, Python 3.")


def test_groups_of_earlier_kernels_are_offered_to_a_reload(kernel, home):
    before = entry(1, name="walks", endpoint="local", tasks=40)
    Index(home).note(home.root / "study.ipynb", before)
    offered = kernel.tab("%compute reload ")
    assert offered[f"%compute reload {before.id}"].endswith("40 tasks, study.ipynb")
    assert not any("In[" in line for line in offered)
    assert kernel.tab(f"%compute reload {before.id[:6]}").keys() >= {f"%compute reload {before.id}"}


def test_a_service_that_never_answers_holds_nobody_up(home):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        write_private(home.root / "lab.token", "cnb_0123456789abcdef_" + "0" * 64)
        home.config_file.write_text(
            f'[services.lab]\nurl = "{address}"\ntoken_file = "lab.token"\n'
            '[endpoints.gpu]\nservice = "lab"\nid = "11111111-2222-3333-4444-555555555555"\n'
        )
        manager, client = start_new_kernel(env=dict(os.environ))
        try:
            slow = Kernel(client)
            slow.run("%load_ext compute_nb")
            slow.tab("%%compute ")  # imports
            began = time.monotonic()
            offered = slow.tab("%%compute ")
            assert time.monotonic() - began < 15  # a read may wait for a minute
            assert offered.keys() == {"%%compute local", "%%compute gpu"}
            assert offered["%%compute gpu"] == "not reached"
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
            home.config_file.unlink()
