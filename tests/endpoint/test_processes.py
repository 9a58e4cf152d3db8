"""The process engine with real workers and real signals."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from forgery import FORGE

from compute_nb.endpoint.engines import fleet
from compute_nb.endpoint.slots import MAX_CHUNK
from compute_nb.tasks import Outcome

WAIT_S = 60
PID = "def pid():\n    import os\n    return os.getpid()\n"
IDENTITY = "def same(x):\n    return x\n"
UNTIL = (
    "def wait(x):\n    import os, time\n"
    "    while not os.path.exists(x):\n        time.sleep(0.002)\n    return x\n"
)
SLEEP = "def nap(x):\n    import time\n    time.sleep(x)\n    return x\n"


def test_a_function_gets_its_arguments_and_gives_its_value(shared):
    source = "def area(r, *, scale=1):\n    return {'area': 3 * r * r * scale}\n"
    (number,) = shared.submit(source, ((2,), {"scale": 10}))
    assert shared.values([number]) == [{"area": 120}]
    result = shared.ended[number]
    assert result.error_code is None
    assert result.started_at <= result.ended_at


def test_many_short_tasks_all_come_back(shared):
    numbers = shared.submit(IDENTITY, *range(1000))
    assert shared.values(numbers) == list(range(1000))


def test_large_arguments_and_results_pass_the_pipes(shared):
    numbers = shared.submit(IDENTITY, *[str(i) * 400_000 for i in range(6)])
    assert [len(value) for value in shared.values(numbers)] == [400_000] * 6


@pytest.mark.parametrize(
    ("death", "words"),
    [
        ("os._exit(3)", "ended with exit code 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", r"killed by signal 9 \(SIGKILL\).*memory"),
        ("ctypes.string_at(0)", r"killed by signal 11 \(SIGSEGV\)(.|\n)*ctypes"),
    ],
)
def test_a_worker_that_dies_fails_its_task_only_and_the_pool_heals(shared, death, words):
    source = f"def die():\n    import ctypes, os, signal\n    {death}\n"
    result = shared.failure(source)
    assert result.outcome is Outcome.DIED
    assert result.error_code == "WorkerDied"
    import re

    assert re.search(words, result.data)
    assert re.search(r"worker \(pid \d+\)", result.data)
    assert "retries=1" in result.data
    assert shared.values(shared.submit(IDENTITY, *range(20))) == list(range(20))


def test_of_many_threads_the_one_that_failed_is_shown(shared):
    source = (
        "def die():\n    import ctypes, threading\n    gate = threading.Event()\n"
        "    def bystander():\n        gate.wait()\n"
        "    for _ in range(5):\n        threading.Thread(target=bystander, daemon=True).start()\n"
        "    ctypes.string_at(0)\n"
    )
    _, _, where = shared.failure(source).data.partition("it was at (innermost first):\n")
    assert "ctypes" in where.splitlines()[0]
    assert "in die" in where
    assert "bystander" not in where


def test_of_a_chunk_whose_worker_dies_only_the_begun_task_is_lost(shared, tmp_path):
    source = (
        "def note(path, i):\n    import os\n"
        "    with open(path, 'a') as file:\n        file.write(f'{i}\\n')\n"
        "    if i == 77:\n        os._exit(1)\n    return i\n"
    )
    path = str(tmp_path / "begun")
    numbers = shared.submit(source, *[((path, i), {}) for i in range(150)])
    results = shared.results(numbers)
    died = [i for i, result in enumerate(results) if result.outcome is Outcome.DIED]
    assert died == [77]
    begun = [int(line) for line in Path(path).read_text().split()]
    assert sorted(begun) == list(range(150))


def test_a_process_that_a_task_has_started_dies_with_its_worker(shared):
    source = (
        "def start():\n    import os, subprocess\n"
        "    child = subprocess.Popen(['sleep', '60'])\n"
        "    with open('child', 'w') as file:\n        file.write(str(child.pid))\n"
        "    os._exit(1)\n"
    )
    assert shared.failure(source).outcome is Outcome.DIED
    psutil.wait_procs(_processes(int((shared.folder / "child").read_text())), timeout=WAIT_S)
    assert not _processes(int((shared.folder / "child").read_text()))


def _processes(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [] if process.status() == psutil.STATUS_ZOMBIE else [process]
    except psutil.NoSuchProcess:
        return []


def test_a_worker_that_writes_nonsense_to_its_pipe_fails_its_task_only(shared):
    source = (
        "def scribble():\n    import os, time\n    for fd in range(3, 20):\n"
        "        try:\n            os.write(fd, b'\\xff' * 100)\n        except OSError:\n            pass\n"
        "    time.sleep(20)\n"
    )
    assert shared.failure(source).outcome is Outcome.DIED
    assert shared.call(IDENTITY, 1) == 1


@pytest.mark.parametrize(
    "text", ['[1, -1, true, "", null, 1.0, 1.0]', "[1, 0]", "[[], {}]", "{}", "[" * 100_000]
)
def test_a_worker_that_tells_ends_that_are_none_fails_its_task_only(shared, text):
    assert shared.failure(FORGE, text).outcome is Outcome.DIED
    assert shared.call(IDENTITY, 1) == 1


def test_a_child_that_returns_from_a_fork_gives_no_second_result(shared):
    source = "def fork():\n    import os\n    return os.fork() == 0\n"
    assert shared.call(source) is False
    assert shared.call(IDENTITY, 5) == 5


def test_a_child_that_fails_after_a_fork_says_so(shared):
    source = (
        "def fork():\n    import os\n    child = os.fork()\n    if not child:\n        1 / 0\n"
        "    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
    )
    assert shared.call(source) == 1


# --- being ended ---------------------------------------------------------------------------


def test_a_waiting_task_is_cancelled_at_once(rigs, tmp_path):
    rig = rigs(workers=1)
    gate = tmp_path / "gate"
    (running,) = rig.submit(UNTIL, str(gate))
    waiting = rig.submit(IDENTITY, 1, 2, 3)
    rig.engine.cancel(waiting[:2])
    assert [r.outcome for r in rig.results(waiting[:2])] == [Outcome.CANCELLED] * 2
    assert rig.results(waiting[:2])[0].error_code == "TaskCancelled"
    assert running not in rig.ended
    gate.touch()
    assert rig.values([running, waiting[2]]) == [str(gate), 3]


def test_a_running_task_is_interrupted_and_its_worker_goes_on(rigs):
    rig = rigs(workers=1)
    pid = rig.call(PID)
    (number,) = rig.submit(SLEEP, 30)
    rig.pump(lambda: number in rig.begun)
    rig.engine.cancel([number])
    (result,) = rig.results([number])
    assert result.outcome is Outcome.CANCELLED
    assert rig.call(PID) == pid


def test_an_import_that_was_cut_short_hurts_no_later_task(rigs):
    rig = rigs(workers=1)
    package = rig.folder / "slowpack"
    package.mkdir()
    (package / "__init__.py").write_text("from .part import value\nimport loiter\n")
    (package / "part.py").write_text("value = 7\n")
    (rig.folder / "loiter.py").write_text(
        "import os, time\nif not os.path.exists('once'):\n    open('once', 'w').close()\n    time.sleep(60)\n"
    )
    source = "def read():\n    import slowpack\n    return slowpack.part.value\n"
    here = {"context": {"cwd": str(rig.folder), "sys_path": [str(rig.folder)]}}
    (number,) = rig.submit(source, **here)
    rig.pump(lambda: number in rig.begun)
    while not (rig.folder / "once").exists():  # the import itself is what is to be cut short
        os.sched_yield()
    rig.engine.cancel([number])
    assert rig.results([number])[0].outcome is Outcome.CANCELLED
    assert rig.values(rig.submit(source, *[((), {})] * 3, **here)) == [7, 7, 7]


def test_a_task_that_ignores_its_interrupt_is_killed_with_its_children(rigs):
    rig = rigs(workers=1, kill_s=0.2)
    source = (
        "def stay(path):\n    import signal, subprocess\n    signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "    child = subprocess.Popen(['sleep', '60'])\n"
        "    open(path, 'w').write(str(child.pid))\n    child.wait()\n"
    )
    os.mkfifo(rig.folder / "child")
    (number,) = rig.submit(source, str(rig.folder / "child"))
    child = int((rig.folder / "child").read_text())
    rig.engine.cancel([number])
    assert rig.results([number])[0].outcome is Outcome.CANCELLED
    psutil.wait_procs(_processes(child), timeout=WAIT_S)
    assert rig.call(IDENTITY, 2) == 2


def test_cancelling_one_of_a_chunk_leaves_the_others_their_values(rigs, tmp_path):
    rig = rigs(workers=1)
    source = (
        "def maybe(x, path):\n    import time\n    if x == 5:\n        open(path, 'w').close()\n"
        "        time.sleep(30)\n    return x\n"
    )
    path = str(tmp_path / "there")
    function = uuid4()
    rig.values(rig.submit(source, *[((0, path), {})] * 200, function=function))
    numbers = rig.submit(source, *[((x, path), {}) for x in range(60)], function=function)
    rig.pump(lambda: numbers[5] in rig.begun)
    rig.engine.cancel([numbers[5], numbers[40]])
    results = rig.results(numbers)
    cancelled = {i for i, result in enumerate(results) if result.outcome is Outcome.CANCELLED}
    assert cancelled in ({5, 40}, {5})  # 40 may have ended before
    assert all(r.outcome is Outcome.SUCCESS for i, r in enumerate(results) if i not in cancelled)


def test_a_task_has_its_walltime_and_no_more(shared):
    result = shared.failure(SLEEP, 30, walltime_s=0.2)
    assert result.outcome is Outcome.ERROR
    assert result.error_code == "WalltimeExceeded"
    assert "0.2 s" in result.data
    assert shared.call(SLEEP, 0, walltime_s=60) == 0


# --- sharing -------------------------------------------------------------------------------


def test_a_long_task_does_not_keep_the_short_ones_behind_it(shared, tmp_path):
    """The first of a chunk waits for the last of all, which therefore must run elsewhere."""
    source = (
        "def link(x, path):\n    import os, time\n    if x == 'last':\n        open(path, 'w').close()\n"
        "    while x == 'first' and not os.path.exists(path):\n        time.sleep(0.001)\n    return x\n"
    )
    path, function = str(tmp_path / "last"), uuid4()
    shared.values(shared.submit(source, *[((0, path), {})] * 300, function=function))
    calls = ["first", *range(MAX_CHUNK), "last"]
    numbers = shared.submit(source, *[((x, path), {}) for x in calls], function=function)
    assert shared.values(numbers) == calls


def test_groups_take_turns(rigs, tmp_path):
    rig = rigs(workers=1)
    gate = tmp_path / "gate"
    rig.submit(UNTIL, str(gate))
    sweep = rig.submit(SLEEP, *[0.02] * 40)
    lone = rig.submit(IDENTITY, 1)
    gate.touch()
    rig.results(sweep + lone)
    assert rig.order.index(lone[0]) < 10


def test_work_stops_growing_while_nothing_is_journalled(rigs):
    """A record is used again only after the ends of its chunk are settled."""
    rig = rigs(workers=1)
    rig.call(IDENTITY, 0)
    rig.settles = False
    numbers = rig.submit(IDENTITY, *range(10), walltime_s=60)
    rig.pump(lambda: len(set(numbers) & set(rig.ended)) == 2)
    rig.bell.wait(0.1)  # it may ring once more for what was taken with the news before
    news = rig.engine.take()
    assert not news.ended
    rig.settles = True
    rig.engine.settle(news.serial)
    assert rig.values(numbers) == list(range(10))


# --- workers come and go -------------------------------------------------------------------


def test_idle_workers_end_and_come_back(rigs):
    rig = rigs(workers=2, idle_s=0.1)
    pid = rig.call(PID)
    psutil.wait_procs(_processes(pid), timeout=WAIT_S)
    assert rig.call(PID) != pid


def test_stop_leaves_no_process(rigs):
    rig = rigs(workers=2)
    pids = set(rig.values(rig.submit(PID, *[((), {})] * 8)))
    rig.submit(SLEEP, 30)
    rig.engine.stop()
    rig.stop = lambda: None
    assert not [process for pid in pids for process in _processes(pid)]


def test_a_missing_interpreter_fails_tasks_with_its_name(rigs):
    rig = rigs(python="/nowhere/python3")
    result = rig.failure(IDENTITY, 1)
    assert result.outcome is Outcome.ERROR
    assert "/nowhere/python3" in result.data
    assert "No such file" in result.data


def test_an_interpreter_that_can_not_start_fails_tasks_with_its_last_words(rigs, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no such library >&2\nexit 7\n")
    python.chmod(0o755)
    result = rigs(python=str(python)).failure(IDENTITY, 1)
    assert "exit code 7" in result.data
    assert "no such library" in result.data


def test_a_resource_specification_is_refused(shared):
    result = shared.failure(IDENTITY, 1, resource_specification={"num_nodes": 2})
    assert "num_nodes" in result.data
    assert shared.call(IDENTITY, 1, resource_specification={}) == 1


def test_workers_end_with_the_engine_that_started_them(tmp_path):
    """The engine's process is killed; PR_SET_PDEATHSIG or the end of the pipe ends its workers."""
    import subprocess
    import sys

    script = tmp_path / "host.py"
    script.write_text(
        "import os, sys, threading, uuid\nfrom pathlib import Path\n"
        "from compute_nb.endpoint.engines.processes import ProcessEngine\n"
        "from compute_nb.endpoint.engines.worker import WorkerPlan\n"
        "from compute_nb.endpoint.engine import EngineBatch, EngineTask\n"
        "from compute_nb.tasks import Run, new_id\nfrom compute_nb.wire import pack_buffers\n"
        "folder = Path(sys.argv[1])\n"
        "plan = WorkerPlan(sys.executable, folder, folder, None, dict(os.environ))\n"
        "engine = ProcessEngine(plan, folder / 'slots', uuid.uuid4(), 1)\nbell = threading.Event()\n"
        "engine.start(bell.set)\n"
        "code = pack_buffers(['st\\nf:def f():\\n    import os, time\\n"
        '    print(os.getpid(), file=open("pid", "w"))\\n    time.sleep(60)\\n\'])\n'
        "args = pack_buffers(['11\\n[]', '11\\n{}'])\n"
        "task = EngineTask(1, Run(new_id(), 0), args)\n"
        "engine.submit([EngineBatch(uuid.uuid4(), uuid.uuid4(), code, {}, (task,))])\n"
        "bell.wait()\nprint('begun', flush=True)\nsys.stdin.read()\n"
    )
    os.mkfifo(tmp_path / "pid")
    host = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert host.stdout.readline() == b"begun\n"
    pid = int((tmp_path / "pid").read_text())
    assert _processes(pid)
    host.send_signal(signal.SIGKILL)
    host.wait()
    host.stdin.close()
    host.stdout.close()
    psutil.wait_procs(_processes(pid), timeout=WAIT_S)
    assert not _processes(pid)
    assert os.path.exists(tmp_path / "slots")


