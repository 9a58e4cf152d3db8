"""A function of a notebook counts as another one when what it reads has changed."""

from uuid import uuid4

import pytest

from compute_nb.functions import Functions
from compute_nb.serialize import AllCodeStrategies, ComputeSerializer, DillCode, PureSourceTextInspect

CELL = """
scale = 3
def helper(x): return x * scale
class Shape:
    def area(self): return helper(1)
def direct(x): return helper(x)
def by_class(x): return Shape().area()
def alone(x): return x
"""


def registered(name: str, strategy: object) -> tuple[dict, Functions]:
    cell: dict = {"__name__": "__main__"}
    exec(CELL, cell)
    functions = Functions()
    functions.add(cell[name], uuid4(), ComputeSerializer(strategy))
    assert functions.find(cell[name])
    return cell, functions


@pytest.mark.parametrize("strategy", [DillCode, AllCodeStrategies])
@pytest.mark.parametrize("name", ["helper", "direct", "by_class"])
def test_a_value_that_is_read_through_others_counts(name, strategy):
    cell, functions = registered(name, strategy)
    cell["scale"] = 4
    assert functions.find(cell[name]) is None


def test_what_is_not_read_or_does_not_travel_does_not_count():
    cell, functions = registered("alone", DillCode)
    cell["scale"] = 4
    assert functions.find(cell["alone"])
    cell, functions = registered("direct", PureSourceTextInspect)
    cell["scale"] = 4
    assert functions.find(cell["direct"])
