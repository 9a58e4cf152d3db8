"""Fingerprints: equal content gives equal hashes in any process, other content others, the rest says so."""

import subprocess
import sys
import threading

import pytest

from compute_nb.notebook.runs.fingerprint import Unstable, fingerprint

SECRET = b"s" * 32
VALUES = """
import collections, dataclasses, datetime, decimal, enum, fractions, pathlib, re, types, uuid
import numpy, pandas

def helper(x, *, scale=2):
    return [x * scale for _ in {"a", "b", "c"}]

def outer():
    kept = {"x", "y"}
    return lambda x: x in kept

class Colour(enum.Enum):
    RED = 1

@dataclasses.dataclass
class Point:
    x: int
    tags: set = dataclasses.field(default_factory=set)

circle = [1]
circle.append(circle)
shared = [1, 2]
values = {
    "plain": [None, True, 1, -(10**30), 1.5, float("nan"), 2j, "ä", b"x", bytearray(b"x"), ...],
    "sets": [{"a", "b", "c", "d"}, frozenset({("x", 1), ("y", 2)}), {frozenset("abc"), frozenset("de")}],
    "nested": {"a": [1, {"b": (2, 3)}]},
    "circle": circle,
    "shared": [shared, shared],
    "library": [datetime.date(2026, 1, 1), decimal.Decimal("1.5"), fractions.Fraction(1, 3),
                pathlib.PurePosixPath("a/b"), collections.OrderedDict(a=1), collections.Counter("aab"),
                collections.deque([1, 2], 3), range(3), slice(1, 2),
                re.compile("a+"), types.MappingProxyType({"a": 1}), uuid.UUID(int=3)],
    "code": [helper, outer(), Colour.RED, Colour, Point(1, {"a", "b"}), Point, len, str.upper, [].append],
    "arrays": [numpy.arange(6).reshape(2, 3), numpy.array(["a", None], dtype=object), numpy.float32(1.5),
               numpy.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])],
    "tables": [pandas.DataFrame({"a": [1, 2], "b": ["x", None]}, index=pandas.Index([3, 4], name="i")),
               pandas.Series([1.0, None], name="s"), pandas.Series(["a", "b"], dtype="category"),
               pandas.to_datetime(["2026-01-01"]), pandas.MultiIndex.from_product([[1, 2], ["a", "b"]])],
}
"""
TELL = """
from compute_nb.notebook.runs.fingerprint import fingerprint
for name, value in values.items():
    print(name, fingerprint(b"s" * 32, value))
"""


def told(seed, before=""):
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{VALUES}\n{TELL}"],
        env={"PYTHONHASHSEED": str(seed), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(line.split() for line in done.stdout.splitlines())


def test_the_same_in_every_process():
    first, second = told(1), told(2, before="# other lines\nimport json\n\n")
    assert first == second
    assert len(set(first.values())) == len(first) == 9


def made(source):
    space = {"__name__": "__main__"}
    exec(compile(source, "<cell>", "exec"), space)
    return space["f"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        ("1", 1),
        ("a", b"a"),
        ([1, 2], (1, 2)),
        ([[1], [2]], [[1, 2], []]),
        (["ab", "c"], ["a", "bc"]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1, 2}, frozenset({1, 2})),
        (0.0, -0.0),
        (range(3), [0, 1, 2]),
        (made("def f(x): return x + 1"), made("def f(x): return x + 2")),
        (made("def f(x=1): return x"), made("def f(x=2): return x")),
        (made("class f:\n    a = 1"), made("class f:\n    a = 2")),
        (made("class f:\n    def m(self): return 1"), made("class f:\n    def m(self): return 2")),
    ],
)
def test_other_content_has_another_hash(one, other):
    assert fingerprint(SECRET, one) != fingerprint(SECRET, other)


def test_the_same_function_typed_again_is_the_same():
    source = "def f(x):\n    return {x: [y for y in (1, 2)]}"
    assert fingerprint(SECRET, made(source)) == fingerprint(SECRET, made("\n\n" + source))


def test_tables_by_all_that_a_cell_can_see_of_them():
    pandas = pytest.importorskip("pandas")
    plain = pandas.Series(["a", "b"], dtype="category")
    days = pandas.date_range("2026-01-01", periods=3)
    noted, other = pandas.DataFrame({"a": [1]}), pandas.DataFrame({"a": [1]})
    noted.attrs["unit"], other.attrs["unit"] = "m", "km"
    seen = [
        *(
            plain,
            plain.cat.reorder_categories(["b", "a"]),
            plain.cat.add_categories(["c"]),
            plain.cat.as_ordered(),
        ),
        *(days, pandas.DatetimeIndex(list(days))),
        *(noted, other),
    ]
    assert len({fingerprint(SECRET, one) for one in seen}) == len(seen)
    assert fingerprint(SECRET, plain) == fingerprint(SECRET, pandas.Series(["a", "b"], dtype="category"))


def test_arrays_by_what_they_hold():
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(6.0).reshape(2, 3)
    assert fingerprint(SECRET, array) == fingerprint(SECRET, numpy.asfortranarray(array))
    assert fingerprint(SECRET, array) != fingerprint(SECRET, array.reshape(3, 2))
    assert fingerprint(SECRET, array) != fingerprint(SECRET, array.astype("float32"))


def test_a_secret_of_another_home_gives_another_hash():
    assert fingerprint(SECRET, "x") != fingerprint(b"t" * 32, "x")


@pytest.mark.parametrize(
    "value", [threading.Lock(), (i for i in "ab"), sys.stdout, [{"a": threading.Lock()}]]
)
def test_what_has_no_content_says_so(value):
    with pytest.raises(Unstable):
        fingerprint(SECRET, value)


def test_what_is_too_deep_says_so():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Unstable, match="nested too deeply"):
        fingerprint(SECRET, deep)
