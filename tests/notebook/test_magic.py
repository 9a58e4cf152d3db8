"""The magic in a real shell of this process, over the real service, broker, agent and workers."""
# ruff: noqa: E501 - a cell is one line, so that a case is one line

import os
import re
import subprocess
import sys
import threading
from concurrent.futures import CancelledError

import pytest
from own_home import service

from compute_nb.errors import DeserializationError, SerializationError, TaskExecutionFailed, WorkerDied
from compute_nb.home import Home
from compute_nb.notebook.line.arguments import SUBCOMMANDS, parser, read_cell
from compute_nb.notebook.line.options import words
from compute_nb.notebook.refusal import CellRefused
from compute_nb.notebook.runs.pending import OutputPending, Pending

pytestmark = pytest.mark.usefixtures("home")


def test_value_of_a_waiting_cell_is_the_cells_own(nb, capsys):
    assert nb.here("%%compute local -w\nimport math\nprint('there')\nmath.factorial(5)") == 120
    assert "there\n" in capsys.readouterr().out


def test_a_value_whose_class_is_not_defined_yet_says_which_cell_to_run(nb):
    define = "class Point:\n    def __init__(self, x):\n        self.x = x\n    def twice(self):\n        return 2 * self.x"
    nb.here(define)
    cell = f"In[{nb.ip.execution_count - 1}]"
    nb.here("%%compute -n f\n[{'p': Point(3)}]")
    nb.here("%compute wait f")
    nb.here("del Point")
    for _ in range(2):
        with pytest.raises(
            DeserializationError, match=rf"needs `Point`.*{re.escape(cell)}.*`.result\(\)` again"
        ):
            nb.names["f"].result(0)
    nb.here(define)
    (found,) = nb.names["f"].result(0)
    assert type(found["p"]) is nb.names["Point"]
    assert found["p"].twice() == 6


def test_a_name_that_stayed_here_is_explained_there(nb):
    nb.here("import threading\nlock = threading.Lock()\ndef f():\n    return lock\ndef g():\n    return f()")
    with pytest.raises(NameError) as caught:
        nb.here("%%compute -w\ng()")
    assert "`lock` (a _thread.lock) can't travel" in "\n".join(caught.value._render_traceback_())


def test_a_waiting_cells_error_is_drawn_with_its_source(nb):
    nb.here("def area(r):\n    return r * None")
    with pytest.raises(TypeError) as caught:
        nb.here("%%compute -w -n f\nx = 1\n\narea(x)")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(caught.value._render_traceback_()))
    assert re.search(r"Cell In\[\d+\], line 3\n      1 x = 1\n----> 3 area\(x\)\n", shown)
    assert re.search(
        r"Cell In\[\d+\], line 2, in area\(r\)\n      1 def area\(r\):\n----> 2     return r \* None\n", shown
    )
    assert "harness" not in shown


def test_semicolon_and_async_give_no_value(nb):
    assert nb.here("%%compute -w\n5;") is None
    assert nb.here("%%compute -n f\n5") is None
    assert nb.names["f"].result(60) == 5
    assert nb.names["_compute"] is nb.names["f"]


def test_a_sweep_is_a_group_in_map_order(nb):
    nb.here("base = 10")
    nb.here("%%compute --map a=range(3) -m b=[1, 2] -n grid\n(a, b, base)")
    grid = nb.names["grid"]
    assert grid.result(60) == [(a, b, 10) for a in range(3) for b in (1, 2)]
    assert len(grid) == 6
    assert grid.points[1] == {"a": 0, "b": 2}
    assert grid[0].done()
    assert repr(grid) == "<ComputeGroup grid: 6 tasks, 6 done>"


def test_a_sweep_tells_which_points_failed(nb):
    nb.here("%%compute -m k=[1, 0, 2, 0] -n g\n1 / k")
    with pytest.raises(ZeroDivisionError) as caught:
        nb.names["g"].result(60)
    assert isinstance(caught.value, TaskExecutionFailed)
    assert caught.value.__notes__ == [
        "2 of 4 failed: k=0 (task 1), k=0 (task 3)",
        "the other 2 have their values: `g.result(return_exceptions=True)`",
    ]
    kinds = [type(v).__name__ for v in nb.names["g"].result(return_exceptions=True)]
    assert kinds == ["float", "ZeroDivisionError", "float", "ZeroDivisionError"]


def test_objects_of_the_notebook_as_map_values(nb):
    nb.here("class Cfg:\n    def __init__(self, a): self.a = a\nmade = [Cfg(1), Cfg(2)]")
    nb.here("%%compute -m cfg=made -n g\nisinstance(cfg, Cfg), cfg")
    values = nb.names["g"].result(60)
    assert [flag for flag, _ in values] == [True, True]
    assert all(type(cfg) is nb.names["Cfg"] for _, cfg in values)


def test_empty_map_is_a_finished_group(nb):
    nb.here("%%compute -m x=[] -n none\nx")
    assert nb.names["none"].result(0) == []


