"""`%compute retry` in a real shell (semantics 18): what was lost runs again in its places, names follow."""

import re
import threading
from concurrent.futures import as_completed

import pytest

from compute_nb.notebook.refusal import CellRefused
from compute_nb.notebook.runs.pending import OutputPending, Pending

LUCKY = (
    "import pathlib\n"
    "tries = pathlib.Path(folder, f'tries {k}')\n"
    "tries.touch()\n"
    "tries.write_text(tries.read_text() + 'x')\n"
    "if len(tries.read_text()) <= k: raise ValueError(f'not yet {k}')\n"
)


pytestmark = pytest.mark.usefixtures("home")


def test_each_failed_place_gets_a_new_future(nb, capsys):
    nb.here(f"%%compute -m k=[0,1,2] -n g\n{LUCKY}k * 10")
    group = nb.names["g"]
    before = list(group)
    kinds = [type(one).__name__ for one in group.result(60, return_exceptions=True)]
    assert kinds == ["int", "ValueError", "ValueError"]
    nb.here("%compute retry g")
    assert "g: 2 of 3 tasks sent again" in capsys.readouterr().out
    assert [now is then for now, then in zip(group, before, strict=True)] == [True, False, False]
    assert [type(one).__name__ for one in group.result(60, return_exceptions=True)][:2] == ["int", "int"]
    nb.here("%compute retry g[2]\n%compute wait g")
    assert group.result(60) == [0, 10, 20]
    assert {future.result() for future in as_completed(group)} == {0, 10, 20}
    assert [point["k"] for point in group.points] == [0, 1, 2]
    capsys.readouterr()
    nb.here("%compute retry g")
    assert "g: nothing has failed" in capsys.readouterr().out


def test_a_reload_has_one_future_for_each_place(nb):
    nb.here(f"%%compute -m k=[1,0] -n g\n{LUCKY}k")
    group = nb.names["g"]
    group.result(60, return_exceptions=True)
    nb.here("%compute retry g")
    assert group.result(60) == [1, 0]
    nb.here(f"%compute reload {group.task_group_id} -n again")
    assert nb.names["again"].result(60) == [1, 0]
    assert [one.task_id for one in nb.names["again"]] == [one.task_id for one in group]


def test_a_reloaded_group_is_retried_as_well(nb):
    nb.here(f"%%compute -m k=[1,0] -n g\n{LUCKY}k")
    group = nb.names["g"]
    group.result(60, return_exceptions=True)
    nb.here(f"%compute reload {group.task_group_id} -n again\n%compute retry again")
    assert nb.names["again"].result(60) == [1, 0]


def test_what_a_reload_without_a_name_says_to_type_works(nb, capsys):
    nb.here("%%compute -m k=[1] -n g\nraise ValueError(k)")
    nb.here("%compute wait g")
    group_id = nb.names["g"].task_group_id
    del nb.names["g"]
    capsys.readouterr()
    nb.here(f"%compute reload {group_id}\n%compute wait {group_id}")
    told = re.search(r"group-[0-9a-f]{8} .*`%compute tb ([\w-]+)`", capsys.readouterr().out)
    assert told is not None
    nb.here(f"%compute tb {told[1]}")
    assert "ValueError: 1" in capsys.readouterr().out


def test_the_name_of_one_task_means_its_new_future(nb):
    nb.here("k = 1\n%config ComputeMagics.retries = 0")
    nb.here(f"%%compute -n f -o tries\n{LUCKY}k")
    old = nb.names["f"]
    assert isinstance(old.exception(60), ValueError)
    with pytest.raises(ValueError, match="not yet 1"):
        nb.here("str(tries)")
    nb.here("%compute retry")
    assert nb.names["f"] is nb.names["_compute"] is not old
    assert nb.names["f"].result(60) == 1
    nb.here("%compute wait f")
    assert nb.names["tries"].name == "tries 1"


def test_outputs_of_a_sweep_are_pending_again(nb, tmp_path):
    nb.here(
        f"%%compute -m k=[0,1] -n g -o size\n{LUCKY}size = k + 5\nimport os.path, time\n"
        "while k and not os.path.exists(folder + '/gate'): time.sleep(0.02)"
    )
    nb.here("%compute wait g")
    assert nb.names["size"][0] == 5
    assert isinstance(nb.names["size"][1], ValueError)
    nb.here("%compute retry g")
    assert type(nb.names["size"]) is Pending
    with pytest.raises(OutputPending, match="is being computed"):
        nb.here("size[0]")
    (tmp_path / "gate").touch()
    nb.here("%compute wait g")
    assert nb.names["size"] == [5, 6]


def test_an_output_that_the_user_has_changed_is_left_alone(nb):
    nb.here(f"%%compute -m k=[0,1] -n g -o size\n{LUCKY}size = k + 5")
    nb.here("%compute wait g")
    nb.here("size = 'mine'")
    nb.here("%compute retry g\n%compute wait g")
    assert nb.names["size"] == "mine"
    assert nb.names["g"].result(60) == [None, None]


def test_what_was_cancelled_runs_again_and_waiters_wait_for_it(nb, tmp_path):
    nb.here(
        "%%compute -m k=[0,1] -n g\nimport os.path, time\n"
        "while k and not os.path.exists(folder + '/gate'): time.sleep(0.02)\nk"
    )
    group = nb.names["g"]
    group[0].result(60)
    nb.here("%compute cancel g")
    nb.here("%compute retry g")
    found = []
    waiter = threading.Thread(target=lambda: found.append(group.result(60)))
    waiter.start()
    (tmp_path / "gate").touch()
    waiter.join(60)
    assert found == [[0, 1]]


def test_the_run_is_open_again_for_its_listeners(nb):
    nb.here(f"%%compute -m k=[1] -n g\n{LUCKY}k")
    nb.names["g"].result(60, return_exceptions=True)
    desk = nb.ip.magics_manager.registry["ComputeMagics"]._desk
    run = desk._runs.all[-1]
    assert run.ended
    seen = []
    run.on_reopen.append(lambda: seen.append(run.futures[0].id))
    assert run.retry(None) == 1
    assert seen == [nb.names["g"][0].id]
    assert nb.names["g"].result(60) == [1]
    assert (run.ended, run.snapshot().state, run.retry(None)) == (True, "done", 0)


def test_a_line_that_names_nothing(nb):
    with pytest.raises(CellRefused, match="is called `nobody`"):
        nb.here("%compute retry nobody")
