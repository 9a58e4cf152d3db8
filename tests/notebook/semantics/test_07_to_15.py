"""What a compute cell means: names, values, the prompt, groups, `--map`, await, errors, futures as inputs."""
# ruff: noqa: E501 - a cell is one line, so that a case is one line

import asyncio
import json
import os
import platform
import re
import signal
import threading
from concurrent.futures import CancelledError, as_completed, wait
from contextlib import contextmanager

import pytest
from own_home import service

from compute_nb.errors import SerializationError, TaskExecutionFailed
from compute_nb.future import ComputeFuture
from compute_nb.local import find_service
from compute_nb.notebook.outcome import StoppedWaiting
from compute_nb.notebook.pending import OutputPending, Pending
from compute_nb.notebook.refusal import CellRefused

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")


# -- 7: when outputs arrive


def test_07_a_marker_stands_for_the_value_and_no_stale_one_is_used(nb, gate):
    nb.here("x = 'old'")
    nb.here("%%compute -o x -n f\nopen(gate).read()\nx = [1]")
    cell = f"In[{nb.ip.execution_count - 1}]"
    marker = nb.names["x"]
    assert repr(marker) == f"<`x` of {cell}, 0 of 1 done>"
    assert marker.previous == "old"
    told = f"`x` is being computed by {cell}, 0 of 1 done; `%compute wait f`, `await` or `-w`"
    for use in ("x + 1", "x[0]", "x.append(2)", "print(f'{x}')", "sorted([x, x])", "if x: pass"):
        with pytest.raises(OutputPending) as caught:
            nb.here(use)
        assert str(caught.value) == told
    with pytest.raises(OutputPending):
        json.dumps([marker])
    gate.open()
    assert marker.result(20) == [1]
    assert nb.names["x"] == [1]


@pytest.mark.parametrize(
    "asked",
    ["f.result(20)", "x.result(20)", "await f", "await x", "get_ipython().run_line_magic('compute', 'wait f')"],
)
def test_07_a_value_arrives_inside_what_waits_for_it(nb, gate, asked):
    nb.here("%%compute -o x -n f\nopen(gate).read()\nx = 41\nx")
    assert nb.here(f"open(gate, 'w').close()\n{asked}\nx + 1") == 42


def test_07_values_of_a_sweep_arrive_with_its_end_only(nb, gate):
    nb.here("%%compute -m k=range(2) -o x -n g\nif k: open(gate).read()\nx = k")
    seen = nb.here("first = g[0].result(20)\ntype(x).__name__")
    assert (nb.names["first"], seen) == (None, "Pending")
    gate.open()
    assert nb.here("g.result(20)\nx") == [0, 1]


def test_07_never_in_the_middle_of_a_cell(nb, gate):
    nb.here("%%compute -o y -n f\nopen(gate).read()\ny = 7")
    cell = (
        "import concurrent.futures as cf, threading\n"
        "open(gate, 'w').close()\n"
        "cf.wait([f], 20)\n"
        "reader = threading.Thread(target=f.result); reader.start(); reader.join(20)\n"
        "before = type(y).__name__\n"
        "before"
    )
    assert nb.here(cell) == "Pending"
    assert nb.here("y") == 7


def test_07_the_latest_submit_owns_a_name(nb, gate):
    nb.here("%%compute -o x -n slow\nopen(gate).read()\nx = 'slow'")
    nb.here("%%compute -o x -n fast\nx = 'fast'")
    nb.here("%compute wait fast")
    gate.open()
    nb.here("%compute wait")
    assert nb.names["x"] == "fast"


def test_07_a_name_that_the_user_has_rebound_is_left_alone(nb, gate, capsys):
    nb.here("%%compute -o z -n f\nopen(gate).read()\nz = 7")
    nb.here("z = 'mine'")
    gate.open()
    nb.here("%compute wait f")
    assert nb.names["z"] == "mine"
    capsys.readouterr()
    nb.here("%compute show f")
    assert "`z` was bound anew meanwhile and left alone" in capsys.readouterr().out


def test_07_after_a_failure_the_marker_raises_the_tasks_error(nb):
    nb.here("%%compute -o q -n f\nq = {}['a']")
    nb.here("%compute wait f")
    assert repr(nb.names["q"]).endswith(", failed: KeyError>")
    for use in ("q + 1", "q.result()", "await q"):
        with pytest.raises(KeyError, match="a") as caught:
            nb.here(use)
        assert isinstance(caught.value, TaskExecutionFailed)