def test_output_is_pending_until_it_is_here(nb):
    nb.here("x = 'old'")
    nb.here(f"gate = {_gate(nb)!r}")
    nb.here("%%compute -o x -n f\nopen(gate).read()\nx = [1]")
    marker = nb.names["x"]
    assert type(marker) is Pending
    assert marker.previous == "old"
    assert repr(marker).startswith("<`x` of In[")
    assert nb.here("x") is marker
    uses = [
        "x + 1",
        "x[0]",
        "print(x)",
        "x.append",
        "len(x)",
        "bool(x)",
        "x == 1",
        "isinstance(x, int)",
        "vars(x)",
    ]
    uses += ["import json\njson.dumps([x])", "import os\nos.fspath(x)", "match x:\n    case int(): pass"]
    uses += ["match x:\n    case [a, b]: pass", "async with x: pass", "async for _ in x: pass"]
    for use in uses:
        with pytest.raises(OutputPending, match=r"`x` is being computed by In\[\d+\], 0 of 1 done"):
            nb.here(use)
    with pytest.raises(
        CellRefused,
        match=r"`x` is being computed by In\[\d+\], 0 of 1 done; `%compute wait`, `await` or `-w`",
    ):
        nb.here("%%compute\nx")
    with pytest.raises(CellRefused, match=r"is a future.*result\(\)"):
        nb.here("%%compute\nf")
    _open(nb)
    nb.here("%compute wait")
    assert nb.names["x"] == [1]
    nb.names["alias"] = marker
    assert "its value is here, as `x`" in repr(marker)
    for use in ("alias + 1", "%%compute\nalias"):
        with pytest.raises(OutputPending, match=r"`x` of .* is here.*use the name `x`"):
            nb.here(use)
    assert marker.result() == [1]


def _gate(nb) -> str:
    path = os.path.join(os.environ["COMPUTE_NB_HOME"], "gate")
    if not os.path.exists(path):
        os.mkfifo(path)
    return path


def _open(nb) -> None:
    with open(_gate(nb), "w") as gate:
        gate.write("go")


def test_names_change_between_cells_only(nb):
    nb.here(f"gate = {_gate(nb)!r}")
    nb.here("%%compute -o y -n f\nopen(gate).read()\ny = 7")
    seen = nb.here(
        "import concurrent.futures as _cf\nopen(gate, 'w').close()\n_cf.wait([f], 60)\ntype(y).__name__"
    )
    assert seen == "Pending"
    assert nb.here("y") == 7


def test_a_name_bound_anew_is_left_alone(nb):
    nb.here("%%compute -o z -n f\nz = 7")
    nb.here("z = 'mine'")
    nb.here("%compute wait")
    assert nb.names["z"] == "mine"


def test_failed_output_raises_the_tasks_error(nb):
    nb.here("%%compute -o q -n f\nq = 1 / 0")
    nb.here("%compute wait")
    assert repr(nb.names["q"]).endswith(", failed: ZeroDivisionError>")
    for use in ("q + 1", "%%compute\nq"):
        with pytest.raises(ZeroDivisionError):
            nb.here(use)


def test_cancelled_output_says_so(nb):
    nb.here("%%compute -o c -n f\nimport time\ntime.sleep(600)\nc = 1")
    nb.here("%compute cancel f")
    assert repr(nb.names["c"]).endswith(", cancelled>")


def test_outputs_of_a_sweep_are_one_list(nb):
    nb.here("%%compute -m k=[1, 0] -o r -n g\nr = 1 / k")
    nb.here("%compute wait g")
    first, second = nb.names["r"]
    assert first == 1
    assert isinstance(second, ZeroDivisionError)


def test_value_and_outputs_of_a_cell_stay_as_shared_as_they_were(nb):
    nb.here("%%compute -o model,opt -n f\nmodel = {'w': [1.0]}\nopt = {'params': model['w']}\nmodel")
    nb.here("%compute wait")
    model, opt = nb.names["model"], nb.names["opt"]
    assert opt["params"] is model["w"]
    assert nb.names["f"].result(0) is model


FIGURE = "import matplotlib.pyplot as plt\nplt.plot([1])\nplt.figure()\nplt.plot([2])\nplt.gcf()"


def test_a_figure_is_shown_by_its_picture(nb, monkeypatch):
    pytest.importorskip("matplotlib")
    shown = []
    monkeypatch.setattr(nb.ip.display_pub, "publish", lambda **message: shown.append(message["data"]))
    assert nb.here(f"%%compute -w\n{FIGURE}") is None
    assert [sorted(data) for data in shown] == [["image/png", "text/plain"]] * 2
    shown.clear()
    assert nb.here(f"%%compute -w -m i=range(2)\n{FIGURE.replace('[2]', '[i]')}") == [None, None]
    assert [sorted(data) for data in shown] == [["image/png", "text/plain"]] * 4


