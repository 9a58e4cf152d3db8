"""What goes through each strategy and what each refuses, between two processes of ours."""

from __future__ import annotations

import functools
import logging
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compute_nb import serialize
from compute_nb.endpoint.runner import buffers, call, failure
from compute_nb.errors import DeserializationError, SerdeError, SerializationError
from compute_nb.serialize import (
    AllCodeStrategies,
    AllDataStrategies,
    AllowlistWildcard,
    CombinedCode,
    ComputeSerializer,
    DillCode,
    DillCodeSource,
    DillDataBase64,
    JSONData,
    PickleCode,
    PureSourceDill,
    PureSourceTextInspect,
    SerializationStrategy,
)
from compute_nb.serialize.source import flush_left
from compute_nb.serialize.strategy import path_for_peers

SOURCES = [PureSourceTextInspect, PureSourceDill, serialize.DillCodeTextInspect, DillCodeSource]
NUMBERS = st.integers(-(2**62), 2**62) | st.floats(allow_nan=False)
ARRAYS = st.one_of(
    st.lists(st.floats()).map(np.array),
    st.lists(st.integers(-128, 127), min_size=4, max_size=4).map(lambda x: np.array(x, "i1").reshape(2, 2).T),
    st.lists(st.text(max_size=5)).map(lambda x: np.array(x, dtype=object)),
    st.lists(st.tuples(st.integers(0, 9), st.booleans())).map(lambda x: np.array(x, dtype="i4,?")),
)
FRAMES = st.lists(st.tuples(st.integers(-9, 9), st.text(st.characters(codec="utf-8"), max_size=4))).map(
    lambda rows: pd.DataFrame(rows, columns=["n", "ü"])
)


def there_and_back(strategy, data):
    """What client and worker read, and what the client reads of what the worker writes."""
    buffer = strategy.serialize(data)
    again = buffers.dump(buffers.load(buffer), [strategy.import_path])
    return [strategy.deserialize(buffer), buffers.load(buffer), ComputeSerializer().deserialize(again)]


@settings(deadline=None)
@given(ARRAYS)
def test_arrays_travel(array):
    for back in there_and_back(DillDataBase64(), array) + there_and_back(AllDataStrategies(), array):
        np.testing.assert_array_equal(back, array)
        assert back.dtype == array.dtype


@settings(deadline=None, max_examples=30)
@given(FRAMES)
def test_frames_travel(frame):
    for back in there_and_back(DillDataBase64(), {"frame": frame}):
        pd.testing.assert_frame_equal(back["frame"], frame)


@settings(deadline=None)
@given(st.text(st.characters(categories=["Cs", "L", "Cc", "So"])), st.binary(), st.integers())
def test_odd_text_travels_in_every_strategy_for_data(text, raw, number):
    value = {text: [text, number]}
    for strategy in (DillDataBase64(), JSONData(), AllDataStrategies()):
        buffer = strategy.serialize(value)
        assert buffer.isascii()
        assert strategy.deserialize(buffer) == buffers.load(buffer) == value
    assert all(back == (raw, text) for back in there_and_back(DillDataBase64(), (raw, text)))


@settings(deadline=None)
@given(NUMBERS, st.text(st.characters(codec="utf-8")))
def test_closures_travel_as_pickles(number, text):
    def outer(k):
        def inner(x=number):
            return [x, k, text]

        return inner

    for back in there_and_back(DillCode(), outer(3)) + there_and_back(AllCodeStrategies(), outer(3)):
        assert back() == [number, 3, text]


@settings(deadline=None, max_examples=30)
@given(st.from_regex(r"[a-zäöü_][a-z0-9_]{0,8}", fullmatch=True), st.text(), st.integers())
def test_any_source_is_read_as_it_was(name, text, number):
    name = f"f_{name}"
    namespace: dict = {}
    source = f"def {name}(x=0):\n    return [{text!a}, {number}, x]\n"
    back = ComputeSerializer().deserialize(serialize.source.source_buffer(name, source))
    exec(source, namespace)
    assert back(7) == namespace[name](7) == buffers.load(f"sd\n{name}:{source}")(7)


