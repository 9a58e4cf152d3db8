"""Pickles of the worker and of dill are the same to each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dill
import pytest

from compute_nb.endpoint.runner import pickles


@pytest.mark.parametrize(
    "value", [1, "ü" * 100, b"\0" * 300, (1, [2], {"a": {3}}), 2.5, None, frozenset({1}), Path("/tmp")]
)
def test_plain_values_are_pickled_as_dill_does(value):
    assert pickles.loads(pickles.dumps(value)) == value
    assert dill.loads(pickles.dumps(value)) == value
    assert pickles.loads(dill.dumps(value)) == value


def test_an_instance_of_a_class_that_was_made_here_travels_by_value():
    class Local:
        x = 5

    Local.__module__, Local.__qualname__ = "__main__", "Local"
    raw = pickles.dumps([Local()])
    assert b"dill" in raw
    assert pickles.loads(raw)[0].x == 5


def test_a_cancel_during_the_import_of_dill_leaves_a_whole_dill():
    code = """
import signal, sys
from compute_nb.endpoint.runner import pickles
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "dill.temp":
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
assert "dill" not in sys.modules
try:
    pickles.dill()
except KeyboardInterrupt:
    print("interrupted")
print(pickles.dill().loads(pickles.dill().dumps(lambda: 7))())
"""
    command = [sys.executable, "-W", "error", "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60).stdout == "interrupted\n7\n"