def test_names_of_a_star_import_can_be_outputs(nb):
    nb.here("%%compute -w -o sqrt\nfrom math import *")
    assert nb.names["sqrt"](4) == 2


def test_futures_in_containers_are_refused_with_the_mend(nb):
    nb.here(f"gate = {_gate(nb)!r}")
    nb.here("%%compute -n f\n1")
    nb.here("%%compute -m i=range(2) -n g\ni")
    nb.here("%%compute -o o -n h\nopen(gate).read()\no = 1")
    nb.here("fs, gs, ms = [f], {'g': g}, [o]")

    def refused(name, told):
        with pytest.raises(CellRefused, match=f"`{name}`.* can't travel: .*{told}"):
            nb.here(f"%%compute\n{name}")

    refused("fs", r"`result\(\)` of each")
    refused("gs", r"`result\(\)` first")
    refused("ms", r"`o` is being computed by In\[\d+\], 0 of 1 done; `%compute wait`, `await`")
    nb.here("open(gate, 'w').close()")
    nb.here("%compute wait")
    refused("ms", "`o` .*is here")


def test_an_error_that_is_raised_again_does_not_grow(nb):
    nb.here("%%compute -m k=[0] -n g\n1 / k")
    lengths = []
    for ask in (nb.names["g"].result, nb.names["g"][0].result) * 3:
        with pytest.raises(ZeroDivisionError) as caught:
            ask(20)
        lengths.append(len(caught.traceback))
    assert lengths[:2] == lengths[4:]


def test_a_syntax_error_there_is_shown_by_its_text(nb, capsys):
    nb.ip.run_cell("%%compute -w\neval('1 +')")
    shown = capsys.readouterr()
    assert "SyntaxError: invalid syntax" in shown.out + shown.err
    assert "outcome.py" not in shown.out + shown.err


def test_output_of_programs_comes_back(nb, capsys):
    nb.here("%%compute -w\nimport subprocess\nsubprocess.run(['echo', 'from a program']);")
    assert "from a program\n" in capsys.readouterr().out


def test_value_that_cannot_travel(nb, capsys):
    assert nb.here("%%compute -w -n f\nimport threading\nthreading.Lock()") is None
    with pytest.raises(SerializationError, match="lock"):
        nb.names["f"].result(60)
    assert nb.names["f"].state.value == "SUCCEEDED"
    assert "f: its value could not come back and is gone" in capsys.readouterr().err


def test_values_that_could_not_come_back_are_said_wherever_one_looks(nb, capsys):
    nb.here(
        "%%compute -m k=range(3) -n mix -o lock -w\nimport threading\nlock = threading.Lock()\nlock if k == 1 else k"
    )
    told = capsys.readouterr().err
    assert "mix: k=1: its value could not come back and is gone: a value of type `lock`" in told
    assert "mix: k=2: `lock` could not come back and is gone: a value of type `lock`" in told
    assert told.count("its value could not come back") == 1
    nb.here("%compute tasks")
    assert "! 3 of 3 done, 3 could not come back" in capsys.readouterr().out
    nb.here("%compute tb mix")
    told = capsys.readouterr().out
    assert "mix: nothing has failed" in told
    assert "mix: k=1: its value could not come back" in told
    nb.here("%compute show mix[1]")
    assert "its value could not come back" in capsys.readouterr().out
    with pytest.raises(SerializationError) as caught:
        nb.names["mix"].result()
    assert caught.value.__notes__[0] == "1 of 3 could not come back: k=1"
    nb.here("%%compute -n one -o lock\nimport threading\nlock = threading.Lock()")
    nb.here("%compute wait one")
    assert "one: `lock` could not come back" in capsys.readouterr().out


def test_what_a_task_printed_before_it_was_ended_is_printed_by_a_cell_that_waits(nb, capsys):
    body = "import time\nprint('begun', flush=True)\nwhile True:\n    time.sleep(0.01)"
    with pytest.raises(TaskExecutionFailed, match="Walltime"):
        nb.here(f"%%compute -w -n slow --walltime 2\n{body}")
    assert "begun\n" in capsys.readouterr().out
    nb.here("%compute logs slow")
    assert capsys.readouterr().out == "begun\n"


def test_a_dying_worker_costs_its_own_task(nb):
    with pytest.raises(WorkerDied, match="exit code 3"):
        nb.here("%%compute -w\nimport os\nos._exit(3)")
    assert nb.here("%%compute -w\n1") == 1


def test_cancel_and_tasks(nb, capsys):
    nb.here("%%compute -n hang\nimport time\ntime.sleep(600)")
    with pytest.raises(CellRefused, match="needs NAME"):
        nb.here("%compute cancel")
    nb.here("%compute cancel hang")
    assert nb.names["hang"].cancelled()
    capsys.readouterr()
    nb.here("%compute tasks")
    assert "1 cancelled" in capsys.readouterr().out


