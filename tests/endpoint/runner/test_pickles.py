"""Pickles of the worker and of dill are the same to each other."""

from __future__ import annotations

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
