"""A function is at each call as it was when it was sent."""

from __future__ import annotations

from uuid import uuid4

import pytest

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
    "code", ["2\nst", "5\nst\nf:", pack_buffers(["zz\nwhat"]), pack_buffers(["01\nAAAA"])]
)
def test_code_that_can_not_be_read_fails_its_task(shared, code):
    assert shared.results(shared.submit(code, function=uuid4()))[0].error_code == "RemoteExecutionError"
