"""What a body reads on its paths, found without running it."""
# ruff: noqa: E501 - a body is one line, so that a case is one line

import pytest

from compute_nb.notebook.body.cell import analyse


def reads(source: str, **options: bool) -> dict[str, str]:
    """Returns name -> "sure", "perhaps" or "guarded"."""
    return {
        name: "sure" if read.certain else "guarded" if read.guarded else "perhaps"
        for name, read in analyse(source, **options).reads.items()
    }


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x + y", {"x": "sure", "y": "sure"}),
        ("x = 1\nx", {}),
        ("x += 1", {"x": "sure"}),
        ("del x", {"x": "sure"}),
        ("if a:\n    b\nelse:\n    c", {"a": "sure", "b": "perhaps", "c": "perhaps"}),
        ("if a:\n    v = 1\nv", {"a": "sure", "v": "perhaps"}),
        ("if a:\n    v = 1\nelse:\n    v = 2\nv", {"a": "sure"}),
        ("if a:\n    v = 1\nelse:\n    raise SystemExit\nv", {"a": "sure", "SystemExit": "perhaps"}),
        ("for i in xs:\n    t = i * k\nt", {"xs": "sure", "k": "sure", "t": "perhaps"}),
        ("while go:\n    step", {"go": "sure", "step": "perhaps"}),
        ("a and b", {"a": "sure", "b": "perhaps"}),
        ("a if b else c", {"b": "sure", "a": "perhaps", "c": "perhaps"}),
        ("try:\n    q\nexcept Exception:\n    q = 1\nq", {"q": "guarded", "Exception": "perhaps"}),
        ("try:\n    q\nexcept ValueError:\n    pass", {"q": "sure", "ValueError": "perhaps"}),
        ("try:\n    v = f()\nfinally:\n    w = 1\nv, w", {"f": "sure"}),
        ("with open('x') as f:\n    f.read()", {"open": "sure"}),
        ("with suppress(KeyError):\n    x = d['a']\nx", {"suppress": "sure", "KeyError": "sure", "d": "guarded", "x": "perhaps"}),
        ("with timer():\n    x = y\nx", {"timer": "sure", "y": "sure", "x": "perhaps"}),
        ("with lock, a.open() as f, redirect_stdout(f):\n    x = y\nx", {"lock": "sure", "a": "sure", "redirect_stdout": "sure", "y": "sure"}),
        ("x: 'T' = 1\ndef f(a: 'list[U]', b: D['V'], c: Literal['W']) -> 'no type': ...", {"T": "guarded", "U": "guarded", "list": "guarded", "D": "sure", "V": "guarded", "Literal": "sure"}),
        ("def f(a=d):\n    return a + g", {"d": "sure", "g": "perhaps"}),
        ("def f():\n    x = 1\n    def g():\n        return x + y\n    return g", {"y": "perhaps"}),
        ("lambda a, b=d: a + b + c", {"d": "sure", "c": "perhaps"}),
        ("class A(B):\n    z = w\n    v = z\n    def m(self):\n        return z", {"B": "sure", "w": "sure", "z": "perhaps"}),
        ("class A:\n    global z\n    z = w\n    y = z\nz, y", {"w": "sure", "y": "sure"}),
        ("[a * b for a in c if a > d]", {"c": "sure", "d": "sure", "b": "sure"}),
        ("[(y, x) for x in xs for y in x]", {"xs": "sure"}),
        ("[last := x for x in xs]\nlast", {"xs": "sure", "last": "perhaps"}),
        ("import os.path\nos.sep", {}),
        ("from a import b as c\nc, b", {"b": "sure"}),
        ("match p:\n    case [x, *rest] if ok:\n        x, rest\n    case {'k': v, **more}:\n        v, more", {"p": "sure", "ok": "perhaps"}),
        ("match p:\n    case A(x=1):\n        r = 1\n    case _:\n        r = 2\nr", {"p": "sure", "A": "perhaps"}),
        ("x: T = 1", {"T": "sure"}),
        ("from __future__ import annotations\nx: T = 1\ndef f(a: U) -> V: ...", {}),
        ("def inc():\n    global n\n    n += 1", {"n": "perhaps"}),
        ("f'{a!r:>{w}}'", {"a": "sure", "w": "sure"}),
        ("@deco\ndef f(): ...", {"deco": "sure"}),
        ("a.b = c\nd[e] = 1", {"c": "sure", "a": "sure", "d": "sure", "e": "sure"}),
    ],
)  # fmt: skip
def test_reads(source, expected):
    assert reads(source) == expected


def test_annotations_of_a_notebook_that_postpones_them():
    assert reads("x: T = 1", postponed=True) == {}
