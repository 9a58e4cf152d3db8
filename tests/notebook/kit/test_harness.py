"""The same body here and through the harness gives the same value, outputs and text."""
# ruff: noqa: E501 - a body is one line, so that a case is one line

import ast
import re
import subprocess
import sys
from typing import Any, NamedTuple

import pytest

from compute_nb.notebook.refusal import CellRefused


class Case(NamedTuple):
    name: str
    body: str
    setup: str = ""
    outputs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()


CASES = [
    Case("expression", "1 + 1"),
    Case("nothing to show", "x = 3\nprint(x)", outputs=("x",)),
    Case("semicolon", "x = 3\nx;"),
    Case("semicolon in a string", "'a;'"),
    Case("value None", "print('a')\nNone"),
    Case("input", "a + 1", "a = 41"),
    Case("several outputs", "p = a * 2\nq = [p, a]\np + 1", "a = 4", ("p", "q")),
    Case(
        "nested functions",
        "def outer(n):\n    def inner(k):\n        return k + n\n    return inner(2)\nouter(5)",
    ),
    Case(
        "comprehensions",
        "[i * j for i in range(3) for j in range(i) if j != off], {k: v for k, v in zip('ab', [1, 2])}",
        "off = 1",
    ),
    Case(
        "comprehension in a function",
        "def f(xs):\n    return [x * scale for x in xs]\nscale = 3\nf([1, 2])",
        "scale = 2",
    ),
    Case(
        "class",
        "class P:\n    kind = 'p'\n    def __init__(self, x):\n        self.x = x\n    def twice(self):\n        return self.x * 2\nP(4).twice(), P.kind",
    ),
    Case(
        "class body reads a name",
        "class P:\n    size = width * 2\n    rows = [size]\nP.size, P.rows",
        "width = 3",
    ),
    Case(
        "inheritance and super",
        "class A:\n    def hi(self):\n        return 'A'\nclass B(A):\n    def hi(self):\n        return super().hi() + 'B'\nB().hi()",
    ),
    Case(
        "decorator",
        "def twice(f):\n    def g(x):\n        return f(f(x))\n    return g\n@twice\ndef inc(x):\n    return x + 1\ninc(3)",
    ),
    Case(
        "decorator of the notebook",
        "@twice\ndef inc(x):\n    return x + step\ninc(3)",
        "step = 10\ndef twice(f):\n    def g(x):\n        return f(f(x))\n    return g",
    ),
    Case(
        "decorated helper",
        "inc(3)",
        "import functools\ndef twice(f):\n    @functools.wraps(f)\n    def g(x):\n        return f(f(x))\n    return g\n@twice\ndef inc(x):\n    'Adds.'\n    return x + 1",
    ),
    Case("lambda", "f = lambda x, k=3: x * k + off\nf(2)", "off = 1"),
    Case("helper lambda", "f(2), g(2)", "f, g = (lambda x: x + off), (lambda x: x - off)\noff = 5"),
    Case("global", "def inc():\n    global n\n    n += 1\ninc()\ninc()\nn", "n = 5", ("n",)),
    Case(
        "global binds a new name",
        "def make():\n    global fresh\n    fresh = 7\nmake()\nfresh",
        "",
        ("fresh",),
    ),
    Case(
        "nonlocal",
        "def count():\n    n = 0\n    def up():\n        nonlocal n\n        n += 1\n        return n\n    up()\n    return up()\ncount()",
    ),
    Case("walrus in a comprehension of no rounds", "[last := x for x in []]\nlast", "last = 'old'"),
    Case("submodules of an import", "xml.dom.minidom.Document.__name__", "import xml.dom.minidom"),
    Case(
        "submodules in a helper",
        "f()",
        "import xml.dom.minidom\ndef f():\n    return xml.dom.minidom.Document.__name__",
    ),
    Case(
        "builtins can be patched",
        "from unittest import mock\nwith mock.patch('builtins.oct', return_value=9):\n    r = oct(8)\nr, oct(8)",
    ),
    Case(
        "enum of numbers with its own __new__",
        "C.B + 1, C.B.label, C(7) is C.B, c is C.A, list(C)",
        "from enum import IntEnum\nclass C(IntEnum):\n    def __new__(cls, value, label):\n        made = int.__new__(cls, value)\n        made._value_, made.label = value, label\n        return made\n    A = 3, 'a'\n    B = 7, 'b'\nc = C.A",
    ),
    Case(
        "enum of numbers whose values are not these numbers",
        "C.A + 1, C('a') is C.A, C.B.value, c is C.B",
        "from enum import Enum\nclass C(int, Enum):\n    def __new__(cls, number, label):\n        made = int.__new__(cls, number)\n        made._value_ = label\n        return made\n    A = 3, 'a'\n    B = 7, 'b'\nc = C.B",
    ),
    Case(
        "classes registered with an abstract base",
        "isinstance(3, A), isinstance(b, A), issubclass(str, A)",
        "import abc\nclass A(abc.ABC):\n    pass\nA.register(int)\n@A.register\nclass B:\n    pass\nb = B()",
    ),
    Case(
        "metaclass with keywords and code of its own",
        "A.tag, type(A).made, A().__class__.tag, B.tag, isinstance(B(), A)",
        "class M(type):\n    made = 0\n    def __new__(mcls, name, bases, body, tag):\n        return super().__new__(mcls, name, bases, body)\n    def __init__(cls, name, bases, body, tag):\n        cls.tag = tag\n        type(cls).made += 1\nclass A(metaclass=M, tag=3):\n    pass\nclass B(A, tag=4):\n    pass",
    ),
    Case(
        "abstract metaclass of the notebook",
        "A.tag, issubclass(int, A)",
        "import abc\nclass M(abc.ABCMeta):\n    def __init__(cls, *args):\n        super().__init__(*args)\n        cls.tag = getattr(cls, 'tag', 0) + 1\nclass A(metaclass=M):\n    pass\nA.register(int)",
    ),
    Case(
        "flags with a boundary",
        "(F.A | F.B).value, F(9).value, F._boundary_.name",
        "import enum\nclass F(enum.Flag, boundary=enum.KEEP):\n    A = 1\n    B = 2",
    ),
    Case("del", "tmp = 3\nb = tmp + 1\ndel tmp\nb", "", ("b",)),
    Case("del an input", "del a\n'a' in globals()", "a = 3"),
    Case("star import", "from math import *\nsqrt(16) + floor(pi)"),
    Case("augmented assignment to an input", "total += 5\ntotal", "total = 2", ("total",)),
    Case("augmented assignment to a list", "items += [3]\nitems", "items = [1]", ("items",)),
    Case("read then bound", "b = a\na = 10\na, b", "a = 3", ("a", "b")),
    Case(
        "helper sees the body's rebinding",
        "scale = 5\narea(2)",
        "scale = 1\ndef area(r):\n    return scale * r",
    ),
    Case("conditional binding taken", "if flag:\n    y = 1\ny", "flag, y = True, 2", ("y",)),
    Case("conditional binding not taken", "if flag:\n    y = 1\ny", "flag, y = False, 2"),
    Case("bound in both branches", "if flag:\n    y = 1\nelse:\n    y = 2\ny", "flag = False"),
    Case(
        "try a name",
        "try:\n    missing_name\nexcept NameError:\n    missing_name = 'made'\nmissing_name",
        "",
        ("missing_name",),
    ),
    Case("except as", "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    text = str(e)\ntext"),
    Case(
        "try, else, finally",
        "log = []\ntry:\n    log.append(1)\nexcept ValueError:\n    log.append(2)\nelse:\n    log.append(3)\nfinally:\n    log.append(4)\nlog",
    ),
    Case("walrus", "if (n := len(data)) > 2:\n    print(n)\nn", "data = [1, 2, 3]", ("n",)),
    Case("walrus in a comprehension", "[last := x for x in data]\nlast", "data = [1, 2]", ("last",)),
    Case(
        "match",
        "match point:\n    case (0, y):\n        r = y\n    case {'k': v, **rest}:\n        r = v, rest\n    case str() as s:\n        r = s\n    case _:\n        r = None\nr",
        "point = {'k': 2, 'z': 3}",
    ),
    Case(
        "with",
        "import io\nwith io.StringIO() as f:\n    f.write('abc')\n    got = f.getvalue()\ngot",
        "",
        ("got",),
    ),
    Case(
        "annotations",
        "x: int = 3\ny: 'Nowhere'\ndef f(a: int = 2, *, b: list[int] = ()) -> str:\n    return str(a)\nf(), sorted(f.__annotations__), __annotations__",
    ),
    Case(
        "postponed annotations",
        "from __future__ import annotations\ndef f(a: NoSuchName) -> Other:\n    return a\nf(2), f.__annotations__",
    ),
    Case(
        "async function",
        "import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    return x + off\nasyncio.run(f(1))",
        "off = 2",
    ),
    Case("generator function", "def g(n):\n    for i in range(n):\n        yield i * k\nlist(g(3))", "k = 2"),
    Case("f-strings", "f'{a:>5}|{a!r}|{a + 1 = }|{w:{n}.2f}'", "a, w, n = 'x' and 3, 1.5, 8"),
    Case(
        "dataclass in the body",
        "from dataclasses import dataclass, field\n@dataclass\nclass P:\n    x: int\n    tags: list = field(default_factory=list)\np = P(2)\nrepr(p), p == P(2)",
    ),
    Case(
        "dataclass of the notebook",
        "q = P(3, note='n')\nq, p == P(2), isinstance(p, P), repr(P(5))",
        "from dataclasses import dataclass, field\n@dataclass(order=True)\nclass P:\n    x: int\n    tags: list = field(default_factory=list)\n    note: str = 'none'\np = P(2)",
        ("q",),
    ),
    Case(
        "frozen dataclass",
        "import dataclasses\ndataclasses.replace(p, x=9)",
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass P:\n    x: int = 1\np = P(2)",
    ),
    Case(
        "closure with cells",
        "up(), up(), peek()",
        "def make():\n    n = 10\n    def up():\n        nonlocal n\n        n += 1\n        return n\n    def peek():\n        return n\n    return up, peek\nup, peek = make()\nup()",
    ),
    Case(
        "recursive closure",
        "fact(5)",
        "def make():\n    def fact(n):\n        return 1 if n < 2 else n * fact(n - 1)\n    return fact\nfact = make()",
    ),
    Case("default by value", "f(1)", "k = 4\ndef f(x, add=k):\n    return x + add\nk = 100"),
    Case(
        "default changed later",
        "f(1), g()",
        "def f(x, add=1):\n    return x + add\nf.__defaults__ = (50,)\ndef g(*, k=1):\n    return k\ng.__kwdefaults__ = {'k': 8}",
    ),
    Case("mutable default", "f(), f()", "def f(seen=[]):\n    seen.append(1)\n    return list(seen)\nf()"),
    Case("function attribute", "f.calls, f()", "def f():\n    return f.calls + 1\nf.calls = 3"),
    Case(
        "helper calls helper",
        "top(2)",
        "def low(x):\n    return x * rate\nrate = 4\ndef top(x):\n    return low(x) + 1",
    ),
    Case(
        "mutual recursion",
        "even(10)",
        "def even(n):\n    return n == 0 or odd(n - 1)\ndef odd(n):\n    return n != 0 and even(n - 1)",
    ),
    Case("recursion", "fib(10)", "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)"),
    Case(
        "aliased modules",
        "j.dumps([1]), path.basename('/a/b'), xml.__name__",
        "import json as j\nfrom os import path\nimport xml.dom as xml",
    ),
    Case("helper uses an aliased module", "enc([1])", "import json as j\ndef enc(x):\n    return j.dumps(x)"),
    Case("import in a function", "f()", "def f():\n    import math\n    return math.pi"),
    Case("shared objects", "a.append(1)\nb", "a = []\nb = a", ("a", "b")),
    Case("shared in outputs", "a = [1]\nb = {'a': a}\nb['a'] is a", "", ("a", "b")),
    Case("cyclic list", "ring[0] is ring, len(ring)", "ring = []\nring.append(ring)"),
    Case("numpy", "x = np.arange(6).reshape(2, 3) * k\nx.sum(axis=0)", "import numpy as np\nk = 2.0", ("x",)),
    Case(
        "numpy random state", "rng.integers(0, 100, 3)", "import numpy as np\nrng = np.random.default_rng(5)"
    ),
    Case("exec with -i", "exec('r = hidden + 1')\nr", "hidden = 2", (), ("hidden",)),
    Case("eval with -i", "eval('hidden * 3')", "hidden = 2", (), ("hidden",)),
    Case(
        "instance both ways",
        "d = Cfg(2)\nisinstance(c, Cfg), c.value(), [c, d]",
        "class Cfg:\n    lr = 0.1\n    def __init__(self, a):\n        self.a = a\n    def value(self):\n        return self.a * self.lr\n    def __eq__(self, other):\n        return isinstance(other, Cfg) and self.a == other.a\nc = Cfg(1)\nCfg.lr = 0.5",
        ("d",),
    ),
    Case(
        "class attribute changed",
        "Cfg.lr, Cfg.more",
        "class Cfg:\n    lr = 0.1\nCfg.lr = 0.01\nCfg.more = [1]",
    ),
    Case(
        "class tree",
        "d.describe(), issubclass(D, Base)",
        "import abc\nclass Base(abc.ABC):\n    @abc.abstractmethod\n    def name(self): ...\n    def describe(self):\n        return '<' + self.name() + '>'\nclass D(Base):\n    def name(self):\n        return suffix\nsuffix = 'dd'\nd = D()",
    ),
    Case(
        "abstract stays abstract",
        "try:\n    Base()\nexcept TypeError:\n    r = 'abstract'\nr",
        "import abc\nclass Base(abc.ABC):\n    @abc.abstractmethod\n    def name(self): ...",
    ),
    Case(
        "slots and properties",
        "s.x, s.double, S.make(3).x, S.plus(1)",
        "class S:\n    __slots__ = ('x',)\n    def __init__(self, x):\n        self.x = x\n    @property\n    def double(self):\n        return self.x * 2\n    @classmethod\n    def make(cls, x):\n        return cls(x)\n    @staticmethod\n    def plus(x):\n        return x + add\nadd = 1\ns = S(4)",
    ),
    Case(
        "super in a class of the notebook",
        "B().hi()",
        "class A:\n    def hi(self):\n        return 'A'\nclass B(A):\n    def hi(self):\n        return super().hi() + 'B'",
    ),
    Case(
        "enum",
        "Color.RED, Color(2).name, c is Color.BLUE, [m.name for m in Color], Color.RED.hot()",
        "import enum\nclass Color(enum.Enum):\n    RED = 1\n    BLUE = 2\n    def hot(self):\n        return self is Color.RED\nc = Color.BLUE",
    ),
    Case(
        "namedtuple",
        "p._replace(x=5), P(1, 2), p.sum()",
        "from typing import NamedTuple\nclass P(NamedTuple):\n    x: int\n    y: int = 2\n    def sum(self):\n        return self.x + self.y\np = P(3)",
    ),
    Case(
        "collections.namedtuple",
        "p.x, Q(1, 2)",
        "from collections import namedtuple\nQ = namedtuple('Q', 'x y')\np = Q(3, 4)",
    ),
    Case(
        "subclass hook",
        "sorted(c.__name__ for c in Plugin.known)",
        "class Plugin:\n    known = []\n    def __init_subclass__(cls):\n        Plugin.known.append(cls)\nclass One(Plugin): pass\nclass Two(Plugin): pass",
    ),
    Case(
        "lru_cache",
        "f(3), f(3), f.cache_info().hits",
        "import functools\n@functools.lru_cache(maxsize=5)\ndef f(x):\n    return x * k\nk = 2",
    ),
    Case(
        "cached_property",
        "T().v",
        "import functools\nclass T:\n    @functools.cached_property\n    def v(self):\n        return 5",
    ),
    Case(
        "partial of a helper",
        "g(3)",
        "import functools\ndef f(a, b):\n    return a - b + off\noff = 1\ng = functools.partial(f, 10)",
    ),
    Case(
        "functions in a dict",
        "ops['add'](1, 2), ops['mul'](2, 3)",
        "def mul(a, b):\n    return a * b\nops = {'add': lambda a, b: a + b, 'mul': mul}",
    ),
    Case("returned function", "f = helper\nhelper(3)", "def helper(x):\n    return x + 1", ("f",)),
    Case(
        "bound method as input",
        "m(2)",
        "class A:\n    def __init__(self):\n        self.k = 3\n    def times(self, x):\n        return self.k * x\nm = A().times",
    ),
    Case(
        "generic class",
        "Box(3).get()",
        "from typing import Generic, TypeVar\nT = TypeVar('T')\nclass Box(Generic[T]):\n    def __init__(self, x: T):\n        self.x = x\n    def get(self) -> T:\n        return self.x",
    ),
    Case(
        "exception class of the notebook",
        "try:\n    raise Oops('a', 3)\nexcept Oops as e:\n    r = e.code\nr",
        "class Oops(Exception):\n    def __init__(self, text, code):\n        super().__init__(text)\n        self.code = code",
    ),
    Case(
        "NamedTuple with its own text",
        "p, repr(p), p._replace(x=2), P.__doc__",
        "from typing import NamedTuple\nclass P(NamedTuple):\n    'Docs.'\n    x: int\n    def __repr__(self):\n        return 'P!'\np = P(1)",
    ),
    Case(
        "enum whose members have attributes",
        "Planet.EARTH.mass, Planet.MARS.label, Planet.__doc__",
        "from enum import Enum\nclass Planet(Enum):\n    'Docs.'\n    EARTH = 5, 'e'\n    MARS = 7, 'm'\n    def __init__(self, mass, label):\n        self.mass, self.label = mass, label",
    ),
    Case(
        "enum whose __new__ sets value and attributes",
        "[(c.value, c.label) for c in C], C(2).label",
        "from enum import Enum\nclass C(Enum):\n    def __new__(cls, value, label):\n        made = object.__new__(cls)\n        made._value_, made.label = value, label\n        return made\n    A = 1, 'a'\n    B = 2, 'b'",
    ),
    Case(
        "enum that looks further for a value",
        "C('RED').value",
        "from enum import Enum\nclass C(Enum):\n    A = 'red'\n    @classmethod\n    def _missing_(cls, value):\n        return cls(value.lower())",
    ),
    Case(
        "TypedDict",
        "T(x=1), sorted(T.__annotations__), sorted(T.__required_keys__)",
        "from typing import TypedDict\nclass T(TypedDict, total=False):\n    x: int",
    ),
    Case("NewType", "U(3), repr(U)", "from typing import NewType\nU = NewType('U', int)"),
    Case("the notebook wins over builtins", "max([1, 2])", "def max(xs):\n    return 'mine'"),
    Case("printing", "import sys\nprint('a', end='')\nprint('b')\nsys.stderr.write('err\\n')\nprint('c')"),
    Case("name of main", "__name__"),
    Case(
        "pickle in the body", "import pickle\npickle.loads(pickle.dumps(c)).a", "class C:\n    a = 3\nc = C()"
    ),
    Case(
        "while and break",
        "n = 0\nwhile True:\n    n += 1\n    if n > limit:\n        break\nelse:\n    n = -1\nn",
        "limit = 3",
        ("n",),
    ),
    Case("for and else", "for i in range(3):\n    pass\nelse:\n    done = True\ni, done", "", ("i", "done")),
    Case("unpacking", "first, *rest = data\n(a, b), c = (1, 2), 3\nfirst, rest, a, b, c", "data = [1, 2, 3]"),
    Case(
        "subscript and attribute targets",
        "box['k'] = 2\nobj.v = 3\nbox, obj.v",
        "import types\nbox = {}\nobj = types.SimpleNamespace()",
    ),
    Case("assert passes", "assert limit > 2, 'no'\nlimit", "limit = 3"),
    Case("bytes, sets, complex, big ints", "{b'a': {1, 2}, 'c': 1j, 'n': 10 ** 40}"),
    Case(
        "datetime and decimal",
        "(d.isoformat(), x * 2)",
        "from datetime import date\nfrom decimal import Decimal\nd, x = date(2026, 1, 2), Decimal('1.10')",
    ),
    Case("indented body", "    a = 3\n    a + 1"),
    Case("multi-line string with a percent line", "text = '''\n%time not a magic\n!ls\n'''\ntext"),
    Case("unicode", "größe = 'é' * 3\nprint('→', größe)\ngröße", "", ("größe",)),
]


