"""`%compute debug` (semantics 19): stored inputs come back, the body runs here, and `%debug` works."""

import sys
import traceback

import pytest

from compute_nb.notebook.refusal import CellRefused
from compute_nb.notebook.runs.debug import rerun, stored
from compute_nb.routes import Inputs

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def nb(nb):
    sys.last_value = sys.last_traceback = None
    nb.here("class Cfg:\n    rate = 2\ncfg = Cfg()\ndef share(x):\n    return cfg.rate / x")
    return nb


def frames():
    """Returns what `%debug` begins with: the frames of the last error, outermost first."""
    found = []
    trace = sys.last_traceback
    while trace is not None:
        found.append(trace.tb_frame)
        trace = trace.tb_next
    return found


def sweep(nb):
    nb.here("%%compute -m k=[1,0,4] -n g\nbefore = k * 10\nshare(k)")
    nb.names["g"].result(60, return_exceptions=True)


def check_post_mortem(nb, capsys):
    assert isinstance(sys.last_value, ZeroDivisionError)
    outer, inner = frames()
    assert outer.f_code.co_filename.startswith("Cell In[")
    assert outer.f_globals["before"] == 0
    assert outer.f_globals["k"] == 0
    assert inner.f_locals == {"x": 0}
    lines = [frame.line for frame in traceback.extract_tb(sys.last_traceback)]
    assert lines == ["share(k)", "return cfg.rate / x"]
    assert "that was k=0, here; `%debug` looks into it" in capsys.readouterr().out
    assert "before" not in nb.names


def test_the_first_failure_of_a_sweep(nb, capsys):
    sweep(nb)
    main = sys.modules["__main__"]
    nb.here("%compute debug g")
    assert sys.modules["__main__"] is main
    check_post_mortem(nb, capsys)


def test_after_a_reload_the_inputs_come_from_the_service(nb, capsys):
    sweep(nb)
    group_id = nb.names["g"].task_group_id
    nb.here("cfg.rate = 'changed here since'")
    nb.here(f"%compute reload {group_id} -n again\n%compute debug again[1]")
    check_post_mortem(nb, capsys)
    assert nb.here("%compute debug again[2]") == 0.5


def test_what_works_gives_its_value_and_prints_as_it_goes(nb, capsys):
    nb.here("%%compute -n one\nprint('printed')\nshare(4)")
    nb.names["one"].result(60)
    capsys.readouterr()
    assert nb.here("%compute debug one") == 0.5
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["printed", "one: with its inputs it runs here without an error"]


def test_a_seed_draws_here_what_it_drew_there(nb):
    nb.here("%%compute --seed 3 -m k=[1,2] -n g\nimport random\nk, random.random()")
    values = nb.names["g"].result(60)
    assert [nb.here(f"%compute debug g[{place}]") for place in (0, 1)] == values


def test_inputs_as_json(nb):
    nb.here("data = [1, 2]")
    nb.here("%%compute --serializer JSONData -m k=[[3]] -n g\ndata + k")
    assert nb.here("%compute debug g[0]") == [1, 2, 3]


def test_a_whole_sweep_without_a_failure_needs_a_task(nb):
    nb.here("%%compute -m k=[1,2] -n g\nk")
    nb.names["g"].result(60)
    with pytest.raises(CellRefused, match=r"`%compute debug g\[0\]`: name one of its tasks"):
        nb.here("%compute debug g")


def test_a_command_is_told(nb):
    nb.here("%%compute --shell -n s\nexit {cfg.rate} 3")
    nb.names["s"].result(60)
    with pytest.raises(CellRefused, match=r"(?s)a command needs no debugger here.*exit {cfg.rate} 3"):
        nb.here("%compute debug s")


def test_tasks_that_are_no_cells():
    from compute_nb.serialize import ComputeSerializer

    serializer = ComputeSerializer()
    code = serializer.pack_buffers([serializer.serialize(len)])
    with pytest.raises(CellRefused, match="inputs can't be read here"):
        stored(Inputs(code, serializer.pack_call(("abc",), {})))
    plain = serializer.pack_buffers(["st\nf:def f(index, swept): return 1"])
    with pytest.raises(CellRefused, match="no compute cell of this version"):
        rerun(stored(Inputs(plain, serializer.pack_call((0, {}), {}))))
