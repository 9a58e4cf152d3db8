"""What a compute cell means: cache, retries, cancel, debug, seeds, the line, shell text, a terminal."""
# ruff: noqa: E501 - a cell is one line, so that a case is one line

import os
import re
import subprocess
import sys
import time
from concurrent.futures import CancelledError
from pathlib import Path

import psutil
import pytest
from own_home import service, terminal_agent

from compute_nb.errors import TaskExecutionFailed, WorkerDied
from compute_nb.future import ComputeFuture
from compute_nb.notebook.refusal import CellRefused
from compute_nb.notebook.runs.cache import cache_of
from compute_nb.notebook.view import drawing
from compute_nb.notebook.view.look import WARN

COUNTED = "import os, pathlib, uuid\npathlib.Path(folder, f'{k} {uuid.uuid4()}').touch()\n"
TRIES = "import os, pathlib, uuid\npathlib.Path(folder, str(uuid.uuid4())).touch()\ntries = len(os.listdir(folder))\n"


def ran(folder):
    """How often each task was run."""
    return sorted(int(name.split()[0]) for name in os.listdir(folder))


# -- 17: --cache


def test_17_a_larger_sweep_runs_what_is_new_and_failures_again(nb, home, tmp_path, capsys):
    nb.here("scale = 2\ndef helper(x): return 12 * scale // x")
    body = f"{COUNTED}helper(k)"
    nb.here(f"%%compute --cache -m k=range(4) -n g\n{body}")
    assert [type(one).__name__ for one in nb.names["g"].result(60, return_exceptions=True)][:2] == [
        "ZeroDivisionError",
        "int",
    ]
    cache_of(home).flush()
    nb.here(f"%%compute --cache -m k=range(6) -n g\n{body}")
    assert "3 of 6 reused" in capsys.readouterr().err
    assert nb.names["g"].result(60, return_exceptions=True)[1:] == [24, 12, 8, 6, 4]
    assert ran(tmp_path) == [0, 0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("change", ["body", "source", "input", "value", "shell"])
def test_17_what_is_not_the_same_runs(nb, home, tmp_path, change):
    nb.here("scale = 2\ndef helper(x): return x * scale")
    cell = "%%compute --cache -m k=[3] -w\n" + COUNTED + "helper(k)"
    if change == "shell":
        cell = "%%compute --cache --shell -m k=[3] -w\ntouch {folder!q}/{k}.$$"
    nb.here(cell)
    cache_of(home).flush()
    after = {
        "body": ("1", cell.replace("helper(k)", "helper(k) + 0")),
        "source": ("def helper(x): return scale * x", cell),
        "input": ("scale = 3", cell),
        "value": ("1", cell.replace("k=[3]", "k=[4]")),
        "shell": ("1", cell.replace("touch", "touch  ")),
    }[change]
    for source in after:
        nb.here(source)
    assert len(os.listdir(tmp_path)) == 2
    cache_of(home).flush()
    nb.here(after[1])
    assert len(os.listdir(tmp_path)) == 2


# -- 18: retries, cancel, and what lines mean


def test_18_retries_cover_lost_work_only(nb, tmp_path):
    killed = f"{TRIES}import signal\nif tries == 1: os.kill(os.getpid(), signal.SIGKILL)\ntries"
    assert nb.here(f"%%compute --retries 1 -w\n{killed}") == 2
    with pytest.raises(WorkerDied):
        nb.here(f"%%compute -w\n{killed.replace('tries == 1', 'tries')}")
    before = len(os.listdir(tmp_path))
    with pytest.raises(ZeroDivisionError):
        nb.here(f"%%compute --retries 3 -w\n{TRIES}1 / 0")
    with pytest.raises(TaskExecutionFailed, match="WalltimeExceeded"):
        nb.here(f"%%compute --retries 3 --walltime 3 -w\n{TRIES}import time\ntime.sleep(600)")
    assert len(os.listdir(tmp_path)) == before + 2


def test_18_retry_runs_again_in_the_same_places_with_the_same_inputs(nb, tmp_path, gate):
    nb.here("data = [10]")
    nb.here(
        "%%compute -m k=[0,1,2] -n sims\nimport os\n"
        "if k == 1 and not os.path.exists(folder + '/mended'): 1 / 0\n"
        "if k == 2 and not os.path.exists(folder + '/mended'): open(gate).read()\nk, data"
    )
    sims = nb.names["sims"]
    assert isinstance(sims[1].exception(60), ZeroDivisionError)
    nb.here("%compute cancel sims[2]")
    before = list(sims)
    nb.here("data.append(20)")
    (tmp_path / "mended").touch()
    nb.here("%compute retry sims")
    assert [now is then for now, then in zip(sims, before, strict=True)] == [True, False, False]
    assert sims.result(60) == [(0, [10]), (1, [10]), (2, [10])]
    assert len({future.task_group_id for future in sims}) == 1
    with pytest.raises(CancelledError):
        before[2].result(0)
    nb.here(f"%compute reload {sims.task_group_id} -n again")
    assert [one.task_id for one in nb.names["again"]] == [one.task_id for one in sims]


STUBBORN = """
import os, signal, subprocess
def tell(text):
    with open(gate, "w") as told: told.write(text)
def deaf(): signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"], preexec_fn=deaf)
try:
    tell(f"{os.getpid()} {child.pid}")
    child.wait()
except KeyboardInterrupt:
    if not polite: signal.signal(signal.SIGINT, signal.SIG_IGN)
    tell("interrupted")
    if not polite: child.wait()
    child.kill()
    child.wait()
"""


@pytest.mark.parametrize("polite", [True, False])
def test_18_cancel_is_sigint_then_5_s_then_sigkill_of_all(nb, gate, polite):
    nb.names["polite"] = polite
    nb.here(f"%%compute -n f\n{STUBBORN}")
    worker, child = (psutil.Process(int(pid)) for pid in Path(gate.path).read_text().split())
    began = time.monotonic()
    nb.here("%compute cancel f")
    assert nb.names["f"].cancelled()  # at once
    assert Path(gate.path).read_text() == "interrupted"
    psutil.wait_procs([child] if polite else [child, worker], timeout=60)
    took = time.monotonic() - began
    assert not child.is_running()
    assert worker.is_running() is polite
    assert polite or 4.5 < took < 60
    assert nb.here("%%compute -w\n1") == 1


def test_18_lines_without_a_name(nb, gate, capsys):
    def told(line):
        capsys.readouterr()
        nb.here(line)
        return capsys.readouterr().out

    nb.here("%%compute -n one\nopen(gate).read()")
    nb.here("%%compute -n two -m k=[1, 0]\nprint('k is', k)\n1 / k")
    with pytest.raises(CellRefused, match=r"needs NAME, NAME\[i\] or --all"):
        nb.here("%compute cancel")
    gate.open()
    nb.here("%compute wait")  # all of this kernel
    assert nb.names["one"].done()
    assert nb.names["two"].done()
    assert "k is 1" in told("%compute logs")
    assert "two" in told("%compute show")
    assert "ZeroDivisionError" in told("%compute tb")
    assert "two: that was k=0, here; `%debug` looks into it" in told("%compute debug")
    assert "two: 1 of 2 tasks sent again" in told("%compute retry")
    nb.here("%compute wait")


def test_18_name_i_works_everywhere(nb, gate, capsys):
    nb.here("%%compute -n g -m k=[1, 0, 2]\nif k == 2: open(gate).read()\nprint('k is', k)\n1 / k")
    for line, said in [
        ("wait g[1]", ""),
        ("wait g[0]", ""),
        ("logs g[0]", "k is 1\n"),
        ("show g[1]", "k=0: failed"),
        ("tb g[1]", "ZeroDivisionError"),
        ("debug g[0]", "with k=1 it runs here without an error"),
        ("cancel g[2]", "g[2]: 1 of 1 tasks cancelled"),
        ("retry g[1]", "g[1]: 1 of 1 task sent again"),
        ("wait g[-1]", ""),
    ]:
        capsys.readouterr()
        nb.here(f"%compute {line}")
        assert said in capsys.readouterr().out
    assert nb.names["g"][2].cancelled()
    with pytest.raises(CellRefused, match=re.escape("`g[3]`: g has 3 tasks, numbered from 0")):
        nb.here("%compute logs g[3]")


# -- 19: debug, seeds, fair share


def test_19_debug_runs_the_body_here_with_the_stored_inputs(nb, monkeypatch):
    monkeypatch.setattr(sys, "last_value", None, raising=False)
    nb.here("table = {1: 'one'}\ndef look(k): return table[k]")
    nb.here("%%compute -m k=range(1, 3) -n sims\nlocal = k\nlook(k)")
    assert isinstance(nb.names["sims"][1].exception(60), KeyError)
    nb.here("table = {}; k = 'mine'")
    assert nb.here("%compute debug sims[0]") == "one"  # as it was sent
    nb.here("%compute debug sims[1]")
    assert isinstance(sys.last_value, KeyError)
    frames = sys.last_value.__traceback__
    assert frames is not None
    assert frames.tb_frame.f_globals["local"] == 2
    assert frames.tb_next is not None
    assert frames.tb_next.tb_frame.f_code.co_name == "look"
    assert nb.names["k"] == "mine"
    assert nb.names["table"] == {}


SEEDED = """
import random
import numpy as np
draws = random.random(), float(np.random.rand()), float(np.random.default_rng().random())
if k == 2 and not os.path.exists(folder + "/mended"): raise ValueError(draws)
draws
"""


@pytest.fixture(scope="module")
def one(home):
    """An endpoint with one worker."""
    service(home, "start")
    with terminal_agent("one", "--workers", "1") as name:
        yield name


def test_19_a_seed_gives_the_same_with_any_number_of_workers_and_after_a_retry(nb, one, tmp_path):
    pytest.importorskip("numpy")
    nb.here("import os")
    nb.here(f"%%compute local --seed 7 -m k=range(4) -n two\n{SEEDED}")
    failed = nb.names["two"][2].exception(60)
    assert isinstance(failed, ValueError)
    (tmp_path / "mended").touch()
    nb.here("%compute retry two")
    values = nb.names["two"].result(60)
    assert values[2] == failed.args[0]
    assert len({draw for draws in values for draw in draws}) == 12
    assert nb.here(f"%%compute {one} --seed 7 -m k=range(4) -w\n{SEEDED}") == values
    assert nb.here(f"%%compute {one} --seed 8 -m k=[0] -w\n{SEEDED}")[0] != values[0]


def test_19_groups_take_turns(nb):
    nb.here("%%compute -m k=range(500) -n sweep\nimport time\ntime.sleep(1)\nk")
    assert nb.here("%%compute -w\n'through'") == "through"
    assert sum(one.done() for one in nb.names["sweep"]) < 100
    nb.here("%compute cancel sweep")


# -- 20: the line


def test_20_nothing_is_filled_in_by_ipython(nb):
    nb.here("x = 'filled in'")
    assert nb.here("%%compute -w --label {x}\nx = 1\nf'{x}', '{x} $x'") == ("1", "{x} $x")
    assert nb.ip.magics_manager.registry["ComputeMagics"].runs[-1].label == "{x}"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("-m n=range(1, 4) local -w", [1, 2, 3]),
        ("-m 'n=range(1, 4)' -w", [1, 2, 3]),
        ('-m n="[1, 2]" -w', [1, 2]),
        ("-m n=['a b', 'c, d'] -w", ["a b", "c, d"]),
        ("-m n={1, 1} -w", [1]),
        ('--config {"a": {"b": [1, 2]}} -m n=[1] -w', [1]),
        ("--config '{\"a\": 1}' -m n=[1] local -w", [1]),
        ('--label "two words" -m n=[1] -w', [1]),
        ("-o a,b local -m n=[1] -w", [1]),
        ("-o a, b local -m n=[1] -w", [1]),
        ("-o a -o b local -m n=[1] -w", [1]),
    ],
)
def test_20_what_stands_unquoted_and_in_lists(nb, line, value):
    assert nb.here(f"%%compute {line}\na = b = n\nn") == value
    run = nb.ip.magics_manager.registry["ComputeMagics"].runs[-1]
    assert run.endpoint == "local"
    assert run.label == ("two words" if "--label" in line else "")
    if "-o" in line:
        assert (nb.names["a"], nb.names["b"]) == (value, value)