def test_logs_and_tracebacks(nb, capsys):
    nb.here("%%compute -m k=[1, 0] -n g\nprint('k is', k)\n1 / k")
    nb.here("%compute wait g")
    capsys.readouterr()
    nb.here("%compute logs g[0]")
    assert capsys.readouterr().out == "--- g[0] k=1\nk is 1\n"
    nb.here("%compute tb g")
    assert "Cell In[" in (text := capsys.readouterr().out)
    assert "line 2\n    1 / k\n" in text


def test_reload_binds_a_group_by_its_id(nb):
    nb.here("%%compute -m s=range(3) -n first\ns * s")
    group_id = nb.names["first"].task_group_id
    nb.names["first"].result(60)
    nb.here(f"%compute reload {group_id} -n again")
    assert nb.names["again"].result(60) == [0, 1, 4]
    assert [nb.names["again"].point(i) for i in range(3)] == ["s=0", "s=1", "s=2"]


def test_groups_that_can_be_reloaded_are_listed(nb, capsys):
    nb.here("%%compute -n f --no-wait\n2")
    group = nb.names["f"].task_group_id
    told = capsys.readouterr().out
    assert f"f: 1 task submitted to local, task group {group}" in told
    nb.here("%compute reload")
    told = capsys.readouterr().out
    assert re.search(rf"f +local +1 +this kernel +{group}", told)
    assert "`%compute reload GROUP [-n NAME]` follows one again" in told


def test_every_name_that_is_offered_for_a_reloaded_run_is_taken(nb, capsys):
    nb.here("%%compute -w\nprint('words')")
    group = nb.names["_compute"].task_group_id
    nb.here(f"%compute reload {group}")
    capsys.readouterr()
    run = nb.ip.magics_manager.registry["ComputeMagics"].runs[-1]
    assert run.cell == f"group-{group[:8]}"
    for name in (run.cell, run.handle, group, group[:13]):
        nb.here(f"%compute logs {name}")
        assert capsys.readouterr().out == "words\n"


def test_an_interrupt_before_the_names_are_bound_withdraws_it(nb, monkeypatch):
    from compute_nb.notebook.runs.pending import Outputs

    runs = []

    def interrupted(self, run):
        runs.append(run)
        raise KeyboardInterrupt

    monkeypatch.setattr(Outputs, "promise", interrupted)
    with pytest.raises(CellRefused, match="interrupted while submitting"):
        nb.here("%%compute -m i=range(3)\nimport time\ntime.sleep(600 + i)")
    assert all(future.cancelled() for future in runs[0].futures)


def test_reload_by_the_beginning_of_an_id_or_by_a_variable(nb, capsys):
    nb.here("%%compute -m s=[1, 0] -n first -o r\nr = 1 / s")
    nb.here("%compute wait")
    group_id = nb.names["first"].task_group_id
    nb.names["gid"] = group_id
    for given in (group_id[:23], "{gid}", "$gid"):
        nb.here(f"%compute reload {given} -n again")
        assert nb.names["again"].task_group_id == group_id
    assert nb.names["_compute"].points == [{"s": 1}, {"s": 0}]
    capsys.readouterr()
    nb.here("%compute reload $gid -o q")
    assert "on local: 1 of 2 done, 1 failed" in capsys.readouterr().out
    assert str(nb.names["q"][0]) == "the cell gave back no `q`"


def test_a_reload_elsewhere_says_that_outputs_are_not_bound(nb, capsys):
    nb.here("%%compute -o r -n first\nr = 5")
    group_id = nb.names["first"].task_group_id
    nb.here("%compute wait")
    program = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "ip = InteractiveShell.instance()\n"
        "ip.run_line_magic('load_ext', 'compute_nb')\n"
        f"ip.run_cell('%compute reload {group_id}')\n"
        f"ip.run_cell('%compute reload {group_id} -o r')\n"
        "ip.run_cell('print(r)')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"`%compute reload {group_id} -o NAME` binds them" in done.stderr
    assert done.stdout.splitlines()[-1] == "5"


def test_help_lists_options_and_subcommands(nb, capsys):
    for line in ("%compute --help", "%compute", "%compute help"):
        nb.here(line)
        shown = capsys.readouterr().out
        assert "--map NAME=EXPR" in shown
        assert "reload [GROUP]" in shown
    for kind in ("cell", "line"):
        documented = nb.ip.magics_manager.magics[kind]["compute"].__doc__
        assert "--map NAME=EXPR" in documented
        assert "::" not in documented


def test_help_fits_beside_an_open_side_bar_and_its_examples_are_true(nb, capsys):
    nb.here("%compute --help")
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 96
    lines = [line.split("   ")[0].strip() for line in shown.splitlines() if line.startswith("    %%compute")]
    assert len(lines) == 5
    for line in lines:
        read_cell(words(line.removeprefix("%%compute")))
    for name in SUBCOMMANDS:
        assert f"\n    {name}" in shown
    for action in parser()._actions:
        assert all(f"{option}" in shown for option in action.option_strings)


