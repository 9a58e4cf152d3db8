"""What outlives a task, seen by the system."""

import os
import subprocess

import pytest

from compute_nb.endpoint.runner.leftovers import descendants, has_open, is_written


@pytest.fixture
def writer(tmp_path):
    """A process that has a file open until its input ends."""
    path = tmp_path / "log"
    with path.open("ab") as log:
        process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log)
    yield os.path.realpath(path), process
    process.stdin.close()
    process.wait(20)


def test_a_file_that_somebody_writes_is_known(writer):
    path, process = writer
    assert is_written(path)
    assert has_open(process.pid, path)
    assert any(has_open(pid, path) for pid in descendants(os.getpid()))
    assert process.pid in descendants(os.getpid())
    assert not has_open(process.pid, path + "2")
    process.stdin.close()
    process.wait(20)
    assert not is_written(path)


def test_what_is_not_there_is_not_written(tmp_path):
    assert not is_written(str(tmp_path / "none"))
    process = subprocess.Popen(["true"])
    process.wait(20)
    assert not has_open(process.pid, str(tmp_path))
    assert descendants(process.pid) == []
