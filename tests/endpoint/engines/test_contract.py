"""What every engine promises, on every engine: `compute_nb.endpoint.engine` in force.

Whatever an engine can't do, its capabilities say, and then the task is told so.
"""

import os
import threading
import time
from uuid import uuid4

import psutil
import pytest

from compute_nb.endpoint.settings import ENGINES
from compute_nb.notebook.cargo.payload import function_source
from compute_nb.notebook.kit.harness import Cell
from compute_nb.serialize.code import DillCode
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.tasks import ErrorCode, Outcome
from compute_nb.wire import pack_buffers

SERIALIZER = ComputeSerializer(strategy_code=DillCode())
IDENTITY = "def same(x):\n    return x\n"
PID = "def pid():\n    import os\n    return os.getpid()\n"
GATE = (  # it says that it runs, and goes on when the file is gone
    "def wait(path):\n    import os, time\n    open(path + '.begun', 'w').close()\n"
    "    while os.path.exists(path):\n        time.sleep(0.01)\n    return os.getpid()\n"
)


def until(condition, what: str, seconds: float = 120.0) -> None:
    limit = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < limit, what
        pause.wait(0.02)


def test_a_value(engine):
    source = "def area(r, *, scale=1):\n    return {'area': 3 * r * r * scale}\n"
    (number,) = engine.submit(source, ((2,), {"scale": 10}))
    assert engine.values([number]) == [{"area": 120}]
    result = engine.ended[number]
    assert result.error_code is None
    assert result.started_at <= result.ended_at


def test_an_exception_with_its_traceback(engine):
    result = engine.failure("def fall(x):\n    values = [1]\n    return values[x]\n", 7)
    assert (result.outcome, result.error_code) == (Outcome.ERROR, ErrorCode.REMOTE)
    assert "IndexError: list index out of range" in result.data
    assert "return values[x]" in result.data
    assert "compute_nb/endpoint" not in result.data


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt('mine')", "KeyboardInterrupt: mine"),
        ("class Own(BaseException): pass\n    raise Own('all')", "Own: all"),
        ("def deep(): deep()\n    deep()", "RecursionError"),
    ],
)
def test_whatever_a_task_raises_is_its_own_failure(engine, statement, said):
    result = engine.failure(f"def go():\n    {statement}\n")
    assert result.outcome is Outcome.ERROR
    assert said in result.data
    assert engine.call(IDENTITY, 1) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "bytearray(10**12)",
        "bytearray(250_000_000)",
        "[bytes(1000) + bytes([i % 250]) for i in range(500_000)]",  # nothing is left to tell it with
    ],
)
def test_a_task_beyond_the_memory_limit_fails_and_is_told_which(engine, statement):
    source = f"def fill():\n    kept = {statement}\n    return len(kept)\n"
    result = engine.failure(source)
    assert (result.outcome, result.error_code) == (Outcome.ERROR, ErrorCode.REMOTE)
    assert "MemoryError" in result.data
    assert "200 MB of memory, `memory_limit` in its endpoint.toml" in result.data
    assert statement in result.data
    for _ in range(3):
        assert engine.call("def half():\n    return len(bytes(100_000_000))\n") == 100_000_000


def test_many_tasks_beyond_the_memory_limit_each_fail_by_themselves(engine):
    source = "def fill(i):\n    return i if i % 3 else bytearray(10**12)\n"
    results = engine.results(engine.submit(source, *range(1, 16)))
    assert [result.outcome for result in results].count(Outcome.SUCCESS) == 10
    assert [result.data.count("200 MB of memory") for result in results] == [0, 0, 1] * 5


def test_a_cell_beyond_the_memory_limit_fails_and_is_told_which(engine):
    cell = Cell("Cell In[3]", "kept = []\nwhile True:\n    kept.append(bytes(1001))\n0", *rest())
    result = engine.failure(function_source(cell), 0, {})
    assert result.outcome is Outcome.ERROR
    assert "Cell In[3], line 3" in result.data
    assert "200 MB of memory, `memory_limit` in its endpoint.toml" in result.data
    assert engine.call(IDENTITY, 1) == 1


def test_what_a_cell_prints_comes_back_with_it_alone(engine):
    cells = [
        Cell(
            f"Cell In[{n}]", f"import sys\nprint('out {n}')\nprint('err {n}', file=sys.stderr)\n{n}", *rest()
        )
        for n in range(4)
    ]
    numbers = [engine.submit(function_source(cell), ((0, {}), {}))[0] for cell in cells]
    for n, envelope in enumerate(engine.values(numbers)):
        printed = {item["stream"]: item["text"] for item in envelope["items"] if "stream" in item}
        assert printed == {"stdout": f"out {n}\n", "stderr": f"err {n}\n"}


