"""Objects are written by the strategies that are wanted, and read by the worker and the client."""

from __future__ import annotations

import pytest

from compute_nb.endpoint.runner import buffers
from compute_nb.endpoint.runner.pickles import Unfit
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.serialize.strategy import known

IDENTITY = "def same(x):\n    return x\n"


def sample():
    return 1


def test_a_value_that_can_not_be_sent_names_its_type_and_what_to_do(shared):
    text = shared.failure("def lock():\n    import threading\n    return (i for i in [])\n").data
    assert "builtins.generator" in text
    assert "Return plain data" in text


def test_result_serializers_are_used_in_order(shared):
    json_first = ["globus_compute_sdk.serialize.concretes.JSONData", "compute_nb.DillDataBase64"]
    numbers = shared.submit(IDENTITY, [1, 2], {3}, result_serializers=json_first)
    shared.results(numbers)
    assert [shared.ended[number].data[:2] for number in numbers] == ["11", "00"]


def test_a_strategy_that_is_unknown_or_unfit_is_told(shared):
    names = ["compute_nb.DillCode", "somewhere.Else"]
    text = shared.failure(IDENTITY, 1, result_serializers=names).data
    assert "compute_nb.DillCode: not for data" in text
    assert "somewhere.Else: this worker knows no such strategy" in text


def test_a_function_comes_back_as_code(shared):
    assert shared.call("def make():\n    return lambda x: x + 1\n")(4) == 5


@pytest.mark.parametrize("name", sorted(buffers.WRITERS))
def test_what_each_strategy_writes_is_read_by_runner_and_client(name):
    for_code, _ = buffers.WRITERS[name]
    value = sample if for_code else {"a": [1, 2.5, None], "b": "ü"}
    buffer = buffers.dump(value, [name])
    readers = [buffers.load]
    if buffer[:3] in {strategy.identifier for strategy in known()}:
        readers.append(ComputeSerializer().deserialize)
    for read in readers:
        back = read(buffer)
        assert callable(back) if for_code else back == value


@pytest.mark.parametrize("packed", ["5\nst", "-3\nst", "2\nst-1\n"])
def test_a_packed_text_with_a_wrong_length_is_refused(packed):
    with pytest.raises(Unfit):
        buffers.unpack(packed)