def test_help_on_one_subcommand_and_on_a_cell(nb, capsys):
    nb.here("%compute cancel --help")
    assert capsys.readouterr().out.startswith("%compute cancel NAME | --all ")
    nb.here("%%compute local --help\n1")
    assert "--map NAME=EXPR" in capsys.readouterr().out


def test_a_run_is_shown_again(nb, capsys):
    nb.here("%%compute -m k=[1, 0] -n g\nprint('k is', k)\n1 / k")
    nb.here("%compute wait")
    capsys.readouterr()
    nb.here("%compute show")
    assert capsys.readouterr().out == "g on local: 1 of 2 done, 1 failed\n"
    nb.here("%compute show g[0]")
    assert capsys.readouterr().out.startswith("g[0] k=1: done\nk is 1\n")
    nb.here("%compute show g[1]")
    assert "ZeroDivisionError" in (shown := capsys.readouterr().out)
    assert shown.startswith("g[1] k=0: failed\n")


def test_a_run_is_found_by_the_beginning_of_its_group(nb, capsys):
    nb.here("%%compute -m k=[1, 2] -n g\nprint(k)")
    nb.here("%compute wait")
    group_id = nb.names["g"].task_group_id
    capsys.readouterr()
    for named in (group_id, group_id[:23], f"{group_id[:23]}[0]"):
        nb.here(f"%compute logs {named}")
        assert "--- g[0] k=1\n1\n" in capsys.readouterr().out


def test_a_restart_gives_new_workers(nb, capsys):
    first = nb.here("%%compute local -w\nimport os\nos.getpid()")
    nb.here(f"gate = {_gate(nb)!r}")
    nb.here("%%compute -n f\nopen(gate).read()")
    with pytest.raises(CellRefused, match=r"f would lose what runs there.*`%compute restart local --force`"):
        nb.here("%compute restart local")
    _open(nb)
    nb.here("%compute wait")
    nb.here("%compute restart")
    assert "local starts again" in capsys.readouterr().out
    assert nb.here("%%compute local -w\nimport os\nos.getpid()") != first


def test_tables_of_tasks_endpoints_and_service(nb, capsys):
    nb.here("%%compute -n sims -w\n1")
    capsys.readouterr()
    nb.here("%compute tasks")
    told = capsys.readouterr().out
    head, first, *_ = told.splitlines()
    assert head.split()[:6] == ["cell", "name", "submitted", "endpoint", "tasks", "time"]
    assert re.search(r"\n +task group [0-9a-f-]{36}\n", told)
    assert "sims" in first
    assert "✓ 1 of 1 done" in first
    nb.here("%compute endpoints")
    head, first, below, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == ["endpoint", "state", "engine", "Python", "workers", "busy", "queued", "cores"]
    assert re.fullmatch(r" +free memory \S+ GiB, id [0-9a-f-]{36}", below)
    assert re.match(r"local \(default\)  ● online +processes +3\.\d", first)
    nb.here("%compute service")
    assert "endpoints  local (online)" in capsys.readouterr().out


def test_a_service_that_is_away_is_one_line_of_the_table(nb, capsys):
    home = Home.default()
    token = home.root / "lab.token"
    token.write_text("cnb_0123456789abcdef_" + "0" * 64)
    token.chmod(0o600)
    home.config_file.write_text(
        '[services.lab]\nurl = "http://127.0.0.1:1"\ntoken_file = "lab.token"\n'
        '[endpoints.gpu]\nservice = "lab"\nid = "11111111-2222-3333-4444-555555555555"\n'
    )
    try:
        nb.here("%compute endpoints")
        shown = capsys.readouterr().out
        assert "gpu" in shown
        assert "○ not reached" in shown
        assert (
            len([line for line in shown.splitlines() if line.startswith("▲ service 'lab' can't be asked:")])
            == 1
        )
        home.config_file.write_text("[services.lab\n")
        nb.here("%compute endpoints")
        assert "config.toml can't be read" in capsys.readouterr().out
    finally:
        home.config_file.unlink()


