"""Functions of any small program work on the other side: there as a script's, here as a notebook's."""

from __future__ import annotations

import json
import linecache
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compute_nb.endpoint.runner import buffers
from compute_nb.errors import SerializationError
from compute_nb.serialize import (
    AllCodeStrategies,
    CombinedCode,
    ComputeSerializer,
    DillCode,
    DillCodeSource,
    PureSourceDill,
    PureSourceTextInspect,
)

# Each defines `f`; K stands for a value.
SHAPES = {
    "plain": "def f(x):\n    return [x, K]\n",
    "default": "def f(x, y=K, *, z=(K,)):\n    return [x, y, z]\n",
    "lambda": "f = lambda x, y=K: [x, y]\n",
    "global": "k = K\ndef f(x):\n    return [x, k]\n",
    "closure": "def outer(k):\n    def f(x):\n        return [x, k]\n    return f\nf = outer(K)\n",
    "decorated": (
        "import functools\n"
        "def twice(g):\n"
        "    @functools.wraps(g)\n"
        "    def wrapper(x):\n"
        "        return g(x) + g(x)\n"
        "    return wrapper\n"
        "@twice\n"
        "def f(x):\n"
        "    return [x, K]\n"
    ),
    "recursive": "def f(x, n=3):\n    return [x, K] if n == 0 else [n, *f(x, n - 1)]\n",
    "mutual": (
        "def even(n):\n    return n == 0 or odd(n - 1)\n"
        "def odd(n):\n    return n != 0 and even(n - 1)\n"
        "def f(x):\n    return [x, K, even(4), odd(4)]\n"
    ),
    "class": (
        "class Box:\n"
        "    held = K\n"
        "    def __init__(self, x):\n"
        "        self.x = x\n"
        "    def shown(self):\n"
        "        return [self.x, Box.held]\n"
        "class Lid(Box):\n"
        "    def shown(self):\n"
        "        return [*super().shown(), K]\n"
        "def f(x):\n"
        "    return Lid(x).shown()\n"
    ),
    "nested": "def f(x):\n    def g(y):\n        return [x, y]\n    return [g(n) for n in (1, K)]\n",
}
VALUES = st.one_of(
    st.integers(-(2**200), 2**200),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.binary(max_size=20),
    st.lists(st.text(st.characters(codec="utf-8"), max_size=5), max_size=3).map(tuple),
)
PROGRAMS = st.tuples(st.sampled_from(sorted(SHAPES)), VALUES).map(
    lambda drawn: (drawn[0], SHAPES[drawn[0]].replace("K", repr(drawn[1])))
)
# What travels as source only must need nothing around it.
ALONE = {"plain", "nested"}
FILE = "program.py"


def defined(source, monkeypatch):
    """Returns what `f` is in a script of that source."""
    monkeypatch.setattr(sys.modules["__main__"], "__file__", FILE, raising=False)
    linecache.cache[FILE] = len(source), None, source.splitlines(True), FILE
    space = {"__name__": "__main__"}
    exec(compile(source, FILE, "exec"), space)
    return space["f"]


@pytest.mark.parametrize("kind", [DillCode, AllCodeStrategies, CombinedCode])
@settings(max_examples=60, deadline=None)
@given(program=PROGRAMS, x=VALUES)
def test_functions_of_a_script_work_there(published, kind, program, x):
    shape, source = program
    with pytest.MonkeyPatch.context() as patch:
        f = defined(source, patch)
        buffer = kind().serialize(f)
    here = repr(f(x))
    assert repr(buffers.load(buffer)(x)) == repr(ComputeSerializer().deserialize(buffer)(x)) == here
    assert published.ask(buffer=buffer, question=f"repr(f({x!r}))") == here, shape


@pytest.mark.parametrize("kind", [PureSourceTextInspect, PureSourceDill, DillCodeSource])
@settings(max_examples=60, deadline=None)
@given(program=PROGRAMS, x=VALUES)
def test_as_source_they_work_there_or_are_refused_here(published, kind, program, x):
    shape, source = program
    with pytest.MonkeyPatch.context() as patch:
        f = defined(source, patch)
        try:
            buffer = kind().serialize(f)
        except SerializationError:
            assert shape not in ALONE
            return
    here = repr(f(x))
    assert repr(buffers.load(buffer)(x)) == here
    assert published.ask(buffer=buffer, question=f"repr(f({x!r}))") == here, shape


SHELL = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
from compute_nb.serialize import DillCode

shell = InteractiveShell.instance()
shell.history_manager.enabled = False
for source, x in json.loads(sys.argv[1]):
    assert shell.run_cell(source, silent=True).success, source
    f = shell.user_ns["f"]
    print(json.dumps([DillCode().serialize(f), x, repr(f(eval(x)))]), file=sys.__stdout__)
"""


@settings(max_examples=3, deadline=None)
@given(drawn=st.lists(st.tuples(PROGRAMS, VALUES), min_size=10, max_size=20))
def test_functions_of_a_notebook_work_there(published, drawn):
    cells = json.dumps([[source, repr(x)] for (_, source), x in drawn])
    made = subprocess.run([sys.executable, "-c", SHELL, cells], capture_output=True, text=True, check=True)
    lines = made.stdout.splitlines()
    assert len(lines) == len(drawn)
    for buffer, x, here in map(json.loads, lines):
        assert repr(buffers.load(buffer)(eval(x))) == here
        assert published.ask(buffer=buffer, question=f"repr(f({x}))") == here
