"""What an endpoint takes, and with which limits."""

from uuid import UUID, uuid4

import pytest

from compute_nb.endpoint.engine import Capabilities, EngineBatch, EngineTask
from compute_nb.endpoint.gate import Gate, Limits
from compute_nb.errors import ComputeError
from compute_nb.tasks import Run, new_id
from compute_nb.wire import pack_buffers

FUNCTION = UUID(int=5)
ALL = Capabilities("all", resource_specification=True)
FEW = Capabilities("few", walltime=False, cancel_running=False, because="it is small")


def batch(**options) -> EngineBatch:
    code, args = pack_buffers(["st\nf:def f(): pass"]), pack_buffers(["11\n[]", "11\n{}"])
    return EngineBatch(uuid4(), FUNCTION, code, options, (EngineTask(1, Run(new_id(), 0), args),))


def test_without_limits_a_batch_is_left_as_it_is():
    for one in (batch(), batch(walltime_s=5, resource_specification={"num_nodes": 1})):
        assert Gate(ALL, Limits()).admit(one) is one


@pytest.mark.parametrize(("asked", "given"), [(None, 10.0), (5.0, 5.0), (50.0, 10.0)])
def test_the_longest_walltime_is_the_endpoints(asked, given):
    options = {} if asked is None else {"walltime_s": asked}
    assert Gate(ALL, Limits(walltime_s=10.0)).admit(batch(**options)).options["walltime_s"] == given


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"walltime_s": 5}, "engine, few, takes no walltime (5 s): it is small"),
        (
            {"resource_specification": {"a": 1}},
            "engine, few, takes no resource_specification ({'a': 1}): it is small",
        ),
    ],
)
def test_what_the_engine_can_not_do_is_refused_by_name(options, said):
    with pytest.raises(ComputeError) as caught:
        Gate(FEW, Limits()).admit(batch(**options))
    assert said in str(caught.value)


def test_functions_that_are_not_allowed():
    assert Gate(ALL, Limits(functions=frozenset({FUNCTION}))).admit(batch())
    with pytest.raises(ComputeError, match=f"function {FUNCTION} is not among the 1 that this endpoint runs"):
        Gate(ALL, Limits(functions=frozenset({uuid4()}))).admit(batch())


def test_serializers_that_are_not_allowed():
    assert Gate(ALL, Limits(serializers=frozenset({"st", "11"}))).admit(batch())
    with pytest.raises(ComputeError, match=r"reads only what was packed by \['11'\].*not by \['st'\]"):
        Gate(ALL, Limits(serializers=frozenset({"11"}))).admit(batch())