def test_nest_asyncio_is_refused_on_uvloop_and_applied_when_asked(tmp_path):
    program = (
        "import asyncio, sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "ip = InteractiveShell.instance()\n"
        "ip.run_line_magic('load_ext', 'compute_nb')\n"
        "assert 'nest_asyncio' not in sys.modules\n"
        "async def cell(source):\n"
        "    done = ip.run_cell(source)\n"
        "    return done.error_in_exec\n"
        "class Loop(asyncio.AbstractEventLoop):\n"
        "    __module__ = 'uvloop'\n"
        "asyncio._set_running_loop(Loop())\n"
        "ip.run_line_magic('config', 'ComputeMagics.nest_asyncio = True')\n"
        "assert not ip.magics_manager.registry['ComputeMagics'].nest_asyncio\n"
        "asyncio._set_running_loop(None)\n"
        "async def one(): return 1\n"
        "ip.user_ns['one'] = one\n"
        "ip.user_ns['asyncio'] = asyncio\n"
        "print(repr(asyncio.run(cell('asyncio.run(one())'))))\n"
        "async def both():\n"
        "    assert await cell('%config ComputeMagics.nest_asyncio = True') is None\n"
        "    return await cell('assert asyncio.run(one()) == 1')\n"
        "print(asyncio.run(both()))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ComputeMagics.nest_asyncio: this kernel's event loop is uvloop, which can't be" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "RuntimeError('asyncio.run() cannot be called from a running event loop')" in done.stdout
    assert done.stdout.splitlines()[-1] == "None"


def test_wait_all(nb):
    nb.here("%%compute -n f\n1")
    nb.here("%compute wait --all")
    assert nb.names["f"].done()


def test_a_persons_wait_starts_a_stopped_service(nb, tmp_path):
    gate = tmp_path / "gate"
    nb.here(
        f"%%compute -m s=range(40) -n g\nimport os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\ns"
    )
    service(Home.default(), "stop")
    assert not nb.names["g"].done()
    gate.touch()
    nb.here("%compute wait")
    assert nb.names["g"].done()


def test_an_outage_is_told_once_while_one_waits(nb, capsys):
    nb.here(f"gate = {_gate(nb)!r}")
    nb.here("%%compute -n f\nopen(gate).read()")
    run = nb.ip.magics_manager.registry["ComputeMagics"]._desk._runs.find("f").run
    asked = []

    def outage():
        asked.append(1)
        if len(asked) == 3:
            _open(nb)
        return "the service was stopped"

    run.outage = outage
    capsys.readouterr()
    nb.here("%compute wait f")
    assert capsys.readouterr().out == "f: the service was stopped\n"


def test_equal_tracebacks_are_told_once(nb, capsys):
    nb.here("%%compute -m k=range(12) -n g\nif k < 6:\n    {}[k]\nint('x' if k % 2 else '')")
    nb.here("%compute wait g")
    capsys.readouterr()
    nb.here("%compute tb g")
    shown = capsys.readouterr().out
    assert shown.count("Traceback") == 2
    assert "--- g: k=0, k=1, k=2 and 3 more\n" in shown
    nb.here("%compute tb g[7]")
    assert capsys.readouterr().out.startswith("--- g: k=7\n")


def test_long_logs_are_capped_and_running_ones_come_later(nb, capsys):
    nb.here("%%compute -n talk\nfor i in range(9000):\n    print(i)")
    nb.here("%compute wait")
    capsys.readouterr()
    nb.here("%compute logs talk")
    assert "`%compute logs talk --all` shows them" in (shown := capsys.readouterr().out)
    assert len(shown.splitlines()) == 201
    nb.here("%compute logs --all")
    assert len(capsys.readouterr().out.splitlines()) == 9000
    nb.here(f"gate = {_gate(nb)!r}")
    nb.here("%%compute -n f\nopen(gate).read()")
    nb.here("%compute logs f")
    assert "f: 1 of 1 still open; their text comes when they end" in capsys.readouterr().out
    nb.here("%compute tb")
    assert capsys.readouterr().out == "f: nothing has failed so far, 1 of 1 still open\n"
    _open(nb)
    nb.here("%compute wait")


def test_logs_show_what_running_tasks_have_printed_so_far(nb, capsys):
    nb.here(f"gate = {_gate(nb)!r}")
    nb.here("%%compute -n f\nimport os\nfor i in range(101): print(f'\\r{i}%', end='')\nopen(gate).read()")
    heard, future = threading.Event(), nb.names["f"]
    future.terms.ledger.listeners.append(lambda futures: futures[0].live_text and heard.set())
    assert future.live_text or heard.wait(60)
    capsys.readouterr()
    nb.here("%compute logs f")
    assert capsys.readouterr().out == "100%\nf: 1 of 1 still open; more text may come\n"
    _open(nb)
    nb.here("%compute wait")
    assert future.live_text == ""
    capsys.readouterr()
    nb.here("%compute logs f")
    assert capsys.readouterr().out == "100%\n"


def test_two_runs_of_one_name_can_be_told_apart(nb, capsys):
    nb.here(f"gate = {_gate(nb)!r}")
    nb.here("%%compute -n twice\nopen(gate).read()")
    earlier = nb.names["twice"]
    cell = f"In[{nb.ip.execution_count - 1}]"
    capsys.readouterr()
    nb.here("%%compute -n twice\n2")
    told = f"earlier run {cell}, 0 of 1 done, still going: `%compute cancel {cell}`"
    assert told in capsys.readouterr().err
    nb.here(f"%compute cancel {cell}")
    assert earlier.cancelled()
    assert nb.names["twice"].result(60) == 2


def test_a_cancelled_group_says_so(nb):
    nb.here("%%compute -m s=range(3) -n g\nimport time\ntime.sleep(600 + s)")
    nb.names["g"].cancel()
    with pytest.raises(CancelledError, match="3 of 3 cancelled"):
        nb.names["g"].result(60)


def test_a_name_that_hides_something_is_noted(nb, capsys):
    nb.here("import json")
    nb.here("%%compute -n json\n1")
    assert "`json` was the module `json`" in capsys.readouterr().err
    nb.here("%%compute -n json\n1")
    assert "json" not in capsys.readouterr().err
    nb.here("%%compute -n sum\n1")
    assert "hides Python's own `sum`" in capsys.readouterr().err


def test_errors_are_shown_without_our_own_frames(nb):
    nb.here("%%compute -m k=[1, 0] -n g\n1 / k")
    for source in ("g.result()", "g[1].result()"):
        with pytest.raises(ZeroDivisionError) as caught:
            nb.here(source)
        shown = "\n".join(caught.value._render_traceback_())
        assert "compute_nb" not in shown
        assert f"    {source}\n" in shown
        assert "    1 / k\n" in shown
    nb.here("%%compute -n f\nimport time\ntime.sleep(600)")
    with pytest.raises(TimeoutError, match=r"^f: task .* within 0\.333 s; it goes on") as caught:
        nb.names["f"].result(1 / 3)
    assert "compute_nb" not in "\n".join(caught.value._render_traceback_())
    assert repr(nb.names["f"]).startswith("<ComputeFuture f: task ")
    nb.here("%compute cancel f")


def test_a_worker_that_dies_is_told_in_short(nb):
    nb.here("%%compute -n f\nimport ctypes\nctypes.string_at(0)")
    with pytest.raises(WorkerDied) as caught:
        nb.names["f"].result(60)
    shown = caught.value._render_traceback_()[0]
    assert shown.count("WorkerDied") == 1
    assert shown.count("retries") == 2  # once for scripts, once for cells
    assert 'File "Cell In[' in shown
    assert "runner" not in shown
    assert repr(caught.value).startswith("WorkerDied('the worker (pid ")
    assert "\n" not in repr(caught.value)


def test_a_group_as_a_frame(nb):
    pandas = pytest.importorskip("pandas")
    nb.here("%%compute -m k=[1, 0] -n g\n1 / k")
    nb.here("%compute wait")
    frame = nb.names["g"].to_frame()
    assert list(frame["state"]) == ["done", "failed"]
    assert frame["error"][1] == "ZeroDivisionError('division by zero')"
    assert isinstance(frame["ended_at"].dtype, pandas.DatetimeTZDtype)
    assert (frame["duration_s"] >= 0).all()


def test_use_and_endpoints(nb, capsys):
    nb.here("%compute use local")
    nb.here("%compute endpoints")
    assert "local" in (text := capsys.readouterr().out)
    assert "online" in text


def test_with_a_seed_repeats_need_not_read_what_is_swept(nb):
    values = nb.here("%%compute --seed 3 -m rep=range(4) -w\nimport random\nrandom.random()")
    assert len({*values}) == 4


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("%%compute nowhere\n1", "endpoint 'nowhere'"),
        ("%%compute\nlock", r"`lock` \(a _thread.lock\) can't travel.*inside the cell"),
        ("%%compute\nfile.name", r"`file` .*can't travel.*open the file inside the cell"),
        ("%%compute\nlist(gen)", r"`gen` \(a generator\) can't travel.*send `list\(...\)` of it"),
        ("%%compute\nlen(big)", r"`big` \(a bytes, 12.0 MB\) is too large"),
        ("%%compute\n%time 1", r"line 1: `%time 1` is IPython's"),
        ("%%compute\nx = 1\n!ls", r"line 2: `!ls` is IPython's"),
        ("%%compute\nreturn 5", r"line 1: `return` works in a function only"),
        ("%%compute\nyield 5", r"line 1: `yield`"),
        ("%%compute\nawait f()", r"line 1: `await`"),
        ("%%compute\nfor x in", r"line 1: invalid syntax"),
        ("%%compute\n# nothing", r"no code"),
        ("%%compute\nlok", r"`lok` exists neither here nor in the cell, did you mean `lock`"),
        ("%%compute -o y\nx = 1", r"never binds `y`"),
        ("%%compute -m s=range(3)\n1", r"never reads `s`, so all tasks would be the same; .*`_ = s`"),
        (
            "%%compute -m s=range(3) -m t=[1]\nt",
            r"never reads `s`, so tasks that differ in `s` alone would be the same; .*`--seed 1`$",
        ),
        ("%%compute -m s='abc'\ns", r"is text"),
        ("%%compute -m s={'a': 1}\ns", r"is a dict"),
        ("%%compute -m s=nothing_here\ns", r"NameError"),
        ("%%compute -m s\ns", r"NAME=EXPR"),
        ("%%compute -n 1a\n1", r"no name that Python can bind"),
        ("%%compute -n s -m s=[1]\ns", r"stands twice"),
        ("%%compute -i nothere\n1", r"no `nothere` here"),
        ("%%compute --nonsense\n1", r"unrecognized.*`%compute --help`"),
        ("%%compute --retires 3\n1", r"`--retires`, did you mean `--retries`\?$"),
        ("%%compute local --Wait\n1", r"did you mean `--wait`\?$"),
        ("%%compute --dry_run\n1", r"did you mean `--dry-run`\?$"),
        ("%%compute -name sims\n1", r"`-name`, did you mean `--name`\?$"),
        ("%%compute -map s=[1]\ns", r"`-map`, did you mean `--map`\?$"),
        (
            "%%compute local wait\n1",
            r"`wait` has no place after the endpoint `local`, did you mean `--wait`\?$",
        ),
        (
            "%%compute local here\n1",
            r"`here` has no place after the endpoint `local`; a cell goes to one endpoint",
        ),
        ("%%compute locl\n1", r"endpoint 'locl'; did you mean 'local'\?"),
        ("%%compute endpoints\n1", r"`endpoints` is no endpoint but a line of its own: `%compute endpoints`"),
        ("%compute logs befor", r"called `befor`, did you mean `before`\?$"),
        ("%compute logs big", r"`big` is a bytes, nothing that was submitted here; `%compute tasks`"),
        ("%compute wait before[3]", r"before has 1 task"),
        ("%compute cancel 0123abcd", r"no task group of this kernel begins so"),
        ("%compute logs before --al", r"did you mean `--all`\?$"),
        ("%compute --wait", r"did you mean `wait`\?$"),
        ("%compute --xyz", r"options belong to a cell"),
        ("%compute use loca", r"did you mean 'local'\?"),
        ("%compute restart nowhere", r"endpoint 'nowhere'"),
        ("%compute login nowhere", r"no service is called 'nowhere'"),
        ("%%compute -m 's=[1'\ns", r"SyntaxError|not closed"),
        ("%%compute --retries -1\n1", r"retries"),
        ("%%compute --retries 1000000\n1", r"^`--retries 1000000`: a number from 0 to"),
        ("%compute nonsense", r"no such subcommand; there are"),
        ("%compute cancle", r"no such subcommand, did you mean `cancel`\?$"),
        ("%compute reload abc", r"UUID"),
        ("%compute reload 01234567", r"begins so"),
        ("%compute reload 01234567-0123-0123-0123-012345678912", r"knows no such task group"),
        ("%compute reload -n x", r"needs the id"),
        ("%%compute local --retry 5\n1", r"unrecognized option `--retry`, did you mean `--retries`\?"),
        ("%compute service stop", r"`!compute-nb service stop`"),
        ("%compute endpoints --foo", r"`--foo` means nothing to `endpoints`"),
        ("%compute tasks -v", r"`-v` means nothing"),
        ("%compute wait a b", r"`b` means nothing"),
        ("%compute cancel x --all", r"either `x` or `--all`"),
        ("%%compute -w --no-wait\n1", r"not allowed with"),
        ("%%compute --map s = range(4)\ns", r"`%%compute --map s=range\(4\)`"),
        ("%%compute -m s=4\ns", r"is an int"),
        ("%compute logs nobody", r"called `nobody`"),
    ],
)
def test_bad_input_is_one_line_and_costs_nothing(nb, capsys, cell, told):
    nb.here("%%compute -n before\n1")
    nb.here(
        "import threading\nlock = threading.Lock()\nfile = open('/dev/null')\ngen = (i for i in [1])\nbig = bytes(12_000_000)"
    )
    last = nb.names["_compute"]
    with pytest.raises(CellRefused, match=f"(?s){told}") as caught:
        nb.here(cell)
    nb.names["file"].close()
    assert nb.names["_compute"] is last
    shown = "\n".join(caught.value._render_traceback_())
    assert len(shown.splitlines()) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_a_lock_that_the_cell_may_do_without_stays_here(nb, capsys):
    nb.here(
        "import threading\nlock = threading.Lock()\nflag = False\ndef helper():\n    with lock:\n        return 1"
    )
    assert nb.here("%%compute -w\nif flag:\n    lock\nhelper if flag else 'ok'") == "ok"
    assert "`lock`" in capsys.readouterr().err


def test_a_name_like_a_secret_needs_i_elsewhere(nb):
    from compute_nb.notebook.body.cell import analyse
    from compute_nb.notebook.cargo.capture import capture

    nb.here("hub_token = 'abc'")
    body = analyse("hub_token")
    with pytest.raises(CellRefused, match=r"`-i hub_token`") as caught:
        capture(body, nb.notebook, guard_secrets=True)
    assert "abc" not in str(caught.value)
    assert capture(body, nb.notebook, inputs=["hub_token"], guard_secrets=True).names == ("hub_token",)
