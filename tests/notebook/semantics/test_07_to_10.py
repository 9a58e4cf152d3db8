"""What a compute cell means: names, values, `Out`, the prompt."""
# ruff: noqa: E501 - a cell is one line, so that a case is one line

import json
import os
import re
import signal
from urllib.parse import urlsplit

import pytest
from interrupt import interrupted
from own_home import lab, service
from wires import Authority, TlsFront, serving, tls_before

from compute_nb.client import Client
from compute_nb.errors import SerializationError, TaskExecutionFailed
from compute_nb.local import find_service
from compute_nb.notebook.refusal import CellRefused
from compute_nb.notebook.runs.pending import OutputPending

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
    told = f"`x` is being computed by {cell}, 0 of 1 done; `%compute wait`, `await` or `-w`"
    for use in ("x + 1", "x[0]", "x.append(2)", "print(f'{x}')", "sorted([x, x])", "if x: pass"):
        with pytest.raises(OutputPending) as caught:
            nb.here(use)
        assert str(caught.value) == told
    with pytest.raises(OutputPending):
        json.dumps([marker])
    gate.open()
    assert marker.result(60) == [1]
    assert nb.names["x"] == [1]


@pytest.mark.parametrize(
    "asked",
    [
        "f.result(60)",
        "x.result(60)",
        "await f",
        "await x",
        "get_ipython().run_line_magic('compute', 'wait f')",
    ],
)
def test_07_a_value_arrives_inside_what_waits_for_it(nb, gate, asked):
    nb.here("%%compute -o x -n f\nopen(gate).read()\nx = 41\nx")
    assert nb.here(f"open(gate, 'w').close()\n{asked}\nx + 1") == 42


def test_07_values_of_a_sweep_arrive_with_its_end_only(nb, gate):
    nb.here("%%compute -m k=range(2) -o x -n g\nif k: open(gate).read()\nx = k")
    seen = nb.here("first = g[0].result(60)\ntype(x).__name__")
    assert (nb.names["first"], seen) == (None, "Pending")
    gate.open()
    assert nb.here("g.result(60)\nx") == [0, 1]


def test_07_never_in_the_middle_of_a_cell(nb, gate):
    nb.here("%%compute -o y -n f\nopen(gate).read()\ny = 7")
    cell = (
        "import concurrent.futures as cf, threading\n"
        "open(gate, 'w').close()\n"
        "cf.wait([f], 60)\n"
        "reader = threading.Thread(target=f.result); reader.start(); reader.join(60)\n"
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
    assert group.result(60) == [0, 1]
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
    assert "3" not in capsys.readouterr().out.splitlines()


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
    assert "f: its value could not come back and is gone: a value of type `Lock` can't be sent" in shown.err
    assert nb.names["f"].state.value == "SUCCEEDED"
    with pytest.raises(SerializationError, match="lock"):
        nb.names["f"].result(0)


def test_09_what_displays_itself_is_shown_once(nb, capsys):
    body = "class Own:\n    def _ipython_display_(self): print('mine')\nOwn()"
    assert nb.here(f"%%compute -w -n f\n{body}") is None
    assert capsys.readouterr().out == "mine\n"
    assert type(nb.names["_"]).__name__ == "Own" == type(nb.names["f"].result()).__name__
    assert nb.names["Out"][nb.ip.execution_count - 1] is nb.names["_"]


def test_09_artists_are_shown_and_not_sent(nb):
    pytest.importorskip("matplotlib")
    nb.here("%%compute -n f\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])")
    assert nb.names["f"].result(60) is None


# -- 10: the prompt


def test_10_the_prompt_returns_when_all_is_on_disk(nb, gate):
    nb.here("%%compute -m k=range(20) -n g\nopen(gate).read() if k < 0 else k")
    nb.here(f"%compute reload {nb.names['g'].task_group_id} -n again")  # asks the service itself
    assert len(nb.names["again"]) == 20
    assert nb.names["again"].result(60) == list(range(20))


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


def test_10_an_interrupt_while_submitting_withdraws_it(nb, home):
    nb.here("%%compute -n before -w\n1")
    known = tasks_by_state(home)
    info = find_service(home)
    assert info is not None
    os.kill(info.pid, signal.SIGSTOP)  # it accepts nothing now
    try:
        with (
            pytest.raises(CellRefused, match="interrupted while submitting: all of it"),
            interrupted(),
        ):
            nb.here("%%compute -m k=range(7) -n g\nimport time\ntime.sleep(600 + k)")
    finally:
        os.kill(info.pid, signal.SIGCONT)
    assert nb.names["_compute"] is nb.names["before"]
    assert "g" not in nb.names
    assert nb.here("%%compute -w\n1") == 1
    new = tasks_by_state(home)
    assert {state for state in new if new[state] > known.get(state, 0)} <= {"SUCCEEDED", "CANCELLED"}


class Full(TlsFront):
    """Stands before a service and refuses what comes after the first submit."""

    submits = 0

    def passed(self, headers):
        self.submits += self.paths[-1].endswith("/submit")
        return (400, {"code": "NO_ROOM", "message": "no room"}) if self.submits > 1 else headers


def test_10_elsewhere_the_error_says_how_many_were_accepted(nb, tmp_path):
    authority = Authority(tmp_path)
    with lab(plain=True) as home:
        client = Client()
        url, broker = client.web_service_address, client.get_result_amqp_url()["connection_url"]
        (endpoint_id,) = [one["uuid"] for one in client.get_endpoints()]
        with tls_before(urlsplit(broker).port, authority.context("localhost")) as port:
            front = Full(url, authority.context("localhost"), port)
            home.config_file.write_text(
                f'[services.far]\nurl = "{front.url}"\ntoken_file = "{home.token_file}"\nca = "{authority.file}"\n'
                f'[endpoints.full]\nservice = "far"\nid = "{endpoint_id}"\n'
            )
            with serving(front):
                with pytest.raises(
                    CellRefused, match="no room; 1,000 of 1,003 tasks had been accepted"
                ) as caught:
                    nb.here("%%compute full -m k=range(1003)\nk")
                found = re.search(r"`%compute reload (\S+)` attaches to them$", str(caught.value))
                assert found
                front.submits = 0
                nb.here(f"%compute reload {found[1]} -n rest")
                assert nb.names["rest"].result(60) == list(range(1000))


def tasks_by_state(home):
    return {state: n for state, n in json.loads(service(home, "status", "--json"))["tasks"].items() if n}
