"""Groups of futures and the values of `--map` (semantics 11 and 12), in a real shell and through workers."""
# ruff: noqa: E501 - a case is one line

import re
import threading
from concurrent.futures import as_completed

import pytest

from compute_nb.errors import TaskExecutionFailed
from compute_nb.future import ComputeFuture
from compute_nb.notebook.refusal import CellRefused

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")


pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def nb(nb):
    nb.names.update(np=np, pd=pd)
    return nb


def swept(nb, line, body="k"):
    nb.here(f"%%compute {line} -n g\n{body}")
    return nb.names["g"].result(60)


@pytest.mark.parametrize(
    ("line", "body", "expected"),
    [
        ("-m k=[3,1,2]", "k", [3, 1, 2]),
        ("-m k=range(1, 4)", "k", [1, 2, 3]),
        ("-m k=(i*i for i in range(3))", "k", [0, 1, 4]),
        ("-m k={'a':1,'b':2}.values()", "k", [1, 2]),
        ("-m a,b={'a':1,'b':2}.items()", "a, b", [("a", 1), ("b", 2)]),
        ("-m k=np.linspace(0,1,3)", "float(k)", [0.0, 0.5, 1.0]),
        ("-m k=np.arange(4).reshape(2,2)", "k.tolist()", [[0, 1], [2, 3]]),
        ("-m a,b=np.arange(4).reshape(2,2)", "int(a + b)", [1, 5]),
        ("-m k=pd.Series([5,6],index=['x','y'])", "int(k)", [5, 6]),
        ("-m k=pd.date_range('2026-01-01',periods=2)", "str(k.date())", ["2026-01-01", "2026-01-02"]),
        ("-m row=pd.DataFrame({'n':[1,2],'f':[.5,1.5]})", "row.n * row.f, type(row.n).__name__", [(0.5, "int"), (3.0, "int")]),
        ("-m n,f=pd.DataFrame({'n':[1,2],'f':[.5,1.5]})", "n, f", [(1, 0.5), (2, 1.5)]),
        ("-m a=[1,2] -m b='xy'[::1] -m c=[0]", "a", None),
        ("-m a=[1,2] -m b=[3,4] -m c=(5,6)", "a, b, c", [(a, b, c) for a in (1, 2) for b in (3, 4) for c in (5, 6)]),
        ("-m k=[[1,2],[3]]", "sum(k)", [3, 3]),
        ("-m k=[None,'a',{'b':1},{2}]", "type(k).__name__", ["NoneType", "str", "dict", "set"]),
    ],
)  # fmt: skip
def test_values_of_a_map(nb, line, body, expected):
    if expected is None:
        with pytest.raises(CellRefused, match="is text: write a list"):
            swept(nb, line, body)
    else:
        assert swept(nb, line, body) == expected


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("-m k={'a':1}", "is a dict: write `list(d)`, `d.values()` or `a,b=d.items()`"),
        ("-m k='abc'", "is text: write a list, as in `['a', 'b']`"),
        ("-m k=b'abc'", "is text"),
        ("-m k=7", "is an int: write a list of values, one for each task"),
        ("-m k=np.array(7)", "write a list of values, one for each task"),
        ("-m k=range(10**9)", "gives more than 100,000 tasks"),
        ("-m k=range(400) -m j=range(400)", "gives 160,000 tasks, at most 100,000 are allowed"),
        ("-m k=iter(int,1)", "gives more than 100,000 tasks"),
        ("-m a,b=[1,2]", "can't be unpacked to 2 names"),
        ("-m a,b=[(1,2),(3,)]", "can't be unpacked to 2 names"),
        ("-m k=1/0", "ZeroDivisionError"),
        ("-m k=nothing", "NameError"),
        ("-m k=", "write NAME=EXPR"),
        ("-m 1k=[1]", "no name that Python can bind"),
    ],
)
def test_what_is_no_list_of_values_is_refused(nb, line, told):
    with pytest.raises(CellRefused, match=re.escape(told)):
        nb.here(f"%%compute {line}\nk")


def test_empty_is_a_finished_group(nb, capsys):
    nb.here("%%compute -m k=[] -n g -o out\nout = k\nk")
    group = nb.names["g"]
    assert (len(group), group.done(), group.result(0), list(group)) == (0, True, [], [])
    assert list(as_completed(group)) == []
    assert list(group.to_frame().columns)[:4] == ["k", "value", "error", "state"]
    assert "0 tasks, empty" in repr(group)
    nb.here("%compute wait g\n%compute retry g\n%compute cancel g\n%compute logs g\n%compute tb g")
    assert nb.names["out"] == []