def test_07_with_map_one_list_in_order_with_errors_in_their_places(nb):
    nb.here("%%compute -m k=[2, 0, 1] -o r,s -n g\nr = 2 / k\ns = [k]")
    nb.here("%compute wait g")
    first, failed, last = nb.names["r"]
    assert (first, last) == (1, 2)
    assert isinstance(failed, ZeroDivisionError)
    assert isinstance(nb.names["s"][1], ZeroDivisionError)
    assert nb.names["s"][2] == [1]


def test_07_an_output_that_is_never_bound_is_refused(nb):
    with pytest.raises(CellRefused, match=r"`-o walk`: the cell never binds `walk`, did you mean `walks`\?"):
        nb.here("%%compute -o walk\nwalks = 1")


# -- 8: -n and _compute


def test_08_names_are_bound_before_any_waiting_and_for_failures_too(nb):
    with pytest.raises(ZeroDivisionError):
        nb.here("%%compute -w -n bad\n1 / 0")
    assert nb.names["bad"] is nb.names["_compute"]
    nb.here("%%compute -m k=range(2)\nk")
    group = nb.names["_compute"]
    assert group.result(20) == [0, 1]
    with pytest.raises(CellRefused):
        nb.here("%%compute -n never\nnot_here")
    assert nb.names["_compute"] is group  # the last one that was accepted
    assert "never" not in nb.names


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("-n 1a", "`-n 1a`: that is no name that Python can bind"),
        ("-n class", "`-n class`: that is no name that Python can bind"),
        ("-o a-b", "`-o a-b`: that is no name that Python can bind"),
        ("-n __name__", "`-n __name__`: that name is IPython's or ours: choose another one"),
        ("-n _compute", "`-n _compute`: that name is IPython's or ours: choose another one"),
        ("-n a -o a", "`a` stands twice among -n, -o and -m: each needs a name of its own"),
        ("-n k -m k=[1]", "`k` stands twice among -n, -o and -m"),
        ("-o k -m k=[1]", "`k` stands twice among -n, -o and -m"),
        ("-m k=[1] -m k=[2]", "`k` stands twice among -n, -o and -m"),
        ("-m never=[1]", "never reads `never`"),
        ("--shell -o a", "-o"),
        ("--shell -i a", "-i"),
        ("--mpi -o a", "-o"),
        ("--mpi -i a", "-i"),
    ],
)
def test_08_what_is_refused(nb, line, told):
    with pytest.raises(CellRefused, match=re.escape(told)) as caught:
        nb.here(f"%%compute {line}\na = k = 1")
    assert len(str(caught.value).splitlines()) == 1


# -- 9: Out


def test_09_out_and_underscore_are_the_value_of_a_waiting_cell_only(nb, capsys):
    nb.names["Out"].clear()

    def out():
        return nb.names["Out"].get(nb.ip.execution_count - 1)

    nb.here("%%compute -w\n{'a': 1}")
    assert (out(), nb.names["_"]) == ({"a": 1}, {"a": 1})
    assert capsys.readouterr().out.count("{'a': 1}") == 1
    nb.here("%%compute -n f\n2")
    assert (out(), nb.names["_"]) == (None, {"a": 1})
    nb.here("%%compute -w -n f\n3;")
    assert (out(), nb.names["_"]) == (None, {"a": 1})
    assert nb.names["f"].result(0) is None  # not sent back either
    assert "3" not in capsys.readouterr().out


def test_09_a_value_that_does_not_load_here_is_shown_as_the_worker_saw_it(nb, tmp_path, capsys):
    body = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
