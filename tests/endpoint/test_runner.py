"""What a task finds on its worker, and what its value or error becomes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
import zlib
from pathlib import Path
from uuid import uuid4

import dill
import pytest

from compute_nb.endpoint import runner
from compute_nb.endpoint.agent import about_python, lend_dill
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.serialize.strategy import known
from compute_nb.wire import pack_buffers

IDENTITY = "def same(x):\n    return x\n"


def fact_of(text: str) -> dict:
    last = text.rsplit("\n", 1)[-1]
    assert last.startswith("compute_nb:1:")
    return json.loads(zlib.decompress(base64.b64decode(last[len("compute_nb:1:") :])))


def others() -> list[str]:
    """Other interpreters on this machine, by path."""
    found = [shutil.which(f"python3.{minor}") for minor in range(8, 15)]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found += [str(path) for path in sorted(root.glob("versions/3.*/bin/python"))]
    mine = f"{sys.version_info[0]}.{sys.version_info[1]}."
    working = {}
    for path in found:
        about = about_python(path) if path else {}
        version = tuple(int(part) for part in about.get("python", "0.0.0").split("."))
        if version >= (3, 8) and not about["python"].startswith(mine):
            working[version[:2]] = path
    oldest_and_newest = sorted(working)[:1] + sorted(working)[-2:]
    return [working[version] for version in sorted(set(oldest_and_newest))]


# --- surroundings --------------------------------------------------------------------------


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


def test_no_name_outlives_a_task(shared):
    source = (
        "kept = []\ndef grow():\n    global more\n    kept.append(1)\n    more = 1\n    return len(kept)\n"
    )
    code = pack_buffers([f"st\ngrow:{source}"])
    assert shared.values(shared.submit(code, *[((), {})] * 5)) == [1] * 5


def test_a_pickled_function_has_its_own_state_for_each_task(shared):
    def grow(kept=[]):  # noqa: B006
        kept.append(1)
        return len(kept)

    code = pack_buffers([ComputeSerializer().serialize(grow)])
    assert shared.values(shared.submit(code, *[((), {})] * 4)) == [1] * 4


def test_context_gives_folder_and_path_and_a_changed_module_is_read_again(rigs, tmp_path):
    rig = rigs(workers=1)
    project, library = tmp_path / "project", tmp_path / "library"
    project.mkdir()
    library.mkdir()
    (library / "far.py").write_text("NAME = 'far'\n")
    helper = project / "helper.py"
    helper.write_text("X = 1\n")
    source = "def use():\n    import os, far, helper\n    return os.getcwd(), far.NAME, helper.X\n"
    context = {"cwd": str(project), "sys_path": [str(project), str(library)]}
    assert rig.call(source, context=context) == (str(project), "far", 1)
    helper.write_text("X = 22\n")
    assert rig.call(source, context=context) == (str(project), "far", 22)
    edit = (
        "def edit():\n    import helper\n    open('helper.py', 'w').write('X = 333\\n')\n"
        "    return helper.X\n"
    )
    assert rig.call(edit, context=context) == 22
    assert rig.call(source, context=context) == (str(project), "far", 333)
    assert sorted(os.listdir(project)) == ["helper.py"]
    assert "ModuleNotFoundError" in rig.failure("def use():\n    import nowhere_here\n").data


def test_a_missing_folder_is_named(shared):
    text = shared.failure(IDENTITY, 1, context={"cwd": "/nowhere/at all"}).data
    assert "FileNotFoundError" in text
    assert "/nowhere/at all" in text
    assert sys.executable in text


def test_printed_text_goes_to_the_log(rigs):
    rig = rigs(workers=1)
    rig.call("def talk():\n    import os\n    print('so it is')\n    os.system('echo from a child')\n")
    rig.engine.stop()
    rig.stop = lambda: None
    log = (rig.folder / "worker-0.log").read_text()
    assert "so it is" in log
    assert "from a child" in log


# --- errors --------------------------------------------------------------------------------


def test_an_error_shows_the_frames_of_the_code_with_their_lines_and_none_of_the_runner(shared):
    source = "def outer(x):\n    return inner(x)\n\ndef inner(x):\n    return 1 / x\n"
    result = shared.failure(source, 0)
    assert result.error_code == "RemoteExecutionError"
    text = result.data.rsplit("\n", 1)[0]
    assert text.splitlines()[0] == "Traceback (most recent call last):"
    assert 'File "<outer>", line 2, in outer' in text
    assert "return inner(x)" in text
    assert 'File "<outer>", line 5, in inner' in text
    assert text.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert "runner.py" not in text
    fact = fact_of(result.data)
    assert (fact["type"], fact["module"]) == ("ZeroDivisionError", "builtins")
    assert fact["message"] == "division by zero"
    assert isinstance(ComputeSerializer().deserialize(fact["exception"]), ZeroDivisionError)


@pytest.mark.parametrize(
    ("statement", "kind", "words"),
    [
        ("raise SystemExit(3)", "SystemExit", "exit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", "KeyboardInterrupt"),
        ("open('no such')", "FileNotFoundError", "with "),
        ("raise type('Odd', (Exception,), {'__str__': None})()", "Odd", "Odd"),
        ("raise ValueError('\\udc80')", "ValueError", "\\udc80"),
        ("raise ValueError('x' * 3_000_000)", "ValueError", "left out"),
    ],
)
def test_whatever_is_raised_becomes_text(shared, statement, kind, words):
    result = shared.failure(f"def fail():\n    {statement}\n")
    assert result.error_code == "RemoteExecutionError"
    assert words in result.data
    assert fact_of(result.data)["type"] == kind
    result.data.encode()


def test_an_exception_that_can_not_travel_has_no_buffer(shared):
    source = "def fail():\n    raise ValueError(i for i in [])\n"
    assert fact_of(shared.failure(source).data)["exception"] is None


def test_a_text_with_a_tail_of_its_own_is_passed_on(shared):
    text = "what the cell says\ncompute_nb:1:abc"
    source = f"def fail():\n    raise RuntimeError({text!r})\n"
    assert shared.failure(source).data == text


def test_a_value_that_can_not_be_sent_names_its_type_and_what_to_do(shared):
    text = shared.failure("def lock():\n    import threading\n    return (i for i in [])\n").data
    assert "builtins.generator" in text
    assert "Return plain data" in text


def test_a_value_that_is_too_large_is_refused_by_the_worker(shared):
    result = shared.failure("def large():\n    return b'x' * 9_000_000\n")
    assert result.error_code == "MaxResultSizeExceeded"
    assert "10,485,760" in result.data
    assert "return the path" in result.data


@pytest.mark.parametrize(
    "code", ["2\nst", "5\nst\nf:", pack_buffers(["zz\nwhat"]), pack_buffers(["01\nAAAA"])]
)
def test_code_that_can_not_be_read_fails_its_task(shared, code):
    assert shared.results(shared.submit(code, function=uuid4()))[0].error_code == "RemoteExecutionError"


# --- strategies ----------------------------------------------------------------------------


def test_result_serializers_are_used_in_order(shared):
    json_first = ["globus_compute_sdk.serialize.concretes.JSONData", "compute_nb.DillDataBase64"]
    numbers = shared.submit(IDENTITY, [1, 2], {3}, result_serializers=json_first)
    shared.results(numbers)
    assert [shared.ended[number].data[:2] for number in numbers] == ["11", "00"]


def test_a_strategy_that_is_unknown_or_unfit_is_told(shared):
    names = ["compute_nb.DillCode", "somewhere.Else"]
    text = shared.failure(IDENTITY, 1, result_serializers=names).data
    assert "compute_nb.DillCode: not for data" in text
    assert "somewhere.Else: this worker knows no such strategy" in text


def test_a_function_comes_back_as_code(shared):
    assert shared.call("def make():\n    return lambda x: x + 1\n")(4) == 5


@pytest.mark.parametrize("name", sorted(runner.WRITERS))
def test_what_each_strategy_writes_is_read_by_runner_and_client(name):
    for_code, _ = runner.WRITERS[name]
    value = others if for_code else {"a": [1, 2.5, None], "b": "ü"}
    buffer = runner.dump(value, [name])
    readers = [runner.load]
    if buffer[:3] in {strategy.identifier for strategy in known()}:
        readers.append(ComputeSerializer().deserialize)
    for read in readers:
        back = read(buffer)
        assert callable(back) if for_code else back == value


@pytest.mark.parametrize(
    "value", [1, "ü" * 100, b"\0" * 300, (1, [2], {"a": {3}}), 2.5, None, frozenset({1}), Path("/tmp")]
)
def test_plain_values_are_pickled_as_dill_does(value):
    assert runner.loads(runner.dumps(value)) == value
    assert dill.loads(runner.dumps(value)) == value
    assert runner.loads(dill.dumps(value)) == value


def test_an_instance_of_a_class_that_was_made_here_travels_by_value():
    class Local:
        x = 5

    Local.__module__, Local.__qualname__ = "__main__", "Local"
    raw = runner.dumps([Local()])
    assert b"dill" in raw
    assert runner.loads(raw)[0].x == 5


# --- other interpreters --------------------------------------------------------------------


def test_other_pythons_are_workers_too(rigs, tmp_path):
    pythons = others()
    if not pythons:
        pytest.skip("no other Python is installed")
    for python in pythons:
        about = about_python(python)
        packages = None if about["dill"] else lend_dill(tmp_path / "packages")
        rig = rigs(workers=1, python=python, packages=packages)
        source = "def which(x):\n    import sys\n    return sys.version_info[:2], x\n"
        version, value = rig.call(source, [1, {"a": 2}])
        assert about["python"].startswith("{}.{}.".format(*version))
        assert value == [1, {"a": 2}]
        assert fact_of(rig.failure("def fail():\n    raise KeyError('k')\n").data)["type"] == "KeyError"
        made = rig.failure("def make():\n    return (i for i in [])\n").data
        assert "generator" in made