def same(a: Any, b: Any) -> bool:
    if type(a).__module__ == "numpy":
        return type(a) is type(b) and repr(a) == repr(b)
    if callable(a) and callable(b):
        return getattr(a, "__qualname__", 1) == getattr(b, "__qualname__", 2)
    if isinstance(a, (list, tuple)) and type(a) is type(b):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and (a == b or vars(a) == vars(b))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_here_and_there_are_the_same(shell, capsys, case):
    shell.here(case.setup)
    capsys.readouterr()
    result = shell.there(case.body, case.outputs, case.inputs)
    home = shell.notebook.home
    value, outputs = result.value(home), {name: result.output(name, home) for name in case.outputs}
    text = {
        name: "".join(item["text"] for item in result.items if item.get("stream") == name)
        for name in ("stdout", "stderr")
    }
    local = shell.here(case.body)
    here = capsys.readouterr()
    shown = "" if local is None else re.sub(r"(?s)(^|\n)Out\[\d+\]: .*", r"\1", here.out)
    assert same(value, local)
    assert text["stdout"].strip() == (shown if local is not None else here.out).strip()
    assert text["stderr"] == here.err
    for name in case.outputs:
        assert same(outputs[name], shell.names[name])


def test_submodules_come_back_in_a_fresh_worker(shell):
    shell.here("import xml.dom.minidom")
    source, _, _ = shell.source("xml.dom.minidom.Document.__name__")
    program = source + "\nprint(compute_cell(0, {})['display'][0])"
    done = subprocess.run([sys.executable, "-"], input=program, text=True, capture_output=True, check=True)
    assert "Document" in done.stdout


