"""The folder of an endpoint, with a real process that holds its lock."""

import os
import subprocess
import sys

import pytest
from filelock import FileLock

from compute_nb.endpoint.folder import Farewell, Folder, own_note

HOLD = """
import os, sys
from filelock import FileLock
from pathlib import Path
from compute_nb.endpoint.folder import Folder, own_note
folder = Folder(Path(sys.argv[1]))
with FileLock(folder.lock):
    folder.note(own_note(os.getpid(), 2.5))
    print("here", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_who_runs_is_known_as_long_as_it_runs(folder):
    assert (folder.taken(), folder.last(), folder.process()) == (False, None, None)
    agent = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert agent.stdout.readline() == b"here\n"
    assert folder.taken()
    assert folder.process().pid == agent.pid
    assert not folder.free(0.05)
    agent.communicate()
    assert folder.free(15)
    assert folder.process() is None
    assert folder.last().stop_s == 2.5


def test_a_process_that_got_the_pid_of_an_agent_is_nobody(folder):
    folder.note(own_note(os.getpid(), 0.0).__class__(os.getpid(), 1.0))
    with FileLock(folder.lock):
        assert folder.process() is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": 1}', '{"pid": 1, "mark": 1, "farewell": 7}'])
def test_a_note_that_says_nothing_is_none(folder, text):
    (folder.path / "agent.json").write_text(text)
    assert folder.last() is None
    folder.farewell(Farewell(ended=1))
    assert folder.last() is None


def test_a_farewell_in_words(folder):
    folder.note(own_note(os.getpid(), 0.0))
    folder.farewell(Farewell(ended=1, killed=2, kept=3, unsent=4))
    text = str(folder.last().farewell)
    assert "1 task that ran came to an end; 2 tasks that ran killed" in text
    assert "3 tasks that had not begun: kept until it is back; results of 4 tasks kept" in text
    assert str(Farewell()) == "it had no tasks"
    assert (folder.path / "agent.json").stat().st_mode & 0o077 == 0
