"""What a body binds and shows, found without running it."""

import pytest

from compute_nb.notebook.body.cell import analyse


def test_binds_and_open_ends():
    body = analyse(
        "import a.b\nfor i, (j, k) in []:\n    pass\nwith x as w: ...\ndef f():\n    global g\n    g = 1"
    )
    assert body.binds == {"a", "i", "j", "k", "w", "f", "g"}
    assert not body.open_ended
    assert analyse("from math import *").open_ended
    assert analyse("exec('x = 1')").open_ended


@pytest.mark.parametrize(
    ("source", "shows"),
    [("1", True), ("1;", False), ("x = 1", False), ("1;  # why", False), ("';'", True), ("f(\n1);", False)],
)
def test_what_is_shown(source, shows):
    assert analyse(source).shows is shows


@pytest.mark.parametrize(
    "source",
    [
        "x" + ".upper()" * 450,
        "+".join(["x"] * 900),
        "if x: 0\n" + "".join(f"elif x == {i}: 1\n" for i in range(300)),
    ],
)
def test_what_python_compiles_is_not_too_deep(source):
    assert analyse(source).reads["x"].certain
