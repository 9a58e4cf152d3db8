"""Programs made at random give the same here and there: value, outputs, printed text, error.

The suite runs a few hundred, always the same; `CELL_PROGRAMS=5000` in the environment runs so many new ones.
"""

from __future__ import annotations

import os
import re
import textwrap

from cell_table import Case, here, plain, ready, same, through_the_harness
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from compute_nb.notebook.refusal import CellRefused

MANY = int(os.environ.get("CELL_PROGRAMS", "0"))
SETUP = """
import math as m
n, k, text, flag, xs, d = 3, 0, 'abc', False, [1, 2, 3], {'a': 1, 'b': [2]}
shared = [xs, d]
class Base:
    kind = 'base'
    def __init__(self, v=1): self.v = v
    def __eq__(self, o): return isinstance(o, Base) and self.v == o.v
    def __hash__(self): return 1
    def __repr__(self): return f'{type(self).__name__}({self.v})'
    def up(self, by=1):
        self.v += by
        return self.v
obj = Base(n)
v1, v2 = 'before', ['w']
class C1(Base): pass
def f1(*a): return len(a)
def plus(a, b=k, *rest):
    return a + n + len(rest)
def swap(f):
    def inner(*args):
        return f(*args[::-1])
    return inner
"""
GIVEN = ("n", "k", "text", "flag", "xs", "d", "shared", "obj", "plus", "swap", "Base", "m")
MADE = ("v1", "v2", "v3", "f1", "f2", "C1", "n", "xs", "k")
OUTPUTS = ("v1", "v2", "n", "xs", "obj")

PATTERNS = [
    "",
    "({a} + {b})",
    "({a} * 2)",
    "({a} == {b})",
    "({a} if {b} else {c})",
    "({a} and {b})",
    "({a} or {b})",
    "(not {a})",
    "[{a}, {b}]",
    "({a}, *[{b}])",
    "{{'x': {a}, {t!r}: {b}}}",
    "[{q} for {q} in {a}]",
    "[{a} for {q} in xs if {b}]",
    "{{{q}: {a} for {q} in range(2)}}",
    "sum({q} for {q} in xs)",
    "(lambda {q}: {a})(1)",
    "(lambda {q}={a}: {q})()",
    "({t} := {a})",
    "plus({a}, {b})",
    "swap(plus)({a}, 1)",
    "Base({a})",
    "obj.up()",
    "{a}[0]",
    "f'{{{a}}}|{{{b}!r}}'",
    "{t}({a})",
    "len({a})",
    "str({a})",
    "isinstance({a}, Base)",
    "type({a}).__name__",
    "[[{a} for {q} in range(2)] for {q} in range(2)]",
    "m.floor(2.5)",
    "{a}.v",
    "list(map(plus, xs))",
    "{a} is {b}",
    "",
][1:-1]
REFUSED = ("exists neither here nor in the cell", "line [0-9]+: ")

names = st.sampled_from([*GIVEN, *MADE, "len", "sum", "str"])
targets = st.sampled_from(MADE)
atoms = st.one_of(
    st.integers(-3, 12).map(str), st.sampled_from(["'s'", "1.5", "None", "True", "[]", "()", "{}"]), names
)


