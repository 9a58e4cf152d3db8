"""What a compute cell means: groups, `--map`, await, errors, futures as inputs."""

import asyncio
import json
import os
import platform
import re
from concurrent.futures import CancelledError, as_completed, wait

import pytest
from interrupt import interrupted

from compute_nb.errors import TaskExecutionFailed
from compute_nb.future import ComputeFuture
from compute_nb.notebook.refusal import CellRefused
from compute_nb.notebook.view.outcome import StoppedWaiting

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")


# -- 11: a group


def test_11_a_group_is_futures_in_map_order(nb):
    nb.here("%%compute -m k=[3, 1, 2] -n sims\nprint(k)\nk * k")
    sims = nb.names["sims"]
    assert [future.result(60) for future in sims] == [9, 1, 4] == sims.result()
    assert (len(sims), sims[1].result(), sims[-1].result()) == (3, 1, 4)
    assert all(isinstance(one, ComputeFuture) for one in as_completed(sims))
    assert repr(sims) == "<ComputeGroup sims: 3 tasks, 3 done>"
    assert "3 of 3 done" in sims._repr_mimebundle_()["text/html"]


def test_11_result_waits_for_all_and_raises_the_first_error_in_order(nb, gate):
    nb.here("%%compute -m seed=range(4) -n g\nif seed == 3: open(gate).read()\n1 / (seed % 2)")
    group = nb.names["g"]
    with pytest.raises(TimeoutError, match="the others go on"):
        group.result(0.01)
    gate.open()
    with pytest.raises(ZeroDivisionError) as caught:
        group.result(60)
    assert caught.value.__notes__ == [
        "2 of 4 failed: seed=0, seed=2",
        "the other 2 have their values: `g.result(return_exceptions=True)`",
    ]
    assert str(caught.value).endswith(
        "\n ZeroDivisionError: division by zero\n 2 of 4 failed: seed=0, seed=2"
    )
    kinds = [type(one).__name__ for one in group.result(return_exceptions=True)]
    assert kinds == ["ZeroDivisionError", "float", "ZeroDivisionError", "float"]


def test_11_order_and_parameters_survive_a_reload(nb):
    nb.here("%%compute -m k=[5, 0, 7] -n g\n35 / k")
    nb.here("%compute wait g")
    nb.here(f"%compute reload {nb.names['g'].task_group_id} -n again")
    for group in (nb.names["g"], nb.names["again"]):
        assert group.points == [{"k": 5}, {"k": 0}, {"k": 7}]
        frame = group.to_frame()
        assert frame["k"].tolist() == [5, 0, 7]
        assert frame["value"].tolist()[::2] == [7, 5]
        assert frame["state"].tolist() == ["done", "failed", "done"]
        assert frame[["submitted_at", "started_at", "ended_at"]].notna().all(axis=None)


# -- 12: --map


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-m k=[3,1]", [3, 1]),
        ("-m k=range(3)", [0, 1, 2]),
        ("-m k=(i*i for i in range(3))", [0, 1, 4]),
        ("-m k=np.arange(2)", [0, 1]),
        ("-m k=pd.Series([5,6],index=['x','y'])", [5, 6]),
        ("-m k=[row.sum()for(row)in(np.eye(2))]", [1, 1]),
        ("-m k=[calls.append(1),len(calls)]", [None, 1]),
        ("-m k=[]", []),
    ],
)
def test_12_what_a_map_takes(nb, line, expected):
    nb.names.update(np=np, pd=pd, calls=[])
    assert nb.here(f"%%compute {line} -w -n g\nk") == expected
    assert nb.names["g"].done()
    assert nb.names["calls"] in ([], [1])  # evaluated once


def test_12_large_values_go_one_way(nb):
    nb.names["texts"] = ["a" * 12_000_000]
    assert nb.here("%%compute -m text=texts -w\nlen(text)") == [12_000_000]


def test_12_rows_unpacking_and_products(nb):
    nb.names.update(np=np, pd=pd)
    assert nb.here("%%compute -w -m r=np.arange(4).reshape(2,2)\nr.tolist()") == [[0, 1], [2, 3]]
    assert nb.here("%%compute -w -m a,b=[(1,2),(3,4)]\na * b") == [2, 12]
    assert nb.here("%%compute -w -m row=pd.DataFrame({'a':[1,2],'b':['x','y']})\nrow.a, row.b") == [
        (1, "x"),
        (2, "y"),
    ]
    grid = [(a, b, c) for a in (1, 2) for b in (3, 4) for c in (5, 6)]
    assert nb.here("%%compute -w -m a=[1,2] -m b=[3,4] -m c=[5,6]\na, b, c") == grid


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("{'a':1}", "is a dict: write `list(d)`, `d.values()` or `a,b=d.items()`"),
        ("'abc'", "is text: write a list, as in `['a', 'b']`"),
        ("range(100_001)", "gives more than 100,000 tasks"),
        ("iter(int,1)", "gives more than 100,000 tasks"),
    ],
)
def test_12_what_a_map_refuses(nb, given, told):
    with pytest.raises(CellRefused, match=re.escape(told)):
        nb.here(f"%%compute -m k={given}\nk")


# -- 13: await