def test_futures_in_map_order(nb):
    swept(nb, "-m k=range(5)", "k * 2")
    group = nb.names["g"]
    assert all(isinstance(one, ComputeFuture) for one in group)
    assert group[-1].result() == 8
    assert group[1:4].result() == [2, 4, 6]
    assert group[1:4].points == [{"k": 1}, {"k": 2}, {"k": 3}]
    assert group[::-2].result() == [8, 4, 0]
    assert {one.result() for one in as_completed(group)} == {0, 2, 4, 6, 8}
    with pytest.raises(IndexError):
        group[5]
    assert "\n" not in repr(group)


def test_a_timeout_is_yours_and_the_tasks_go_on(nb, tmp_path):
    nb.here("%%compute -m k=[1,2] -n g\nimport os, time\n"
            "while not os.path.exists(folder + '/gate'): time.sleep(0.02)\nk")  # fmt: skip
    group = nb.names["g"]
    with pytest.raises(TimeoutError, match="0 of 2 tasks ended in time; the others go on"):
        group.result(0.05)
    (tmp_path / "gate").touch()
    assert group.result(60) == [1, 2]


def test_errors_in_their_places(nb):
    nb.here("%%compute -m k=[0,1,2] -n g\n1 / k")
    group = nb.names["g"]
    first, *others = group.result(60, return_exceptions=True)
    assert isinstance(first, ZeroDivisionError)
    assert isinstance(first, TaskExecutionFailed)
    assert others == [1.0, 0.5]
    with pytest.raises(ZeroDivisionError) as caught:
        group.result(60)
    assert caught.value.__notes__ == [
        "1 of 3 failed: k=0",
        "the other 2 have their values: `g.result(return_exceptions=True)`",
    ]


def test_displaying_it_draws_its_panel_again(nb):
    swept(nb, "-m k=[1]")
    data = nb.names["g"]._repr_mimebundle_()
    assert "1 of 1 done" in data["text/html"]
    assert data["application/vnd.compute-nb.panel+json"]["entry"]["tasks"] == 1


def test_a_frame_has_parameters_values_states_and_times(nb):
    nb.here("%%compute -m k=[0,2] -m tag=['a'] -n g\n_ = tag\n1 / k")
    nb.names["g"].result(60, return_exceptions=True)
    frame = nb.names["g"].to_frame()
    assert list(frame.columns) == [
        "k", "tag", "value", "error", "state", "duration_s", "submitted_at", "started_at", "ended_at"
    ]  # fmt: skip
    assert frame["k"].tolist() == [0, 2]
    assert frame["state"].tolist() == ["failed", "done"]
    assert frame["value"][1] == 0.5
    assert "ZeroDivisionError" in frame["error"][0]
    assert str(frame["started_at"].dtype).startswith("datetime64")
    assert (frame["duration_s"] >= 0).all()


def test_a_frame_after_a_reload_knows_all_parameters(nb, tmp_path):
    nb.here("class Cfg:\n    def __init__(self, a): self.a = a\nmade = [Cfg(0), Cfg(1), Cfg(2)]")
    nb.here("%%compute -m cfg=made -n g\nimport os, time\n"
            "while cfg.a == 2 and not os.path.exists(folder + '/gate'): time.sleep(0.02)\n1 / cfg.a")  # fmt: skip
    group = nb.names["g"]
    group[:2].result(60, return_exceptions=True)
    group[2].cancel()
    nb.here(f"%compute reload {group.task_group_id} -n again")
    frame = nb.names["again"].to_frame()
    assert frame["state"].tolist() == ["failed", "done", "cancelled"]
    cfgs = frame["cfg"].tolist()
    assert cfgs[1].a == 1
    assert type(cfgs[1]) is nb.names["Cfg"]
    assert cfgs[2].a == 2
    (tmp_path / "gate").touch()


def test_many_may_wait_at_once(nb, tmp_path):
    nb.here("%%compute -m k=[1,2] -n g\nimport os, time\n"
            "while not os.path.exists(folder + '/gate'): time.sleep(0.02)\nk")  # fmt: skip
    found = []
    threads = [threading.Thread(target=lambda: found.append(nb.names["g"].result(60))) for _ in range(3)]
    for thread in threads:
        thread.start()
    (tmp_path / "gate").touch()
    for thread in threads:
        thread.join(60)
    assert found == [[1, 2]] * 3