def rest():
    """The fields of a cell that shows its last expression and takes nothing in."""
    return True, False, (), "", ()


def test_functions_that_came_as_pickles_side_by_side(engine):
    """The first ones of a fresh worker all want dill at once."""
    code = pack_buffers([SERIALIZER.serialize(times_two)])
    assert engine.values(engine.submit(code, *range(20))) == [*range(0, 40, 2)]


def times_two(x):
    return 2 * x


def test_two_hundred_tasks_of_two_groups(engine):
    groups = [engine.submit(IDENTITY, *range(start, start + 100), group=uuid4()) for start in (0, 100)]
    assert engine.values(groups[0] + groups[1]) == list(range(200))


def test_a_task_finds_the_process_as_it_should_be(engine, tmp_path):
    source = (
        "def spoil(folder):\n    import os, sys\n    os.environ['SPOILT'] = '1'\n    os.chdir(folder)\n"
        "    sys.argv.append('x')\n    sys.path.insert(0, folder)\n"
    )
    look = (
        "def look():\n    import os, sys\n"
        "    return os.environ.get('SPOILT'), os.getcwd(), sys.argv[1:], sys.path[0]\n"
    )
    for _ in range(4):
        engine.call(source, str(tmp_path))
    found = engine.values(engine.submit(look, *[((), {})] * 4))
    assert {entry[0] for entry in found} == {None}
    assert str(tmp_path) not in {part for entry in found for part in (entry[1], entry[3])}
    assert not any(entry[2] for entry in found)


def test_a_waiting_task_is_cancelled_exactly(engine, holds, tmp_path):
    hold = holds()
    blocking = engine.submit(GATE, *[((str(hold),), {}) for _ in range(100)])
    until(hold.begun, "nothing runs")
    mark = tmp_path / "ran"
    last = engine.submit("def mark(p):\n    open(p, 'w').close()\n", str(mark))
    engine.engine.cancel([*last, *blocking[50:]])
    results = engine.results(last + blocking[50:])
    assert {result.outcome for result in results} == {Outcome.CANCELLED}
    hold.release()
    assert {result.outcome for result in engine.results(blocking[:50])} == {Outcome.SUCCESS}
    assert not mark.exists()


def test_a_long_task_among_short_ones_holds_nothing_up(engine, holds):
    hold = holds()
    source = GATE.replace("wait", "mixed")
    engine.values(engine.submit(source, *["none"] * 100))
    held = engine.submit(source, *[str(hold) if n == 70 else "none" for n in range(140)])
    engine.values(held[:70] + held[71:])
    assert hold.begun()
    hold.release()
    engine.values(held[70:71])


def test_a_running_task_is_cancelled_or_that_is_refused(engine, holds):
    hold = holds()
    numbers = engine.submit(GATE, str(hold))
    until(hold.begun, "it does not run")
    engine.engine.cancel(numbers)
    (result,) = engine.results(numbers)
    assert result.outcome is Outcome.CANCELLED
    capabilities = engine.engine.capabilities
    if capabilities.cancel_running:
        assert hold.path.exists()  # it did not wait for the end of the task
        assert result.data == "the task was cancelled"
    else:
        assert f"engine, {capabilities.name}, can't end a task" in result.data
        assert capabilities.because in result.data
    hold.release()
    assert engine.call(IDENTITY, 2) == 2


def test_a_walltime_is_kept_or_refused(engine):
    source = "def nap():\n    import time\n    time.sleep(60)\n"
    began = time.monotonic()
    result = engine.failure(source, walltime_s=0.3)
    assert time.monotonic() - began < 30
    assert result.outcome is Outcome.ERROR
    capabilities = engine.engine.capabilities
    if capabilities.walltime:
        assert result.error_code == ErrorCode.WALLTIME
        assert "0.3 s" in result.data
    else:
        assert f"engine, {capabilities.name}, takes no walltime (0.3 s)" in result.data
        assert capabilities.because in result.data
    assert engine.call(IDENTITY, 3) == 3


def test_a_walltime_that_ignores_interrupts_is_kept_by_force(engine):
    if not engine.engine.capabilities.walltime:
        return
    source = (
        "def stubborn():\n    import time\n    end = time.monotonic() + 60\n"
        "    while time.monotonic() < end:\n        try:\n            time.sleep(60)\n"
        "        except KeyboardInterrupt:\n            pass\n"
    )
    assert engine.failure(source, walltime_s=0.2).error_code == ErrorCode.WALLTIME