def test_20_attach_is_reload_and_use_lasts_for_this_kernel(nb, home):
    nb.here("%%compute -n f\n7")
    nb.here(f"%compute attach {nb.names['f'].task_group_id} -n again")
    assert nb.names["again"].result(60) == 7
    before = home.config_file.read_bytes() if home.config_file.exists() else None
    nb.here("%compute use local")
    assert (home.config_file.read_bytes() if home.config_file.exists() else None) == before
    assert nb.here("%%compute -w\n2") == 2


def test_20_no_wait_wins_over_the_default(nb, gate):
    nb.here("%config ComputeMagics.wait = True")
    try:
        assert nb.here("%%compute\n3") == 3
        assert nb.here("%%compute --no-wait -n f\nopen(gate).read()\n4") is None
        assert not nb.names["f"].done()
    finally:
        nb.here("%config ComputeMagics.wait = False")
    gate.open()


# -- 21: shell text


def test_21_what_is_replaced_in_a_shell_text(nb):
    nb.here("n, name, ratio = 3, \"it's a 'file'\", 1 / 3")
    body = (
        "echo {n} {ratio:.2f} {name!q} {k}\n"
        "X=home; echo ${X} {1..3} {{n}}\n"
        "echo one two | awk '{print $2}'\n"
        "for i in a b; do { echo $i; }; done"
    )
    (result,) = nb.here(f"%%compute --shell -m k=['swept'] -w\n{body}")
    assert result.stdout.split("\n")[:6] == [
        "3 0.33 it's a 'file' swept",
        "home 1 2 3 {n}",
        "two",
        "a",
        "b",
        "",
    ]


