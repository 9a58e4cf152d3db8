"""Each task finds the process as the first one did."""

from __future__ import annotations

import os
import sys
from uuid import uuid4

import pytest

IDENTITY = "def same(x):\n    return x\n"


def test_a_task_finds_the_process_as_the_first_one_did(rigs):
    rig = rigs(workers=1)
    look = (
        "def look():\n    import os, sys\n    here = os.getcwd(), list(sys.path), list(sys.argv)\n"
        "    env = {k: v for k, v in os.environ.items() if not k.startswith('GC_')}\n"
        "    return here + (env, sys.stdout is sys.__stdout__)\n"
    )
    spoil = (
        "def spoil():\n    import io, os, signal, sys\n    os.makedirs('deep', exist_ok=True)\n"
        "    os.chdir('deep')\n    sys.path.insert(0, '/x')\n    sys.argv.append('y')\n"
        "    os.environ['NEW'] = '1'\n    del os.environ['PATH']\n    sys.stdout = io.StringIO()\n"
        "    signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    )
    before = rig.call(look)
    rig.call(spoil)
    assert rig.call(look) == before
    assert before[0] == str(rig.folder)
    assert before[4] is True


def test_a_task_knows_its_id_and_has_no_input(shared):
    source = (
        "def ids():\n    import os\n    try:\n        input()\n    except EOFError:\n        end = 'end'\n"
        "    return os.environ['GC_TASK_UUID'], os.environ['GC_TASK_SANDBOX_DIR'], end\n"
    )
    (number,) = shared.submit(source)
    task_id, sandbox, end = shared.values([number])[0]
    assert task_id == str(shared.ended[number].run.task_id)
    assert sandbox == str(shared.folder / task_id)
    assert end == "end"


def test_a_task_with_a_folder_of_its_own_gets_no_sandbox_to_enter(rigs, tmp_path):
    rig = rigs(workers=1)
    source = (
        "def ids():\n    import os, subprocess\n"
        "    names = 'GC_TASK_SANDBOX_DIR', 'COMPUTE_NB_TASK_DIR'\n"
        "    seen = subprocess.run('env', stdout=subprocess.PIPE).stdout.decode()\n"
        "    return [name for name in names if name in os.environ and name + '=' in seen]\n"
    )
    spoil = "def spoil():\n    import os\n    os.environ['NEW'] = '1'\n"
    at_home = {"context": {"cwd": str(tmp_path), "sys_path": []}}
    assert rig.call(source) == ["GC_TASK_SANDBOX_DIR"]
    assert rig.call(source, **at_home) == ["COMPUTE_NB_TASK_DIR"]
    rig.call(spoil, **at_home)
    assert rig.call(source) == ["GC_TASK_SANDBOX_DIR"]


def test_a_seed_does_not_last_and_workers_do_not_share_one(rigs):
    rig = rigs(workers=2)
    source = "def draw():\n    import random\n    x = random.random()\n    random.seed(7)\n    return x\n"
    draws = rig.values(rig.submit(source, *[((), {})] * 30))
    assert len(set(draws)) == 30


def test_the_seed_of_numpy_does_not_last(rigs):
    pytest.importorskip("numpy")
    rig = rigs(workers=1)
    source = (
        "def draw():\n    import numpy.random as r\n    x = r.random()\n    r.seed(7)\n    return float(x)\n"
    )
    draws = rig.values(rig.submit(source, *[((), {})] * 4))
    assert len(set(draws[1:])) == 3
    assert 0.07630828937395717 not in draws  # the first of seed 7


def test_a_missing_folder_is_named(shared):
    text = shared.failure(IDENTITY, 1, context={"cwd": "/nowhere/at all"}).data
    assert "FileNotFoundError" in text
    assert "/nowhere/at all" in text
    assert sys.executable in text


def test_what_a_task_binds_anew_is_bound_back(rigs):
    rig = rigs(workers=1)
    look = "def look():\n    import os, sys\n    return type(os.environ).__name__, sys.path, sys.argv\n"
    before = rig.call(look)
    rig.call("def spoil():\n    import os, sys\n    os.environ, sys.path, sys.argv = {}, (), ()\n")
    assert rig.call(look) == before


def test_a_module_of_the_user_that_is_called_random_is_left_alone(rigs, tmp_path):
    rig = rigs(workers=1)
    (tmp_path / "random.py").write_text("def choice():\n    return 4\n")
    source = (
        "def choose():\n    import sys\n    sys.modules.pop('random', None)\n"
        "    import random\n    return random.choice()\n"
    )
    context = {"cwd": str(tmp_path), "sys_path": [str(tmp_path)]}
    assert [rig.call(source, context=context) for _ in range(2)] == [4, 4]


CHILD = (
    "def child(*spoilt):\n    import os, subprocess\n"
    "    seen = subprocess.run(['env'], capture_output=True, text=True).stdout.splitlines()\n"
    "    own = {k: v for k, v in os.environ.items() if k.startswith('GC_')}\n"
    "    for name in spoilt:\n        os.environ.pop(name)\n        os.environ[name] = 'spoilt'\n"
    "    os.unsetenv('GC_TASK_UUID')\n"
    "    return own, dict(line.split('=', 1) for line in seen if line.startswith('GC_'))\n"
)


def test_what_a_task_starts_knows_its_id_whatever_the_task_before_did(rigs):
    rig = rigs(workers=1)
    seen = [rig.call(CHILD, *spoilt) for spoilt in ((), ("GC_TASK_UUID", "GC_TASK_SANDBOX_DIR"), ())]
    assert len({own["GC_TASK_UUID"] for own, _ in seen}) == 3
    assert all(own == childs for own, childs in seen)


def test_the_id_of_a_task_costs_no_memory(rigs):
    rig = rigs(workers=1)
    source = (
        "def resident():\n    with open('/proc/self/statm') as file:\n"
        "        return int(file.read().split()[1]) * 4096\n"
    )
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("no /proc: not on this platform")
    function = uuid4()
    rig.values(rig.submit(source, *[((), {})] * 4_000, function=function))
    before, *_, after = rig.values(rig.submit(source, *[((), {})] * 8_000, function=function))
    assert after - before < 500_000