def test_a_thread_that_a_task_left_does_not_keep_an_idle_worker(rigs, monkeypatch):
    monkeypatch.setattr("compute_nb.endpoint.engines.fleet.EXIT_S", 3600.0)  # nobody kills it
    rig = rigs(workers=1, idle_s=0.1)
    source = (
        "def leave():\n    import os, threading\n"
        "    threading.Thread(target=threading.Event().wait).start()\n    return os.getpid()\n"
    )
    _, alive = psutil.wait_procs(_processes(rig.call(source)), timeout=WAIT_S)
    assert not alive


def test_a_worker_that_does_not_end_when_it_is_idle_is_killed(rigs):
    rig = rigs(workers=1, idle_s=0.1)
    source = (
        "def stop():\n    import os, subprocess\n"
        "    subprocess.Popen(['sh', '-c', f'sleep 0.05; kill -STOP {os.getpid()}'])\n"
        "    return os.getpid()\n"
    )
    _, alive = psutil.wait_procs(_processes(rig.call(source)), timeout=WAIT_S)
    assert not alive


def test_walltimes_of_tasks_that_have_ended_keep_nothing(rigs):
    rig = rigs(workers=1)
    rig.values(rig.submit(IDENTITY, *range(100), walltime_s=3600))
    late = time.monotonic() + 2000
    assert not [timer for due, _, timer in rig.engine._timers._heap if due > late and timer.call]