def _expressions(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def made(pattern: str) -> st.SearchStrategy[str]:
        parts = [name for name in ("a", "b", "c") if "{" + name + "}" in pattern]
        fields = dict.fromkeys(parts, inner) | {"t": targets, "q": st.sampled_from(["i", "j", "n", "v1"])}
        return st.fixed_dictionaries(fields).map(lambda found: pattern.format(**found))

    return st.sampled_from(PATTERNS).flatmap(made)


expressions = st.recursive(atoms, _expressions, max_leaves=5)
simple = st.one_of(
    st.tuples(targets, expressions).map("{0[0]} = {0[1]}".format),
    st.tuples(targets, expressions).map("{0[0]} += {0[1]}".format),
    st.tuples(targets, targets, expressions).map("{0[0]}, *{0[1]} = [1, {0[2]}]".format),
    st.tuples(targets, expressions).map("{0[0]}: int = {0[1]}".format),
    expressions.map("print({})".format),
    expressions,
    targets.map("del {}".format),
    expressions.map("xs.append({})".format),
    expressions.map("d['z'] = {}".format),
    expressions.map("obj.w = {}".format),
    st.tuples(targets, st.sampled_from(["math", "json as n", "os.path", "collections as v1"])).map(
        lambda found: f"import {found[1]}"
    ),
    st.sampled_from(["from math import pi as k", "from math import *", "global n", "pass", "assert xs"]),
)
inside = st.one_of(simple, expressions.map("return {}".format), st.sampled_from(["global n", "yield n"]))


def _indented(block: list[str]) -> str:
    return textwrap.indent("\n".join(block), "    ")


def _statements(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    block = st.lists(inner, min_size=1, max_size=3).map(_indented)
    body = st.lists(st.one_of(inner, inside), min_size=1, max_size=3).map(_indented)
    loop = st.lists(st.one_of(inner, st.sampled_from(["break", "continue"])), min_size=1, max_size=3).map(
        _indented
    )
    funcs, classes = st.sampled_from(["f1", "f2", "plus"]), st.sampled_from(["C1", "Base"])
    return st.one_of(
        st.tuples(expressions, block, block).map("if {0[0]}:\n{0[1]}\nelse:\n{0[2]}".format),
        st.tuples(expressions, block).map("if {0[0]}:\n{0[1]}".format),
        st.tuples(targets, loop, block).map("for {0[0]} in range(2):\n{0[1]}\nelse:\n{0[2]}".format),
        st.tuples(targets, expressions, loop).map("for {0[0]} in {0[1]}:\n{0[2]}".format),
        st.tuples(loop).map("while n < 5:\n    n += 1\n{0[0]}".format),
        st.tuples(block, st.sampled_from(["NameError", "Exception", "TypeError as v1"]), block).map(
            "try:\n{0[0]}\nexcept {0[1]}:\n{0[2]}".format
        ),
        st.tuples(block, block).map("try:\n{0[0]}\nfinally:\n{0[1]}".format),
        st.tuples(funcs, st.sampled_from(["", "n", "a, n=xs", "*a, k=None", "v1=n"]), body).map(
            "def {0[0]}({0[1]}):\n{0[2]}".format
        ),
        st.tuples(funcs, body).map("@swap\ndef {0[0]}(*a):\n{0[1]}".format),
        st.tuples(classes, st.sampled_from(["", "(Base)", "(Base, list)", "(Exception)"]), block).map(
            "class {0[0]}{0[1]}:\n{0[2]}".format
        ),
        st.tuples(expressions, targets, block.map(lambda text: textwrap.indent(text, "    "))).map(
            "match {0[0]}:\n    case [{0[1]}, *v3]:\n        pass\n    case Base(v={0[1]}):\n{0[2]}".format
        ),
        st.tuples(targets, block).map(
            "import contextlib\nwith contextlib.nullcontext(n) as {0[0]}:\n{0[1]}".format
        ),
    )  # fmt: skip


statements = st.recursive(simple, _statements, max_leaves=6)
programs = st.tuples(st.lists(statements, min_size=1, max_size=5), expressions).map(
    lambda found: "\n".join([*found[0], found[1]])
)


@settings(
    max_examples=MANY or 80,
    derandomize=not MANY,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(programs)
def test_a_program_does_the_same_here_and_there(shell, program):
    case = Case("programs", "", (SETUP,), program, OUTPUTS)
    ready(shell, case)
    try:
        there = through_the_harness(shell, case)
    except CellRefused as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        event("refused")
        assert re.search("|".join(REFUSED), refused)
        return
    ready(shell, case)
    before = {name: plain(shell.names.get(name)) for name in OUTPUTS}
    local = here(shell, case)
    event(local.error.partition(":")[0] or "a value")
    assert there.error == local.error
    if not there.error:
        assert same(there.value, local.value), (there.value, local.value)
        for name in OUTPUTS:
            if "without binding" in str(there.outputs[name]):  # it was not even read
                assert plain(local.outputs[name]) in (before[name], "None")
            else:
                assert same(there.outputs[name], local.outputs[name]), name
    addresses = re.compile("0x[0-9a-f]+")
    assert addresses.sub("0x", there.stdout).strip() == addresses.sub("0x", local.stdout).strip()
    assert there.stderr == local.stderr