def test_13_ending_an_await_never_cancels_the_task(nb, gate):
    nb.here("%%compute -n f\nopen(gate).read()\n'end'")
    future = nb.names["f"]

    async def impatient():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.01)
        waiting = asyncio.ensure_future(future)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(impatient())
    assert not future.done()
    gate.open()
    assert nb.here("await f") == "end"


def test_13_wrap_future_cancels_as_asyncio_says_and_a_shield_does_not(nb, gate):
    nb.here("%%compute -n f\nopen(gate).read()\n'end'")
    nb.here("%%compute -n g\nopen(gate).read()\n'end'")

    async def both():
        wrapped = asyncio.wrap_future(nb.names["g"])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(wrapped), 0.01)
        assert not nb.names["g"].done()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(nb.names["f"]), 0.01)

    asyncio.run(both())
    assert nb.names["f"].cancelled()
    nb.names["g"].cancel()
    with pytest.raises(CancelledError):
        nb.here("await g")


@pytest.mark.parametrize("line", ["await f", "await x", "await g", "%compute wait f", "f.result()"])
def test_13_an_interrupt_is_seen_in_time_and_ends_the_waiting_only(nb, gate, line):
    nb.here("%%compute -n f -o x\nx = open(gate).read()\nx")
    nb.here("%%compute -n g -m k=[1]\nopen(gate).read()\nk")
    with pytest.raises((KeyboardInterrupt, StoppedWaiting, asyncio.CancelledError)), interrupted():
        nb.here(line)
    assert not nb.names["f"].done()
    assert not nb.names["g"].done()
    nb.here("%compute cancel --all")


# -- 14: errors

RAISES = """
import json
class Odd(Exception):
    def __init__(self, code, *, why):
        super().__init__(f"{code}: {why}")
        self.code = code
if kind == "odd": raise Odd(3, why="so")
if kind == "os": open("/not/here")
if kind == "json": json.loads("[1,")
if kind == "module": __import__("no_such_module_there")
if kind == "stop": next(iter([]))
if kind == "timeout": raise TimeoutError("the task's own")
if kind == "base": raise BaseException("base")
import asyncio
raise asyncio.CancelledError("the task's own")
"""


def raised(nb, kind):
    nb.names["kind"] = kind
    nb.here(f"%%compute -n f{RAISES}")
    return nb.names["f"].exception(60)


def test_14_the_error_is_both_types_with_its_attributes_and_without_their_init(nb):
    nb.here(
        "class Odd(Exception):\n    def __init__(self, code, *, why):\n        raise RuntimeError('init ran')"
    )
    odd = raised(nb, "odd")
    assert isinstance(odd, TaskExecutionFailed)
    assert (odd.args, odd.code) == (("3: so",), 3)
    missing = raised(nb, "os")
    assert isinstance(missing, FileNotFoundError)
    assert isinstance(missing, TaskExecutionFailed)
    assert (missing.errno, missing.filename) == (2, "/not/here")
    wrong = raised(nb, "json")
    assert isinstance(wrong, json.JSONDecodeError)
    assert wrong.pos == 3


@pytest.mark.parametrize("kind", ["stop", "timeout", "base", "cancelled"])
def test_14_what_means_something_else_here_is_not_joined(nb, kind):
    error = raised(nb, kind)
    assert type(error) is TaskExecutionFailed
    assert not isinstance(error, StopIteration | TimeoutError | CancelledError)


def test_14_missing_files_and_modules_name_host_folder_and_python(nb):
    for kind in ("os", "module"):
        text = str(raised(nb, kind))
        assert platform.node() in text
        assert platform.python_version() in text
        assert os.getcwd() in text


def test_14_line_1_is_the_line_under_compute_and_no_other_cell_has_text(nb, capsys):
    nb.here("%%compute -n f\nx = 1\nx / 0")
    cell = f"In[{nb.ip.execution_count - 1}]"
    capsys.readouterr()
    wait([nb.names["f"]], 60)
    nb.here("1;")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")
    told = str(nb.names["f"].exception(0)).splitlines()
    assert [line.strip() for line in told if "line 2" in line] == [f"Cell {cell}, line 2"]


# -- 15: compute cells and futures


def test_15_a_cell_that_reads_what_is_not_here_yet_is_refused(nb, gate):
    nb.here("%%compute -n f -o x\nopen(gate).read()\nx = 1")
    nb.here("%%compute -n sims -m k=[1]\nk")
    for name, told in (
        ("f", r"`f` is a future.*`\w+ = f.result\(\)` first"),
        ("sims", r"`sims` is a group of futures.*`values = sims.result\(\)` first"),
        ("x", r"`x` is being computed by In\[\d+\], 0 of 1 done; .* or `x = x.result\(\)` first"),
    ):
        with pytest.raises(CellRefused, match=told):
            nb.here(f"%%compute\n{name}")
        with pytest.raises(CellRefused):
            nb.here(f"%%compute --shell\necho {{{name}}}")
    nb.here("def helper(): return f.result()\nall_of_them = [f, sims]")
    for cell in ("%%compute\nhelper()", "%%compute\nall_of_them", "%%compute -m one=[f]\none"):
        with pytest.raises(CellRefused, match="result"):
            nb.here(cell)
    gate.open()