def test_a_task_before_which_every_worker_dies_is_ended(rigs):
    """A folder that is no text kills the worker outside of any task."""
    rig = rigs(workers=1)
    bad = rig.submit(IDENTITY, 1, 2, context={"cwd": 5})
    good = rig.submit(IDENTITY, 3)
    results = rig.results(bad)
    assert {result.outcome for result in results} == {Outcome.DIED}
    assert "before this task could begin" in results[0].data
    assert rig.values(good) == [3]
    assert not rig.engine._stillborn


PRINTS = """
import os, time
size = 0
while os.fstat(1).st_size >= size:  # until somebody else cuts it
    size = os.fstat(1).st_size
    os.write(1, b"x" * 1000)
    time.sleep(0.001)
with open({fifo!r}, "w") as fifo:
    fifo.write(str(size))
"""


def test_what_a_task_has_left_printing_is_bounded_while_nothing_runs(rigs, tmp_path, monkeypatch):
    monkeypatch.setattr(fleet, "LIVE_LOG_BYTES", 100_000)
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    fifo = os.open(path, os.O_RDWR)
    rig = rigs(workers=1)
    rig.call(
        "def leave(code):\n    import subprocess, sys\n"
        "    return subprocess.Popen([sys.executable, '-c', code]).pid\n",
        PRINTS.format(fifo=path),
    )
    assert select.select([fifo], [], [], rig.wait_s)[0]
    assert int(os.read(fifo, 100)) > 100_000
    os.close(fifo)


def test_a_log_that_grows_large_begins_anew(rigs):
    rig = rigs(workers=1)
    rig.call("def say():\n    print('x' * 5000, 'end', flush=True)\n")
    (worker,) = rig.engine._fleet.workers
    worker.bound_log(max_bytes=1000)
    assert worker.log.stat().st_size == 0
    assert worker.log.with_suffix(".log.1").read_text().endswith("end\n")
    rig.call("def say():\n    print('more', flush=True)\n")
    assert worker.log.read_text() == "more\n"
