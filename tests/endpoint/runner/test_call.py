"""A function is at each call as it was when it was sent."""

from __future__ import annotations

from uuid import uuid4

import pytest

from compute_nb.endpoint.runner import call
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.wire import pack_buffers


def test_no_name_outlives_a_task(shared):
    source = (
        "kept = []\ndef grow():\n    global more\n    kept.append(1)\n    more = 1\n    return len(kept)\n"
    )
    code = pack_buffers([f"st\ngrow:{source}"])
    assert shared.values(shared.submit(code, *[((), {})] * 5)) == [1] * 5


def test_a_pickled_function_has_its_own_state_for_each_task(shared):
    def grow(kept=[]):  # noqa: B006
        kept.append(1)
        return len(kept)

    code = pack_buffers([ComputeSerializer().serialize(grow)])
    assert shared.values(shared.submit(code, *[((), {})] * 4)) == [1] * 4


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("__memo = []\ndef use():\n    __memo.append(1)\n    return len(__memo)\n", 1),
        ("count = 0\ndef use():\n    global count\n    count += 1\n    return count\n", 1),
        ("import os\ndef use():\n    global os\n    os, old = None, os\n    return old.__name__\n", "os"),
        ("def use():\n    global more\n    more = 'more' in globals()\n    return more\n", False),
    ],
)
def test_a_pickled_function_has_its_own_globals_for_each_task(shared, source, value):
    names = {"__name__": "__main__"}
    exec(source, names)
    code = pack_buffers([ComputeSerializer().serialize(names["use"])])
    assert shared.values(shared.submit(code, *[((), {})] * 4)) == [value] * 4


def test_a_pickled_function_is_read_once_if_it_can_hold_nothing():
    names = {"__name__": "__main__"}
    exec("import os\nlimit = 5\ndef use(x=1):\n    return os.sep * limit * x\n", names)
    code = call.code_of(pack_buffers([ComputeSerializer().serialize(names["use"])]))
    assert code.make() is code.make()


@pytest.mark.parametrize(
    "code", ["2\nst", "5\nst\nf:", pack_buffers(["zz\nwhat"]), pack_buffers(["01\nAAAA"])]
)
def test_code_that_can_not_be_read_fails_its_task(shared, code):
    assert shared.results(shared.submit(code, function=uuid4()))[0].error_code == "RemoteExecutionError"
