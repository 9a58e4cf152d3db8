"""Ours reads what the published package writes, and it reads what ours writes, for every strategy."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serialize import samples

from compute_nb import serialize
from compute_nb.endpoint.runner import buffers
from compute_nb.errors import SerializationError
from compute_nb.serialize import ComputeSerializer, SerializationStrategy
from compute_nb.serialize.strategy import known, path_for_peers

HERE = Path(__file__).parent
FIXTURE = json.loads((HERE / "vectors.json").read_text())
SAME_PYTHON = FIXTURE["made_by"]["python"] == "{}.{}".format(*sys.version_info)
# The bytecode in a pickle is for one Python; the other vectors are for any.
VECTORS = [v for v in FIXTURE["vectors"] if SAME_PYTHON or v["strategy"] != "DillCode"]
OURS = [s for s in known() if s.is_ours]
NAMES = [type(s).__name__ for s in OURS]
READERS = [ComputeSerializer().deserialize, buffers.load]
FUNCTIONS = [(name, function) for name, asked in samples.CODE.items() for function in asked]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=20,
)
PLAIN = st.recursive(
    JSON | st.binary() | st.complex_numbers(allow_nan=False) | st.integers(-(2**200), 2**200),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.integers() | st.binary(), inner)
    ),
    max_leaves=20,
)


@pytest.fixture
def space(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "samples.py", raising=False)
    return samples.define()


def named(name: str) -> SerializationStrategy:
    return getattr(serialize, name)()


def title(vector: dict) -> str:
    return f"{vector['strategy']}-{vector.get('function') or vector['value'][:20]}"


def answers(function, question):
    return json.loads(json.dumps(eval(question, {"f": function})))


def test_every_published_strategy_is_here():
    assert {v["strategy"] for v in FIXTURE["vectors"]} == set(NAMES)
    assert set(NAMES) <= set(serialize.__all__)
    ids = ["00", "11", "13", "01", "02", "03", "04", "10", "12", "st", "sd"]
    assert sorted(s.identifier for s in OURS) == sorted(f"{one}\n" for one in ids)


@pytest.mark.parametrize("read", READERS, ids=["client", "worker"])
@pytest.mark.parametrize("vector", VECTORS, ids=title)
def test_published_vectors_are_read(vector, read):
    back = read(vector["buffer"])
    if "value" in vector:
        assert back == eval(vector["value"])
    else:
        assert answers(back, vector["question"]) == vector["answer"]


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS if v["strategy"] not in ("DillCode", "PickleCode")], ids=title
)
def test_ours_writes_the_bytes_of_the_vectors(vector, space):
    ours = named(vector["strategy"])
    if "value" in vector:
        assert ours.serialize(eval(vector["value"])) == vector["buffer"]
    elif vector["strategy"] in ("CombinedCode", "AllCodeStrategies"):
        # The dill part names the dill that wrote it.
        parts = [
            list(ours._split(b[3:])) for b in (ours.serialize(space[vector["function"]]), vector["buffer"])
        ]
        assert [p[:3] for p in parts[0]] == [p[:3] for p in parts[1]]
        assert [p for p in parts[0] if p[:3] != "01\n"] == [p for p in parts[1] if p[:3] != "01\n"]
    else:
        assert ours.serialize(space[vector["function"]]) == vector["buffer"]


@pytest.mark.parametrize(("name", "function"), FUNCTIONS)
def test_published_reads_our_functions(name, function, space, published):
    question = samples.CODE[name][function]
    buffer = named(name).serialize(space[function])
    assert published.ask(buffer=buffer, question=question) == answers(space[function], question)


@pytest.mark.parametrize("name", samples.DATA)
def test_published_reads_our_values_and_ours_what_it_makes_of_them(name, published):
    for value in samples.DATA[name]:
        again = published.ask(buffer=named(name).serialize(value), again=[path_for_peers(name_path(name))])
        assert ComputeSerializer().deserialize(again) == value


def name_path(name: str) -> str:
    return f"compute_nb.serialize.{name}"


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_json_goes_there_and_back(published, data):
    for name in ("JSONData", "AllDataStrategies"):
        path = f"globus_compute_sdk.serialize.{name}"
        again = published.ask(buffer=named(name).serialize(data), again=[path])
        assert ComputeSerializer().deserialize(again) == buffers.load(again) == data


@settings(max_examples=100, deadline=None)
@given(PLAIN)
def test_values_go_there_and_back(published, data):
    buffer = named("DillDataBase64").serialize(data)
    again = published.ask(buffer=buffer, again=["globus_compute_sdk.serialize.DillDataBase64"])
    assert ComputeSerializer().deserialize(again) == buffers.load(again) == data
    assert again == buffer or len(again) == len(buffer)  # shared objects may be noted elsewhere


@pytest.mark.parametrize("strategy", [s for s in OURS if s.selectable], ids=repr)
def test_published_agents_know_the_paths_that_ours_sends(strategy, published):
    value = named("DillCode").serialize(len) if strategy.for_code else named("JSONData").serialize([1])
    if type(strategy).__name__ in ("DillCode", "CombinedCode", "AllCodeStrategies") or not strategy.for_code:
        again = published.ask(buffer=value, again=[strategy.import_path])
        assert again.startswith(strategy.identifier)
    else:  # known, and unfit for a builtin
        with pytest.raises(RuntimeError, match=r"SerializationError"):
            published.ask(buffer=value, again=[strategy.import_path])


def test_a_whole_task_is_run_by_the_published_package(space, published):
    for code, data in [
        ("DillCode", "DillDataBase64"),
        ("CombinedCode", "JSONData"),
        ("AllCodeStrategies",) * 2,
    ]:
        data = "AllDataStrategies" if data == code else data
        ours = ComputeSerializer(named(code), named(data))
        packed = ours.pack_buffers([ours.serialize(space["scaled"])]) + ours.pack_call((2,), {"by": 5})
        assert published.ask(packed=packed) == {"a": 10}


def test_allow_lists_of_the_published_package_let_ours_in(published):
    allowed = ["globus_compute_sdk.*Data", "globus_compute_sdk.serialize.DillCode"]
    assert published.ask(buffer="11\n[1]", again=["globus_compute_sdk.serialize.JSONData"], allowed=allowed)
    with pytest.raises(RuntimeError, match="PureSourceDill disabled"):
        published.ask(buffer="sd\nf:def f(): pass", question="f()", allowed=allowed)


def test_functions_of_main_that_read_globals_work_there(published):
    """dill by itself leaves them behind."""
    code = (
        "import math, sys\n"
        "from compute_nb.serialize import DillCode\n"
        "k = 3\n"
        "def helper(x): return math.floor(x) * k\n"
        "def area(x): return helper(x) + 1\n"
        "sys.stdout.write(DillCode().serialize(area))\n"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert published.ask(buffer=made.stdout, question="f(2.5)") == 7


def test_the_vectors_are_those_of_the_published_package_here(published_python):
    script = [published_python, str(HERE / "published.py"), "--vectors"]
    made = subprocess.run(script, capture_output=True, text=True, check=True)
    there = json.loads(made.stdout)
    if there["made_by"]["python"] != FIXTURE["made_by"]["python"]:
        there["vectors"] = [v for v in there["vectors"] if "01\n" not in v["buffer"]]
    known_here = {title(v): v for v in FIXTURE["vectors"]}
    assert all(known_here[title(v)] == v for v in there["vectors"])


# -- where ours does better


def test_source_parts_of_combined_code_are_read_in_spite_of_colons(space):
    source = samples_source("later")
    for tail in ("", f":st\n:later:{source}"):
        buffer = f"10\n04\n:bm90IGEgcGlja2xl\n:sd\n:later:{source}{tail}"
        for read in READERS:
            assert answers(read(buffer), "f(key=1)") == answers(space["later"], "f(key=1)")


def samples_source(name: str) -> str:
    import inspect

    return inspect.getsource(samples.define()[name])


def test_the_published_reader_stops_at_those_colons(published):
    buffer = f"10\n04\n:bm90IGEgcGlja2xl\n:sd\n:later:{samples_source('later')}"
    with pytest.raises(RuntimeError, match="DeserializationError"):
        published.ask(buffer=buffer, question="f(key=1)")


def test_what_source_would_lose_goes_as_a_pickle(space, published):
    for name in ("add5", "quadrupled", "doubled"):
        for strategy in ("PureSourceTextInspect", "PureSourceDill"):
            with pytest.raises(SerializationError):
                named(strategy).serialize(space[name])
        question = samples.BY_PICKLE[name]
        buffer = named("AllCodeStrategies").serialize(space[name])
        assert published.ask(buffer=buffer, question=question) == answers(space[name], question)


def test_text_of_an_indented_function_stays_as_it_is():
    def quoted():
        return """one
  two
        three"""

    for name in ("PureSourceTextInspect", "DillCodeTextInspect"):
        back = ComputeSerializer().deserialize(named(name).serialize(quoted))
        assert back() == quoted()


def test_old_source_in_base64_is_read():
    text = base64.encodebytes(b"same:def same(x):\n    return x\n").decode()
    assert ComputeSerializer().deserialize(f"sd\n{text}")(3) == 3
