"""What tasks print, on every engine: each its own, while it runs and at its end, and within bounds."""

import contextlib
import os
from uuid import UUID

import psutil
import pytest

from compute_nb.notebook.cargo.payload import function_source
from compute_nb.notebook.kit.harness import Cell
from compute_nb.tasks import Outcome

WAIT = (
    "def wait(path, *words):\n    import os, sys, time\n    for word in words:\n        print(word)\n"
    "    print('to err', file=sys.stderr)\n    open(path + '.begun', 'w').close()\n"
    "    while os.path.exists(path):\n        time.sleep(0.01)\n    return os.getpid()\n"
)
LATE = (  # a process that prints once it is told to, and says when it has
    "def leave(path, flag, apart):\n    import os, subprocess\n"
    "    text = f'while [ ! -e {path}.go ]; do sleep 0.02; done; echo LATE; echo LATE >&2; '\\\n"
    "        f': > {path}.done; while [ -e {flag} ]; do sleep 0.02; done'\n"
    "    subprocess.Popen(['sh', '-c', text], start_new_session=apart)\n"
    "    return os.getpid()\n"
)
LATE_THREAD = (
    "def leave(path, flag, apart):\n    import os, threading, time\n    def talk():\n"
    "        while not os.path.exists(path + '.go'):\n            time.sleep(0.01)\n"
    "        print('LATE')\n        open(path + '.done', 'w').close()\n"
    "    threading.Thread(target=talk).start()\n    return os.getpid()\n"
)
NEXT = (
    "import os, time\nprint('first')\nis_same = os.getpid() == {pid}\nif is_same:\n"
    "    open({path!r} + '.go', 'w').close()\n    end = time.monotonic() + 30\n"
    "    while not os.path.exists({path!r} + '.done') and time.monotonic() < end:\n        time.sleep(0.01)\n"
    "    os.write(1, b'second\\n')\n    os.system('echo third')\nprint('last')\nis_same"
)


def cell(source: str) -> str:
    return function_source(Cell("Cell In[1]", source, True, False, (), "", ()))


def text_of(envelope) -> str:
    return "".join(item["text"] for item in envelope["items"] if "stream" in item)


@pytest.fixture
def flag(tmp_path):
    """A file for as long as the test lasts, so that nothing outlives it."""
    path = tmp_path / "flag"
    path.touch()
    yield str(path)
    path.unlink()


def on_worker(engine, pid: int, path: str):
    """Runs the cell `NEXT` until it has run on a worker, and returns what it gave there."""
    for _ in range(200):
        envelope = engine.call(cell(NEXT.format(pid=pid, path=path)), 0, {})
        if os.path.exists(path + ".go"):
            return envelope
    raise AssertionError("that worker gets no task")


@pytest.mark.parametrize(
    ("source", "apart"),
    [(LATE, False), (LATE, True), (LATE_THREAD, False)],
    ids=["child", "daemon", "thread"],
)
def test_what_outlives_its_task_prints_nothing_into_the_next_one(engine, tmp_path, flag, source, apart):
    path = str(tmp_path / "late")
    pid = engine.call(source, path, flag, apart)
    envelope = on_worker(engine, pid, path)
    assert os.path.exists(path + ".done")
    assert text_of(envelope) == "first\nsecond\nthird\nlast\n"


def test_what_has_outlived_its_task_is_buried(engine, tmp_path):
    """By the worker, whose child it has become; the processes of threads are buried before the next task."""
    if engine.engine.capabilities.shares_process:
        return
    source = (
        "def leave(flag):\n    import os, subprocess\n"
        "    text = f'(while [ -e {flag} ]; do sleep 0.02; done) >/dev/null 2>&1 & echo $!'\n"
        "    return int(subprocess.run(['sh', '-c', text], stdout=subprocess.PIPE).stdout)\n"
    )
    second = tmp_path / "second"
    second.touch()
    pid = engine.call(source, str(second))
    assert psutil.pid_exists(pid)
    second.unlink()
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(60)
    assert not psutil.pid_exists(pid)


