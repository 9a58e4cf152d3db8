"""Buffers: the published bytes, the way there and back, and errors that say what to do."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_nb.errors import DeserializationError, SerdeError, SerializationError
from compute_nb.serialize import (
    ComputeSerializer,
    DillCode,
    DillDataBase64,
    JSONData,
    PureSourceTextInspect,
    SerializationStrategy,
)

ATOMS = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
PLAIN = st.recursive(
    ATOMS | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def double(x):
    return x * 2


class Shape:
    def __init__(self, side):
        self.side = side


def test_the_published_example_comes_out_byte_for_byte():
    packed = ComputeSerializer().pack_call((1,), {"b": 2})
    assert packed == ("28\n00\ngASVBQAAAAAAAABLAYWULg==\n32\n00\ngASVCgAAAAAAAAB9lIwBYpRLAnMu\n")


def test_json_arguments_arrive_as_a_list():
    packed = ComputeSerializer(strategy_data=JSONData()).pack_call((1, "x"), {})
    assert packed.startswith('11\n11\n[1, "x"]')


@given(st.lists(st.text()))
def test_buffers_survive_packing(buffers):
    serializer = ComputeSerializer()
    assert serializer.unpack_buffers(serializer.pack_buffers(buffers)) == buffers


@given(PLAIN)
def test_builtins_survive_dill_and_have_dills_bytes(data):
    import dill

    buffer = DillDataBase64().serialize(data)
    assert ComputeSerializer().deserialize(buffer) == data
    assert buffer == "00\n" + base64.encodebytes(dill.dumps(data)).decode()


@given(JSON)
def test_json_survives(data):
    serializer = ComputeSerializer(strategy_data=JSONData())
    assert serializer.deserialize(serializer.serialize(data)) == data


@given(PLAIN)
def test_a_whole_task_survives(data):
    function, args, kwargs = ComputeSerializer().check_strategies(double, data, key=data)
    assert (function, args, kwargs) == (double, (data,), {"key": data})


def test_shared_and_circular_lists_keep_their_shape():
    inner = [1]
    inner.append(inner)
    back = ComputeSerializer().deserialize(DillDataBase64().serialize([inner, inner]))
    assert back[0] is back[1]
    assert back[0][1] is back[0]


def test_long_pickles_are_cut_into_lines():
    lines = DillDataBase64().serialize(b"x" * 1000).splitlines()
    assert {len(line) for line in lines[1:-1]} == {76}


def test_instances_of_own_classes_travel():
    assert ComputeSerializer().deserialize(DillDataBase64().serialize(Shape(3))).side == 3


def test_code_and_data_go_their_own_ways():
    serializer = ComputeSerializer(strategy_code=PureSourceTextInspect(), strategy_data=JSONData())
    assert serializer.serialize(double) == "st\ndouble:def double(x):\n    return x * 2\n"
    assert serializer.serialize([1]) == "11\n[1]"
    assert ComputeSerializer().serialize(double).startswith("01\n")


def test_source_travels_without_its_indent():
    def tripled(x):
        return 3 * x

    serializer = ComputeSerializer(strategy_code=PureSourceTextInspect())
    assert serializer.deserialize(serializer.serialize(tripled))(2) == 6


def test_source_in_base64_is_read_too():
    text = "c3QyOmRlZiBzdDIoKToKICAgIHJldHVybiA3Cg=="
    assert ComputeSerializer().deserialize("st\n" + text)() == 7


def test_a_function_without_a_name_is_refused_as_source():
    with pytest.raises(SerializationError, match="write it with `def`"):
        ComputeSerializer(strategy_code=PureSourceTextInspect()).serialize(lambda: 1)


@pytest.mark.parametrize("source", ["f", "f:x = 1", ":def f(): pass"])
def test_source_that_does_not_define_its_name_is_refused(source):
    with pytest.raises(DeserializationError):
        ComputeSerializer().deserialize("st\n" + source)


MAIN = """
import math, sys, threading
from collections import Counter
from compute_nb.serialize import ComputeSerializer
scale = 3
def helper(x): return math.floor(x) * scale
class Point:
    def __init__(self, x): self.x = x
    def up(self): return Point(helper(self.x))