def test_a_long_cell_is_parsed_once_for_all_its_functions(shell, monkeypatch):
    shell.here("\n".join(f"def f{i}():\n    return {i}" for i in range(30)))
    counted = []
    parse = ast.parse
    monkeypatch.setattr(ast, "parse", lambda text, *a, **k: counted.append(text) or parse(text, *a, **k))
    shell.source("sum([" + ", ".join(f"f{i}()" for i in range(30)) + "])")
    assert len([text for text in counted if "f29" in text and "def f3" in text]) == 1


def test_results_of_cells_are_inputs_too(shell):
    shell.ip.push({"_": 40, "_12": 1}, interactive=False)  # as IPython does
    assert shell.there("_ + _12").value(shell.notebook.home) == 41


def test_a_function_that_reads_the_outputs_is_refused(shell):
    shell.here("def last():\n    return Out[1]")
    with pytest.raises(CellRefused, match=r"`Out`.*stay here"):
        shell.there("last()")


def test_a_large_value_that_is_only_perhaps_read_stays_here(shell):
    shell.here("big, flag = bytes(8_000_000), False")
    _, _, captured = shell.source("if flag:\n    big\n1")
    assert captured.names == ("flag",)
    assert captured.notes == (
        "`big` (8.0 MB) is too large to travel; it stays here, since the cell may do without",
    )