def test_21_an_unknown_name_is_refused(nb):
    nb.here("count = 3")
    with pytest.raises(CellRefused, match=r"`\{coutn\}`: there is no `coutn` here, did you mean `count`\?"):
        nb.here("%%compute --shell\necho {coutn}")


def test_21_a_non_zero_exit_succeeds_unless_checked(nb, capsys):
    value = nb.here("%%compute --shell -w -n f\necho said; exit 3")
    assert (value.returncode, nb.names["f"].state.value) == (3, "SUCCEEDED")
    capsys.readouterr()
    nb.here("%compute show f")
    assert "1 of 1 done, exit 3" in capsys.readouterr().out
    run = nb.ip.magics_manager.registry["ComputeMagics"].runs[-1]
    amber = rf'color:{re.escape(WARN)};font-weight:bold">!</span>&nbsp;exit 3</span>'
    assert re.search(amber, drawing.bar(run, run.snapshot()))
    with pytest.raises(subprocess.CalledProcessError) as caught:
        nb.here("%%compute --shell --check -w -n f\nexit 3")
    assert caught.value.returncode == 3
    assert nb.names["f"].state.value == "FAILED"


# -- 22: a plain terminal


def test_22_a_plain_terminal_gets_text_and_does_not_wait(nb, gate, capsys):
    nb.here("%%compute -n sims -m k=range(3)\nif k == 2: open(gate).read()\nk")
    group = nb.names["sims"].task_group_id
    assert capsys.readouterr().out == f"sims: 3 tasks submitted to local, task group {group}\n"
    assert isinstance(nb.names["sims"][0], ComputeFuture)
    assert not nb.names["sims"].done()
    gate.open()
    nb.here("%compute wait\n%compute show sims")
    assert "sims on local: 3 of 3 done" in capsys.readouterr().out