def test_what_outlives_its_worker_prints_nothing_into_the_next_one(engine, tmp_path, flag):
    path = str(tmp_path / "late")
    source = LATE.replace("return os.getpid()", "os._exit(9)")
    assert engine.failure(source, path, flag, True).outcome is Outcome.DIED
    for _ in range(4):
        envelope = engine.call(cell(NEXT.format(pid=0, path=path).replace("if is_same:", "if True:")), 0, {})
        assert text_of(envelope) == "first\nsecond\nthird\nlast\n"


def test_text_is_seen_while_its_task_runs_and_is_that_tasks_alone(engine, holds):
    if not engine.engine.capabilities.live_text:
        return
    holds = [holds(name) for name in ("a", "b")]
    numbers = engine.submit(WAIT, *[((str(hold), hold.path.name * 9, "end"), {}) for hold in holds])
    until_begun(engine, numbers)
    said = texts(engine, 2, "to err")
    for hold in holds:
        hold.release()
    engine.values(numbers)
    assert sorted(said) == ["aaaaaaaaa\nend\nto err\n", "bbbbbbbbb\nend\nto err\n"]


def until_begun(engine, numbers) -> None:
    engine.printed.clear()
    engine.pump(lambda: engine.begun.keys() >= set(numbers))


def texts(engine, count: int, last: str) -> list[str]:
    """Waits until so many tasks were heard to the end."""
    engine.pump(lambda: sum(last in text for text in engine.printed.values()) >= count)
    return list(engine.printed.values())


def test_the_last_words_of_a_worker_are_seen(engine):
    if not engine.engine.capabilities.live_text or engine.engine.capabilities.shares_process:
        return
    engine.printed.clear()
    source = "def die():\n    import os\n    print('I go')\n    os.write(2, b'now')\n    os._exit(3)\n"
    assert engine.failure(source).outcome is Outcome.DIED
    assert list(engine.printed.values()) == ["I go\nnow"]


def test_a_flood_of_text_keeps_to_its_bounds(engine):
    """It writes until its log was begun anew, 1 GB at most."""
    source = (
        "def flood():\n    import os, time\n    line, largest = b'x' * 999_999 + b'\\n', 0\n"
        "    for turn in range(1_000):\n        os.write(1, line)\n"
        "        size = os.fstat(1).st_size\n        if size < largest:\n            return True\n"
        "        largest = size\n        if turn > 80:\n            time.sleep(0.05)\n    return False\n"
    )
    assert engine.call(source) is True
    envelope = engine.call(cell("for i in range(1000):\n    print('y' * 9_999)\n0"), 0, {})
    assert len(text_of(envelope)) < 2_100_000
    assert "characters left out" in text_of(envelope)


def test_a_task_knows_its_id_and_its_folder(engine):
    source = (
        "def who():\n    import os, subprocess\n    names = 'GC_TASK_UUID', 'GC_TASK_SANDBOX_DIR'\n"
        "    own = {name: os.environ.get(name) for name in names}\n"
        "    there = subprocess.run(['env'], stdout=subprocess.PIPE, text=True).stdout.splitlines()\n"
        "    own['there'] = sorted(line for line in there if line.split('=')[0] in names)\n"
        "    own['made'] = os.path.exists(own[names[1]] or '')\n    return own\n"
    )
    for _ in range(3):
        (number,) = engine.submit(source)
        (found,) = engine.values([number])
        task_id = str(engine.ended[number].run.task_id)
        if engine.engine.capabilities.shares_process:
            assert found == {"GC_TASK_UUID": None, "GC_TASK_SANDBOX_DIR": None, "there": [], "made": False}
            continue
        folder = os.path.join(engine.folder, task_id)
        assert UUID(found["GC_TASK_UUID"]) == engine.ended[number].run.task_id
        assert found["GC_TASK_SANDBOX_DIR"] == folder
        assert found["there"] == [f"GC_TASK_SANDBOX_DIR={folder}", f"GC_TASK_UUID={task_id}"]
        assert found["made"] is False  # on first use: a folder for each of a million tasks is dear
