"""What an agent's process does at its start, apart from its link."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from uuid import uuid4

import pytest
from filelock import FileLock

from compute_nb.endpoint import machine
from compute_nb.endpoint.agent import Agent, run_agent
from compute_nb.endpoint.config import AgentConfig
from compute_nb.endpoint.interpreter import about_python, lend_dill, worker_environ
from compute_nb.endpoint.settings import Settings


def test_thread_pools_share_the_processors_unless_told_otherwise():
    environ = worker_environ({"MKL_NUM_THREADS": "7", "COMPUTE_NB_TOKEN": "secret"}, 1, uuid4())
    assert environ["OMP_NUM_THREADS"] == str(machine.usable_cpus())
    assert environ["MKL_NUM_THREADS"] == "7"
    assert "COMPUTE_NB_TOKEN" not in environ
    assert worker_environ({}, 10_000, uuid4())["OMP_NUM_THREADS"] == "1"


def test_an_interpreter_is_asked_what_it_is(tmp_path):
    mine = about_python(sys.executable)
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    asked = about_python(str(link))
    assert asked["python"] == mine["python"]
    assert about_python("/nowhere/python") == {}


def test_the_folder_that_is_lent_holds_dill_alone(tmp_path):
    folder = lend_dill(lend_dill(tmp_path / "packages"))
    assert os.listdir(tmp_path / "packages") == ["dill"]
    code = "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]\n"
    code += f"sys.path.append({str(tmp_path / 'packages')!r})\nimport dill\nprint(dill.loads(dill.dumps(5)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"5\n"
    assert folder.name == "packages"


def config(folder, **changes) -> AgentConfig:
    fields = {
        "name": "e",
        "directory": folder,
        "service_url": "http://127.0.0.1:1",
        "token": "cnb_0_0",
    }
    return AgentConfig(**{**fields, **changes})


@pytest.fixture
def log_of_its_own() -> Iterator[None]:
    """An agent has the log of its process to itself; here others go on with it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("log_of_its_own")
def test_a_second_agent_in_a_folder_ends(tmp_path, capsys):
    with FileLock(tmp_path / "agent.lock"):
        assert run_agent(config(tmp_path)) == 1
    assert "another agent runs" in capsys.readouterr().err


@pytest.mark.usefixtures("log_of_its_own")
def test_a_folder_that_can_not_be_made_is_told(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run_agent(config(tmp_path / "file" / "e")) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_the_token_is_not_in_the_text_of_a_configuration(tmp_path):
    assert "cnb_0_0" not in repr(config(tmp_path))


@pytest.mark.parametrize("workers", [None, 3])
def test_workers_are_the_usable_processors_unless_given(tmp_path, workers):
    assert Agent(config(tmp_path, settings=Settings(workers=workers)))._workers == (
        workers or machine.usable_cpus()
    )