open({str(tmp_path / "only_there.py")!r}, "w").write("class Odd:\\n    def __repr__(self): return 'an odd thing'")
import importlib; importlib.invalidate_caches()
from only_there import Odd
Odd()
"""
    assert nb.here(f"%%compute -w\n{body}") is None
    shown = capsys.readouterr()
    assert shown.out.count("an odd thing") == 1
    assert "`only_there`" in shown.err or "'only_there'" in shown.err


def test_09_a_value_that_cannot_travel_leaves_its_display(nb, capsys):
    cell = "import threading\nclass Lock:\n    def __init__(self): self.lock = threading.Lock()\n    def __repr__(self): return 'my lock'\nLock()"
    assert nb.here(f"%%compute -w -n f\n{cell}") is None
    shown = capsys.readouterr()
    assert shown.out.count("my lock") == 1
    assert len(shown.err.strip().splitlines()) == 1
    assert "the task succeeded, and its value stayed there" in shown.err
    assert nb.names["f"].state.value == "SUCCEEDED"
    with pytest.raises(SerializationError, match="lock"):
        nb.names["f"].result(0)


def test_09_artists_are_shown_and_not_sent(nb):
    pytest.importorskip("matplotlib")
    nb.here("%%compute -n f\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])")
    assert nb.names["f"].result(60) is None


# -- 10: the prompt


def test_10_the_prompt_returns_when_all_is_on_disk(nb, gate):
    nb.here("%%compute -m k=range(20) -n g\nopen(gate).read() if k < 0 else k")
    nb.here(f"%compute reload {nb.names['g'].task_group_id} -n again")  # asks the service itself
    assert len(nb.names["again"]) == 20
    assert nb.names["again"].result(30) == list(range(20))


def test_10_a_group_is_accepted_whole_or_not_at_all(nb, tmp_path):
    nb.here("%%compute -n before\n1")
    nb.here("blobs = [str(k) * (k // 1500 * 20_000_000 + 1) for k in range(1501)]")  # in two requests
    with pytest.raises(CellRefused, match="nothing was sent") as caught:
        nb.here("%%compute -m b=blobs -n g\nopen(f'{folder}/ran', 'w').close()\nlen(b)")
    assert len(str(caught.value).splitlines()) == 1
    assert "g" not in nb.names
    assert nb.names["_compute"] is nb.names["before"]
    assert nb.here("%%compute -w\n1") == 1
    assert not (tmp_path / "ran").exists()


@contextmanager
def interrupt_after(seconds):
    """Presses Interrupt while the block runs."""
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(seconds, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    yield
    timer.join()


def test_10_an_interrupt_while_submitting_withdraws_it(nb, home):
    nb.here("%%compute -n before -w\n1")
    known = tasks_by_state(home)
    info = find_service(home)
    assert info is not None
    os.kill(info.pid, signal.SIGSTOP)  # it accepts nothing now
    try:
        with interrupt_after(0.2), pytest.raises(CellRefused, match="interrupted while submitting: all of it"):
            nb.here("%%compute -m k=range(7) -n g\nimport time\ntime.sleep(600 + k)")
    finally:
        os.kill(info.pid, signal.SIGCONT)
    assert nb.names["_compute"] is nb.names["before"]
    assert "g" not in nb.names
    assert nb.here("%%compute -w\n1") == 1
    new = tasks_by_state(home)
    assert {state for state in new if new[state] > known.get(state, 0)} <= {"SUCCEEDED", "CANCELLED"}


def tasks_by_state(home):
    return {state: n for state, n in json.loads(service(home, "status", "--json"))["tasks"].items() if n}


# -- 11: a group


def test_11_a_group_is_futures_in_map_order(nb):
    nb.here("%%compute -m k=[3, 1, 2] -n sims\nprint(k)\nk * k")
    sims = nb.names["sims"]
    assert [future.result(20) for future in sims] == [9, 1, 4] == sims.result()
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
        group.result(20)
    assert caught.value.__notes__ == ["2 of 4 failed: seed=0, seed=2"]
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
    assert nb.here("%%compute -w -m row=pd.DataFrame({'a':[1,2],'b':['x','y']})\nrow.a, row.b") == [(1, "x"), (2, "y")]
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
    with interrupt_after(0.1), pytest.raises((KeyboardInterrupt, StoppedWaiting, asyncio.CancelledError)):
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
    return nb.names["f"].exception(20)


def test_14_the_error_is_both_types_with_its_attributes_and_without_their_init(nb):
    nb.here("class Odd(Exception):\n    def __init__(self, code, *, why):\n        raise RuntimeError('init ran')")
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
    wait([nb.names["f"]], 20)
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
        ("x", r"`x` is still being computed: `x = x.result\(\)` first"),
    ):
        with pytest.raises(CellRefused, match=told):
            nb.here(f"%%compute\n{name}")
        with pytest.raises(CellRefused):
            nb.here(f"%%compute --shell\necho {{{name}}}")
    gate.open()