@given(st.sampled_from(["    ", "\t", "  "]), st.lists(st.sampled_from(["x", " x", "    x", ""]), max_size=4))
def test_an_indent_goes_and_text_stays(indent, lines):
    text = "\n".join(lines)
    source = f'{indent}def f():\n{indent} return """{text}"""\n'
    namespace: dict = {}
    exec(flush_left(source), namespace)
    assert namespace["f"]() == text


def plain(x, by=2):
    return x * by


def recursive(n):
    return 1 if n < 2 else n * recursive(n - 1)


def reads_module(x):
    return math.floor(x)


def annotated(x: np.ndarray):
    return x


def defaulted(x=math.pi):
    return x


def wrapping(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


@wrapping
def wrapped(x):
    return x


renamed = wrapping(plain)


def sets_global():
    global late
    late = 5
    return late


class Named:
    def __init__(self, x):
        self.x = x

    def get(self):
        return self.x

    def __call__(self):
        return self.x


@pytest.mark.parametrize("strategy", [*SOURCES, AllCodeStrategies, CombinedCode])
def test_functions_that_need_nothing_go_as_source(strategy):
    buffer = strategy().serialize(plain)
    for back in (strategy().deserialize(buffer), buffers.load(buffer)):
        assert back(4) == 8
        assert back is not plain
    assert strategy().deserialize(strategy().serialize(recursive))(5) == 120
    assert strategy().deserialize(strategy().serialize(sets_global))() == 5
    assert strategy().deserialize(strategy().serialize(Named))(3).get() == 3


@pytest.mark.parametrize("strategy", SOURCES)
@pytest.mark.parametrize(
    ("function", "named"),
    [
        (reads_module, "math"),
        (annotated, "np"),
        (defaulted, "math"),
        (wrapped, "wrap"),
        (renamed, "does not bring"),
        (Named(1).get, "`self`"),
        (Named(1), "no name to be called by"),
        (len, "source of len can't be found"),
        (lambda: 1, "no name to be called by"),
        (functools.partial(plain, 1), "no name to be called by"),
    ],
)
def test_source_that_would_fail_there_is_refused_here(strategy, function, named):
    with pytest.raises(SerializationError) as caught:
        ComputeSerializer(strategy()).serialize(function)
    assert named in str(caught.value)
    assert f"{strategy.__name__} ({strategy.identifier[:2]})" in str(caught.value)
    assert "choose DillCode" in str(caught.value)


def test_a_combination_brings_what_works_of_it():
    parts = ComputeSerializer.unpack_buffers(AllCodeStrategies().serialize(reads_module)[3:])
    assert [part[:2] for part in parts] == ["01"]
    assert AllCodeStrategies().deserialize(AllCodeStrategies().serialize(Named(1).get))() == 1
    assert CombinedCode().deserialize(CombinedCode().serialize(len)) is len
    parts = ComputeSerializer.unpack_buffers(AllDataStrategies().serialize({1})[3:])
    assert [part[:2] for part in parts] == ["00"]
    with pytest.raises(SerializationError, match=r"AllDataStrategies \(13\).*JSONData: .*DillDataBase64: "):
        ComputeSerializer(strategy_data=AllDataStrategies()).serialize(i for i in ())


def test_a_combination_that_nobody_can_read_says_why():
    broken = "12\n" + ComputeSerializer.pack_buffers(["st\nf:1/0", "01\n!", "xx\n"])
    with pytest.raises(DeserializationError, match=r"AllCodeStrategies.*st: .*ZeroDivision.*01: .*xx: "):
        ComputeSerializer().deserialize(broken)
    for text in ("12\n9\nabc", "10\n", "13\n"):
        with pytest.raises(DeserializationError):
            ComputeSerializer().deserialize(text)


@pytest.mark.parametrize(
    "given_", [CombinedCode(), CombinedCode, "globus_compute_sdk.serialize.CombinedCode"]
)
def test_the_guides_example_works(given_):
    def greet(name, greeting="greetings"):
        """Greet someone."""

        return f"{greeting} {name}"

    for code in (given_, DillCodeSource()):
        serializer = ComputeSerializer(strategy_code=code, strategy_data=JSONData())
        fn, args, kwargs = serializer.check_strategies(greet, "world", greeting="hello")
        assert (args, kwargs) == (["world"], {"greeting": "hello"})
        assert fn(*args, **kwargs) == greet("world", greeting="hello") == "hello world"


# -- choosing


def test_pickle_code_is_for_reading():
    assert (
        ComputeSerializer().deserialize("02\ngASVFwAAAAAAAACMCHRleHR3cmFwlIwGZGVkZW50lJOULg==\n")(" x") == "x"
    )
    with pytest.raises(SerializationError, match="only be read"):
        PickleCode().serialize(plain)
    for choose in (
        lambda: ComputeSerializer(strategy_code=PickleCode()),
        lambda: ComputeSerializer(allowed_deserializer_types=[PickleCode, JSONData]),
        lambda: path_for_peers(PickleCode),
    ):
        with pytest.raises(SerdeError, match="can only be read, not chosen"):
            choose()
    wild = ComputeSerializer(allowed_deserializer_types=list(AllowlistWildcard))
    with pytest.raises(DeserializationError, match="PickleCode is not allowed"):
        wild.deserialize("02\nx")


def test_allowing_a_combination_allows_its_parts_inside_it():
    serializer = ComputeSerializer(allowed_deserializer_types=[AllDataStrategies(), "compute_nb.*Code"])
    assert serializer.deserialize(AllDataStrategies().serialize({1})) == {1}
    with pytest.raises(DeserializationError, match="DillDataBase64 is not allowed"):
        serializer.deserialize(DillDataBase64().serialize({1}))


def test_a_mix_of_wildcard_and_single_strategies_of_the_other_kind_is_fine():
    serializer = ComputeSerializer(
        allowed_deserializer_types=[AllowlistWildcard.CODE, "compute_nb.serialize.JSONData"]
    )
    assert serializer.deserialize("11\n1") == 1
    assert serializer.deserialize(DillCode().serialize(len)) is len


@pytest.mark.parametrize("package", ["globus_compute_sdk.serialize.concretes", "compute_nb.serialize"])
def test_workers_are_asked_by_the_published_path(package):
    for name in serialize.__all__:
        kind = getattr(serialize, name)
        if isinstance(kind, type) and "identifier" in vars(kind) and kind.selectable:
            path = f"globus_compute_sdk.serialize.concretes.{name}"
            assert (
                path_for_peers(f"{package}.{name}") == path_for_peers(kind) == path_for_peers(kind()) == path
            )
            assert name in buffers.WRITERS


def test_a_class_of_the_published_package_means_ours():
    theirs = type("JSONData", (), {"__module__": "globus_compute_sdk.serialize.concretes"})
    assert isinstance(ComputeSerializer(strategy_data=theirs).data_serializer, JSONData)
    assert isinstance(ComputeSerializer(strategy_data=theirs()).data_serializer, JSONData)


def test_no_worker_is_asked_for_a_strategy_of_the_user():
    class Own(SerializationStrategy):
        identifier = "ow\n"
        for_code = False

        def serialize(self, data):
            return self.identifier + repr(data)

        def deserialize(self, payload):
            return payload

    with pytest.raises(SerdeError, match="Own is defined here only"):
        path_for_peers(Own())
    with pytest.raises(ValueError, match=r"'00\\n' is taken by .*DillDataBase64"):
        type("Thief", (Own,), {"identifier": "00\n"})
    with pytest.raises(SerdeError, match="no serialization strategy"):
        path_for_peers(np.arange(3))


# -- what is said


@pytest.mark.parametrize(
    ("value", "mend"),
    [
        (
            np.arange(3),
            "ndarray can't be serialized by JSONData .*send its `.tolist..`, or choose DillDataBase64",
        ),
        (pd.DataFrame(), "send its `.to_dict..`"),
        (pd.Timestamp(0), "send its `.isoformat..`"),
        (b"", "choose DillDataBase64, or send those"),
    ],
)
def test_json_says_what_to_send_instead(value, mend):
    with pytest.raises(SerializationError, match=f"argument 0: .*{mend}"):
        ComputeSerializer(strategy_data=JSONData()).pack_call((value,), {})


def test_the_strategy_in_use_can_be_seen(caplog):
    serializer = ComputeSerializer(PureSourceTextInspect, JSONData)
    assert repr(serializer) == "ComputeSerializer(PureSourceTextInspect(), JSONData())"
    with caplog.at_level(logging.DEBUG, "compute_nb.serialize"):
        serializer.serialize(plain)
        DillCode().serialize(lambda x: plain(x))
    assert "plain (function) by PureSourceTextInspect: 47 characters" in caplog.text
    assert "travels by value, with plain" in caplog.text


def test_a_module_that_is_missing_there_is_named_with_the_way_it_was_sent(tmp_path):
    (tmp_path / "far_module.py").write_text("def far(x):\n    return x\npair = [lambda x: far(x)]\n")
    write = (
        "from compute_nb.serialize import ComputeSerializer; import far_module, sys\n"
        "sys.stdout.write(ComputeSerializer().serialize(far_module.pair[0]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", write], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    with pytest.raises(DeserializationError, match=r"DillCode \(01\).*install 'far_module' here.*as source"):
        ComputeSerializer().deserialize(done.stdout)
    with pytest.raises(ModuleNotFoundError) as caught:
        call.load_for_task("the function", done.stdout)
    text = failure.error_text(caught.value)
    assert "(the function was sent by DillCode and can't be read here:" in text
    assert "send it as source" in text


# -- functions of a notebook

SHELL = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.history_manager.enabled = False
def run(cell):
    assert shell.run_cell(cell).success, cell
for cell in json.loads(sys.argv[1]):
    run(cell)
"""
CELLS = [
    "import math\nimport functools\nscale = 3",
    "def helper(x):\n    return math.floor(x) * scale",
    "def area(x):\n    return helper(x) + 1",
    "class Point:\n    def __init__(self, x):\n        self.x = helper(x)",
    "def made(x):\n    return Point(x).x",
    "def fact(n):\n    return 1 if n < 2 else n * fact(n - 1)",
    "twice = lambda f: functools.wraps(f)(lambda x: f(f(x)))\n@twice\ndef four(x):\n    return 2 * x",
    "def alone(x, *, by=2):\n    '''Text: with colons.'''\n    return [x] * by",
    "def reads_file(name):\n    with open(name) as file:\n        return file.read()",
]
WRITE = """
from compute_nb.serialize import *
import sys
def parts(*pairs):
    sys.__stdout__.write(ComputeSerializer.pack_buffers([s.serialize(f) for s, f in pairs]))
"""
READ = """
import sys
from compute_nb.serialize import ComputeSerializer as S
f = [S().deserialize(b) for b in S.unpack_buffers(sys.stdin.read())]
assert "IPython" not in sys.modules
"""


def in_shell(*cells: str) -> str:
    import json

    argv = [sys.executable, "-c", SHELL, json.dumps([*CELLS, WRITE, *cells])]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def there(packed: str, code: str) -> str:
    argv = [sys.executable, "-W", "error", "-c", READ + code]
    return subprocess.run(argv, input=packed, capture_output=True, text=True, check=True).stdout


def test_a_notebooks_functions_work_on_the_other_side_by_the_default():
    names = "area", "made", "fact", "four", "alone", "lambda x: area(x)", "reads_file", "Point"
    packed = in_shell(f"d = DillCode()\nparts({', '.join(f'(d, {name})' for name in names)})")
    code = "print(f[0](2.5), f[1](2.5), f[2](5), f[3](1), f[4]('x'), f[5](2.5), f[6]('/dev/null'), f[7](1).x)"
    assert there(packed, code) == "7 6 120 4 ['x', 'x'] 7  3\n"


def test_a_notebooks_functions_go_as_source_where_that_is_enough():
    strategies = [kind.__name__ for kind in (*SOURCES, AllCodeStrategies, CombinedCode)]
    packed = in_shell(f"parts({', '.join(f'({name}(), alone)' for name in strategies)})")
    assert there(packed, "print([g('x', by=1) for g in f])") == f"{[['x']] * 6}\n"
    packed = in_shell(
        "parts((AllCodeStrategies(), area), (CombinedCode(), made), (AllCodeStrategies(), four))"
    )
    assert there(packed, "print(f[0](2.5), f[1](2.5), f[2](1))") == "7 6 4\n"


def test_the_worker_reads_a_notebooks_functions_too():
    (buffer,) = ComputeSerializer.unpack_buffers(in_shell("parts((DillCode(), area))"))
    assert buffers.load(buffer)(2.5) == 7
