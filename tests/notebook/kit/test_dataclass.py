"""Dataclasses of the notebook on workers of other Pythons, whose decorator makes them anew, and back."""
# ruff: noqa: E501 - a cell is one text, so that a case is one

import json
import subprocess
from functools import cache

import pytest
from others import python_of

from compute_nb.notebook.cargo.payload import read_envelope

PYTHONS = [minor for minor in (8, 10, 12, 13) if python_of(minor)]

CELLS = (
    """
from dataclasses import *
from typing import ClassVar
import functools
@dataclass
class Cfg:
    'What it is.'
    dt: float = 0.1
    n: int = 10
    tags: list = field(default_factory=lambda: ['a'])
    hidden: int = field(default=3, repr=False, compare=False, metadata={'unit': 's'})
    count: ClassVar[int] = 7
    def area(self): return self.n * self.dt
@dataclass(frozen=True, order=True)
class Point:
    x: int
    y: 'int' = 2
@dataclass(unsafe_hash=True, repr=False)
class Own:
    x: int
    def __eq__(self, other): return True
    def __repr__(self): return 'own'
@dataclass(init=False)
class NoInit:
    x: int = 1
    def __init__(self): self.x = 8
@functools.total_ordering
@dataclass(eq=False)
class Total:
    x: int
    def __eq__(self, other): return self.x == other.x
    def __lt__(self, other): return self.x < other.x
    twice = functools.partialmethod(lambda self, k: self.x * k, 2)
    @property
    def half(self): return self.x / 2
@dataclass
class Node:
    value: int
    next: 'Node' = None
""",
    """
@dataclass
class Child(Cfg):
    k: InitVar[int] = 2
    total: float = field(init=False)
    n: int = 20
    def __post_init__(self, k): self.total = k * self.n
@dataclass(frozen=True)
class Deep(Point):
    pass
@dataclass
class Later:
    lr: float = 0.01
Later.lr = 0.5
Later.extra = lambda self: self.lr + 1
@dataclass
class Defaults:
    a: int = 1
Defaults.__init__.__defaults__ = (9,)
@dataclass
class Replaced:
    a: int = 1
def init(self): self.a = 'mine'
Replaced.__init__ = init
@dataclass
class Registry:
    known: ClassVar[list] = []
@dataclass
class Registered(Registry):
    a: int = 1
Registry.known.append(Registered(5))
cfg, point, child, node = Cfg(0.5, tags=[Point(1)]), Point(1), Child(), Node(1, Node(2))
mixed = [cfg, {'p': point, 'child': child}, node, Later()]
""",
)
BODY = """
results = [
    repr(cfg), cfg == Cfg(0.5, tags=[Point(1)], hidden=9), cfg.area(), Cfg.count, Cfg.__doc__, cfg.hidden, Cfg(3, 4).dt,
    [(f.name, f.type if isinstance(f.type, str) else f.type.__name__, dict(f.metadata)) for f in fields(Cfg)],
    sorted([Point(2), Point(1, 3), point]) == [Point(1), Point(1, 3), Point(2)], len({Point(1), point}),
    hash(Own(1)) == hash(Own(1)), repr(Own(1)), Own(1) == Own(2), NoInit().x, repr(NoInit()),
    Total(2) >= Total(1), Total(2).twice(), Total(3).half, repr(Total(1)), node.next.value, repr(Node(3, node)),
    child.total, Child(k=3).total, [f.name for f in fields(Child)], Child.__mro__[1] is Cfg, repr(Deep(1)), hash(Deep(1)) != 0,
    Later().lr, Later.lr, Later().extra(), Defaults().a, Replaced().a, asdict(point), replace(point, y=7).y,
    repr(Registry.known), Registered().a, isinstance(mixed[1]['p'], Point), 'x' in Point.__dict__, 'n' in Child.__dict__, 'dt' in Child.__dict__,
    Point.__init__.__annotations__['y'], '__match_args__' not in Own.__dict__ or Own.__match_args__,
]
try:
    point.x = 3
except FrozenInstanceError as error:
    results.append(str(error))
@dataclass
class There(Cfg):
    extra: int = 4
    made: list = field(default_factory=list)
"""
SINCE_3_10 = (
    """
from dataclasses import *
@dataclass(slots=True, kw_only=True, frozen=True)
class S:
    a: int
    b: list = field(default_factory=list)
    c: int = 7
@dataclass
class K:
    a: int = 1
    _: KW_ONLY
    b: int
@dataclass(slots=True)
class T:
    x: int = 5
@dataclass(slots=True)
class U(T):
    y: int = 6
s, k, u = S(a=1), K(b=2), U()
""",
)
SLOTS = """
results = [repr(s), s == S(a=1), hasattr(s, '__dict__'), S(a=1, b=[2]).b, repr(k), K.__match_args__, repr(u), u == U(5, 6), hasattr(u, '__dict__')]
v = U()
v.x = 8
for wrong in (lambda: S(1), lambda: K(1, 2), lambda: setattr(s, 'a', 3), lambda: setattr(v, 'z', 1)):
    try:
        wrong()
    except Exception as error:
        results.append(type(error).__name__)
results.append(v)
"""


@cache
def program(python: str, source: str, point: str) -> str:
    text = f"{source}\nimport json\nprint(json.dumps(compute_cell(0, json.loads({point!r}))))\n"
    done = subprocess.run([python, "-I", "-"], input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[:3000]
    return done.stdout


def elsewhere(shell, minor, body, **swept):
    """Runs a cell in another Python; all that crosses the border is text."""
    source, point, _ = shell.source(body, **swept)
    answer = json.loads(program(python_of(minor), source, json.dumps(point)))
    return read_envelope(answer).value(shell.notebook.home)


@pytest.mark.parametrize(
    ("minor", "cells", "body"),
    [(minor, CELLS, BODY) for minor in PYTHONS]
    + [(minor, SINCE_3_10, SLOTS) for minor in PYTHONS if minor >= 10],
)
def test_dataclasses_mean_the_same_elsewhere(shell, minor, cells, body):
    for cell in cells:
        shell.here(cell)
    expected = shell.here(body + "results")
    assert elsewhere(shell, minor, body + "results") == expected


@pytest.mark.parametrize("minor", PYTHONS)
def test_dataclasses_come_back(shell, minor):
    for cell in CELLS:
        shell.here(cell)
    mixed, made, swept = elsewhere(
        shell, minor, BODY + "mixed, There(1, made=[point]), one", one=shell.here("[Later(3.0), Child()]")
    )
    names = shell.names
    assert type(mixed[0]) is names["Cfg"]
    assert mixed == names["mixed"]
    assert type(made).__mro__[1] is names["Cfg"]
    assert repr(made).endswith("There(dt=1, n=10, tags=['a'], extra=4, made=[Point(x=1, y=2)])")
    assert type(made)(1, 2).extra == 4
    assert swept == shell.here("[Later(3.0), Child()]")


def test_dataclasses_in_this_python_keep_what_they_are(shell):
    for cell in CELLS:
        shell.here(cell)
    expected = shell.here(BODY + "results")
    assert shell.there(BODY + "results").value(shell.notebook.home) == expected