def area(x): return helper(x) + Point(x).up().x + len(Counter("aab"))
def even(n): return n == 0 or odd(n - 1)
def odd(n): return n != 0 and even(n - 1)
def outer(k): return lambda x: helper(x) + k
def factorial():
    def f(n): return 1 if n < 2 else n * f(n - 1)
    return f
class Base:
    def name(self): return "base"
class Child(Base):
    def name(self): return "child of " + super().name()
counter = 0
def count():
    global counter
    counter += 1
    return bump()
def bump(): return counter
data = (i for i in ())
def reads_attribute(x): return x.data
def with_default(x, f=helper): return f(x)
s = ComputeSerializer()
closures = (outer(5), factorial(), lambda: Child().name())
functions = (area, even, *closures, count, reads_attribute, with_default)
sys.stdout.write(s.pack_buffers([s.serialize(f) for f in functions]))
"""
THERE = """
import sys
from compute_nb.serialize import ComputeSerializer
s = ComputeSerializer()
functions = [s.deserialize(b) for b in s.unpack_buffers(sys.stdin.read())]
area, even, add, fact, name, count, reads, default = functions
class Has: data = 7
print(area(2.5), even(10), add(2.5), fact(5), name(), count(), count(), reads(Has), default(2.5))
"""


def test_functions_of_main_bring_what_they_read():
    run = [sys.executable, "-W", "error", "-c"]
    packed = subprocess.run([*run, MAIN], capture_output=True, text=True, check=True).stdout
    there = subprocess.run([*run, THERE], input=packed, capture_output=True, text=True, check=True).stdout
    assert there == "14 True 11 120 child of base 1 2 7 6\n"


def test_a_value_that_cannot_travel_is_named():
    generator = (i for i in ())
    with pytest.raises(SerializationError) as caught:
        ComputeSerializer().pack_call((1, generator), {})
    text = str(caught.value)
    assert text.startswith("argument 1: an object of type generator can't be serialized by DillData")
    assert "make it on the other side" in text
    with pytest.raises(SerializationError, match="argument 'rows'"):
        ComputeSerializer().pack_call((1,), {"rows": generator})


@pytest.mark.parametrize("bound", [threading.Lock(), threading.RLock(), io.StringIO("x")])
def test_what_belongs_to_this_process_is_refused(bound):
    with pytest.raises(SerializationError, match=r"argument 0.*belongs to the process that made it"):
        ComputeSerializer().pack_call((bound,), {})
    with pytest.raises(SerializationError, match="argument 'one'"):
        ComputeSerializer().pack_call((), {"one": bound})


def test_json_says_what_it_cannot_write():
    with pytest.raises(SerializationError, match=r"type set can't be serialized by JSONData \(11\)"):
        ComputeSerializer(strategy_data=JSONData()).serialize({1})


def test_a_function_that_cannot_travel_names_the_globals_at_fault():
    code = (
        "from compute_nb.serialize import ComputeSerializer\n"
        "rows = (i for i in ())\n"
        "def total(): return sum(rows)\n"
        "try: ComputeSerializer().serialize(total)\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("SerializationError total (function) can't be serialized by DillCode")
    assert "it reads rows (generator)" in done.stdout


def test_an_unknown_header_is_refused():
    with pytest.raises(DeserializationError, match=r"Invalid header: 'xx.n'"):
        ComputeSerializer().deserialize("xx\nabc")


def test_a_broken_buffer_names_its_strategy():
    with pytest.raises(DeserializationError, match=r"of DillDataBase64 \(00\) can't be read here"):
        ComputeSerializer().deserialize("00\nbm90IGEgcGlja2xl\n")
    with pytest.raises(DeserializationError, match="JSONData"):
        ComputeSerializer().deserialize("11\n{")


def test_a_missing_module_names_the_mend():
    named = b"cno_such_package_x\nname\n."
    pickled = "00\n" + base64.encodebytes(named).decode()
    with pytest.raises(DeserializationError, match="install 'no_such_package_x' here"):
        ComputeSerializer().deserialize(pickled)


def test_a_task_has_three_buffers():
    with pytest.raises(DeserializationError, match="3 buffers, not 1"):
        ComputeSerializer().unpack_and_deserialize("4\n11\n1")


@pytest.mark.parametrize("packed", ["x\nabc", "9\nabc", "-1\nabc", "3"])
def test_wrong_lengths_are_refused(packed):
    with pytest.raises(DeserializationError):
        ComputeSerializer().unpack_buffers(packed)


# -- choosing and allowing


def test_the_first_strategy_that_works_is_taken():
    serializer = ComputeSerializer()
    both = [JSONData, "globus_compute_sdk.serialize.concretes.DillDataBase64"]
    assert serializer.serialize_from_list([1], both).startswith("11\n")
    assert serializer.serialize_from_list({1}, both).startswith("00\n")
    with pytest.raises(SerializationError, match=r"All strategies failed.*JSONData: TypeError"):
        serializer.serialize_from_list({1}, [JSONData(), DillCode()])
    with pytest.raises(SerdeError, match="no serialization strategy"):
        serializer.serialize_from_list(1, ["os.system"])


def test_strategies_are_checked_for_their_kind():
    with pytest.raises(SerdeError, match="JSONData is not a strategy for code"):
        ComputeSerializer(strategy_code=JSONData())
    with pytest.raises(SerdeError, match="DillCode is not a strategy for data"):
        ComputeSerializer(strategy_data=DillCode())


def test_an_allow_list_keeps_pickles_out():
    serializer = ComputeSerializer(
        strategy_data=JSONData(), allowed_deserializer_types=[JSONData, "compute_nb.*Code"]
    )
    assert serializer.deserialize(serializer.serialize([1])) == [1]
    assert serializer.deserialize(DillCode().serialize(double)) is double
    with pytest.raises(DeserializationError, match=r"DillDataBase64 is not allowed.*only: .*JSONData"):
        serializer.deserialize(DillDataBase64().serialize(1))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "at least one strategy for code and one for data"),
        ([JSONData], "at least one strategy"),
        ([JSONData, "globus_compute_sdk.*Data", DillCode], "mixes a wildcard"),
        (["moon"], "no serialization strategy"),
    ],
)
def test_a_wrong_allow_list_is_refused(given, said):
    with pytest.raises(SerdeError, match=said):
        ComputeSerializer(allowed_deserializer_types=given)


def test_a_strategy_of_the_user_becomes_known():
    class Reversed(SerializationStrategy):
        identifier = "zz\n"
        for_code = False

        def serialize(self, data):
            return self.identifier + data[::-1]

        def deserialize(self, payload):
            return self.chomp(payload)[::-1]

    serializer = ComputeSerializer(strategy_data=Reversed())
    assert serializer.deserialize(serializer.serialize("abc")) == "abc"
    with pytest.raises(DeserializationError, match="reads buffers that start with"):
        Reversed().deserialize("11\n1")


def test_an_identifier_has_three_characters():
    with pytest.raises(ValueError, match="two characters and a newline"):
        type("Bad", (SerializationStrategy,), {"identifier": "z", "for_code": False})


def test_check_strategies_says_which_way_failed():
    with pytest.raises(SerializationError, match="check_strategies failed to serialize"):
        ComputeSerializer(strategy_data=JSONData()).check_strategies(double, threading)
    only_json = ComputeSerializer(allowed_deserializer_types=[JSONData, DillCode])
    with pytest.raises(DeserializationError, match="check_strategies failed to deserialize"):
        only_json.check_strategies(double, 1)


def test_plain_data_needs_no_dill():
    code = (
        "import sys\nfrom compute_nb.serialize import ComputeSerializer as C\n"
        "C().deserialize(C().serialize([1])); assert 'dill' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