@pytest.mark.parametrize(
    ("statement", "signal_name"),
    [
        ("import os\n    os.kill(os.getpid(), 9)", "SIGKILL"),
        ("import ctypes\n    ctypes.string_at(0)", "SIGSEGV"),
    ],
)
def test_a_worker_that_dies_takes_its_task_only(engine, holds, statement, signal_name):
    hold = holds()
    shares = engine.engine.capabilities.shares_process
    neighbour = engine.submit(GATE, str(hold))
    until(hold.begun, "it does not run")
    result = engine.failure(f"def die():\n    {statement}\n")
    assert (result.outcome, result.error_code) == (Outcome.DIED, ErrorCode.WORKER_DIED), result.data
    assert signal_name in result.data
    assert ("ended with it" in result.data) is shares
    hold.release()
    (other,) = engine.results(neighbour)
    assert other.outcome is (Outcome.DIED if shares else Outcome.SUCCESS)
    assert engine.values(engine.submit(IDENTITY, *range(8))) == list(range(8))


def test_a_segfault_names_the_line(engine):
    result = engine.failure("def fall():\n    import ctypes\n    ctypes.string_at(0)\n")
    assert 'File "<fall>", line 3 in fall' in result.data


def test_the_host_of_a_worker_dies(engine):
    """A worker of Parsl or Dask itself: its task is not begun again behind anybody's back."""
    if engine.engine.capabilities.name not in ("parsl", "dask"):
        return
    source = (
        "def die(path):\n    import os, time\n    with open(path, 'a') as file:\n        file.write('x')\n"
        "    os.kill(os.getppid(), 9)\n    time.sleep(60)\n"
    )
    path = engine.folder / "begun"
    result = engine.failure(source, str(path))
    assert (result.outcome, result.error_code) == (Outcome.DIED, ErrorCode.WORKER_DIED), result.data
    assert engine.values(engine.submit(IDENTITY, *range(8))) == list(range(8))
    assert path.read_text() == "x"


def test_a_resource_specification_is_met_or_refused(engine):
    result = engine.failure(IDENTITY, 1, resource_specification={"cakes": 2})
    name = engine.engine.capabilities.name
    assert result.outcome is Outcome.ERROR
    assert "cakes" in result.data
    assert name in result.data.lower()


def test_figures(engine, holds):
    assert engine.call(IDENTITY, 1) == 1  # Parsl and Dask take their time to start
    hold = holds()
    numbers = engine.submit(GATE, *[((str(hold),), {}) for _ in range(200)])
    until(hold.begun, "nothing runs")
    engine.pump(lambda: engine.begun.keys() & set(numbers))
    until(lambda: engine.engine.status().alive >= 1, "no worker is counted")
    status = engine.engine.status()
    assert status.workers == 2
    assert 1 <= status.alive <= 2
    assert status.waiting + status.in_workers == 200
    assert status.in_workers >= 1
    until(lambda: told(engine) == (2, 2, 198), f"busy workers are not counted: {told(engine)}")
    hold.release()
    engine.values(numbers)
    until(lambda: engine.engine.status().in_workers == 0, "something is left")
    until(lambda: told(engine)[1:] == (0, 0), "somebody is busy")


def told(rig):
    status = rig.engine.status()
    return status.alive, status.busy, status.queued


@pytest.mark.parametrize("name", ["processes", "threads", "mpi"])  # one program for all pools
def test_a_graceful_stop_lets_what_runs_end_and_begins_nothing(fresh, holds, tmp_path, name):
    rig = fresh(name)
    hold = holds()
    running = rig.submit(GATE, str(hold))
    until(hold.begun, "it does not run")
    mark = tmp_path / "ran"
    rig.submit("def mark(p):\n    open(p, 'a').write('x')\n", *[((str(mark),), {})] * 300)
    threading.Timer(1.0, hold.release).start()
    rig.engine.stop(30.0)
    rig.stop = lambda: None
    rig.pump(lambda: running[0] in rig.ended)
    assert rig.ended[running[0]].outcome is Outcome.SUCCESS
    assert not mark.exists() or len(mark.read_text()) < 300


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "parsl"])  # test_parsl has its own
def test_a_hard_stop_leaves_no_process(fresh, holds, name):
    rig = fresh(name)
    pid = rig.call(PID)
    hold = holds()
    rig.submit(GATE, str(hold))
    until(hold.begun, "it does not run")
    rig.engine.stop()
    rig.stop = lambda: None
    until(lambda: is_gone(pid), "its worker is left")
    left = [
        one for one in psutil.Process().children(recursive=True) if str(rig.folder) in " ".join(words(one))
    ]
    assert not left


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.Error):
        return True
