"""`compute-nb endpoint start|stop|list|delete` on a home of this module, through real agents.

The commands run in this process: what is left out is the start of an interpreter for each.
"""

import json
import os
import platform
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import pytest
from click.testing import CliRunner
from own_home import own_home

from compute_nb import Executor
from compute_nb.cli import main
from compute_nb.endpoint.folder import Folder
from compute_nb.errors import TaskLost
from compute_nb.home import Home
from compute_nb.serialize import ComputeSerializer, PureSourceTextInspect

from .conftest import COMMAND, WAIT_S


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def home():
    with own_home() as one:
        yield one


@pytest.fixture
def compute_nb(home):
    def run(*words):
        done = CliRunner().invoke(main, words)
        return Said(done.exit_code, done.stdout, done.stderr)

    return run


def started(compute_nb, *words):
    """Starts an endpoint in the background and returns what was said."""
    done = compute_nb("endpoint", "start", *words)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def row_of(compute_nb, name):
    rows = json.loads(compute_nb("endpoint", "list", "--json").stdout)
    return next((row for row in rows if row["name"] == name), None)


def offline(compute_nb, name):
    """The row of an endpoint whose agent has ended, of which the service hears a little later."""
    until(lambda: row_of(compute_nb, name)["state"] == "offline", "the service does not hear of the end")
    return row_of(compute_nb, name)


@pytest.fixture
def script(home, tmp_path):
    """Runs Python as a user of the home does."""

    def run(source):
        path = tmp_path / "script.py"
        path.write_text(source)
        done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


SIDE_BY_SIDE = """
from compute_nb import Executor, TaskExecutionFailed
from compute_nb.serialize import ComputeSerializer, PureSourceTextInspect

def look():
    import os, sys
    return sys.executable, os.getcwd(), os.environ.get("COLOUR"), os.environ.get("OTHER")

def nap():
    import time
    time.sleep(600)

def much():
    return "x" * 3000

def error(executor, function):
    try:
        return executor.submit(function).result(60)
    except TaskExecutionFailed as error:
        return str(error).splitlines()[-1]

source = ComputeSerializer(strategy_code=PureSourceTextInspect())
for name in ("red", "blue"):
    with Executor(name, serializer=source) as executor:
        print(*executor.submit(look).result(60), sep="|")
with Executor("red", serializer=source) as red, Executor("blue", serializer=source) as blue:
    print("walltime" in error(red, nap), "at most 2,000" in error(red, much))
    print(len(blue.submit(much).result(60)))
with Executor("blue") as blue:
    print(error(blue, look))
"""


def test_two_side_by_side_each_as_it_was_told(compute_nb, home, tmp_path, script):
    link = tmp_path / "other-python"
    link.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    link.chmod(0o700)
    for name, text in {
        "red": f"""
            python = "{sys.executable}"
            working_folder = "here"
            walltime_s = 3
            result_limit = 2000
            [environment]
            COLOUR = "red"
        """,
        "blue": f"""
            python = "{link}"
            engine = "threads"
            allowed_serializers = ["PureSourceTextInspect", "DillDataBase64"]
            [environment]
            OTHER = "blue"
        """,
    }.items():
        folder = home.endpoint_dir(name)
        folder.mkdir(parents=True)
        (folder / "endpoint.toml").write_text(text)
        assert "is online" in started(compute_nb, name, "--workers", "1")
    lines = script(SIDE_BY_SIDE).splitlines()
    red, blue = (line.split("|") for line in lines[:2])
    assert red[1:] == [str(home.endpoint_dir("red") / "here"), "red", "None"]
    assert blue[2:] == ["None", "blue"]
    assert blue[1].startswith(str(home.endpoint_dir("blue")))
    assert lines[2:4] == ["True True", "3000"]
    assert "DillDataBase64" in lines[4] or "'st'" in lines[4], lines[4]
    engines = [row_of(compute_nb, name)["engine"] for name in ("red", "blue")]
    assert engines == ["processes", "threads"]
    for name in ("red", "blue"):
        assert "stopped" in compute_nb("endpoint", "stop", name).stdout


def test_start_once_more_as_last_time_and_list_what_is_so(compute_nb, home, script):
    told = started(compute_nb, "lab", "--workers", "3", "--engine", "threads")
    row = row_of(compute_nb, "lab")
    assert row["id"] in told
    assert (row["state"], row["running"], row["engine"], row["workers"]) == ("online", True, "threads", 3)
    assert row["cores"] >= 1
    assert 0 < row["available_bytes"] < row["memory_bytes"]
    assert row["python"] == platform.python_version()

    again = compute_nb("endpoint", "start", "lab")
    assert (again.returncode, f"process {row['pid']}" in again.stdout) == (0, True)
    other = compute_nb("endpoint", "start", "lab", "--workers", "4")
    assert (other.returncode, other.stderr.count("\n")) == (1, 1)
    assert "not with --workers 4" in other.stderr

    assert "it had no tasks" in compute_nb("endpoint", "stop", "lab").stdout
    row = offline(compute_nb, "lab")
    assert (row["running"], row["pid"]) == (False, None)
    assert compute_nb("endpoint", "stop", "lab").stdout.endswith("does not run\n")

    started(compute_nb, "lab")
    row = row_of(compute_nb, "lab")
    assert (row["engine"], row["workers"]) == ("threads", 3)
    assert "threads" in compute_nb("endpoint", "list").stdout
    compute_nb("endpoint", "stop", "lab")


def test_a_start_that_fails_is_one_error_with_the_log_and_leaves_nobody(compute_nb, home):
    folder = home.endpoint_dir("broken")
    folder.mkdir(parents=True)
    (folder / "journal.db").mkdir()
    refused = compute_nb("endpoint", "start", "broken")
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: the agent of endpoint broken ended before it was online")
    assert str(folder / "agent.log") in refused.stderr
    assert "unable to open database file" in refused.stderr
    assert not Folder(folder).taken()
    token = home.root / "theirs"
    token.write_text("cnb_0000000000000000_" + "0" * 64)
    token.chmod(0o600)
    refused = compute_nb(
        "endpoint", "start", "broken", "--service=http://127.0.0.1:9", f"--token-file={token}"
    )
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "http://127.0.0.1:9" in refused.stderr
    assert "belongs to the service" in compute_nb("endpoint", "start", "local").stderr


OPEN = """
from compute_nb import Executor
executor = Executor("gone")
future = executor.submit(abs, -1)
executor.wait_accepted(60)
said = ""
while "offline" not in said:  # the watcher hears of it in its own time
    try:
        future.result(0.1)
    except TimeoutError as error:
        said = str(error)
print(future.task_id, said, flush=True)
import os
os._exit(0)
"""


def test_delete_ends_what_is_open_and_leaves_nothing(compute_nb, home, script):
    started(compute_nb, "gone")
    refused = compute_nb("endpoint", "delete", "gone", "--yes")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "endpoint stop gone" in refused.stderr
    compute_nb("endpoint", "stop", "gone")
    task_id, _, said = script(OPEN).strip().partition(" ")
    assert said.endswith("its endpoint is offline, and what has not begun runs when that is back (waiting)")
    refused = compute_nb("endpoint", "delete", "gone")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "1 open task" in refused.stderr
    assert "--yes" in refused.stderr
    deleted = compute_nb("endpoint", "delete", "gone", "--yes")
    assert (deleted.returncode, deleted.stderr) == (0, "")
    assert "1 open task" in deleted.stdout
    assert not home.endpoint_dir("gone").exists()
    assert row_of(compute_nb, "gone") is None
    task = json.loads(compute_nb("tasks", "show", task_id, "--json").stdout)
    assert task["compute_nb"]["state"] == "FAILED"
    assert "was deleted before it took this task" in task["exception"]
    assert "no endpoint is called 'gone'" in compute_nb("endpoint", "delete", "gone").stderr

    started(compute_nb, "gone")
    assert "deleted" in compute_nb("endpoint", "delete", "gone", "--force", "--yes").stdout
    assert not home.endpoint_dir("gone").exists()


def test_an_endpoint_of_the_service_of_somebody_else(compute_nb, home, tmp_path):
    theirs = Home(tmp_path / "theirs")
    other = os.environ | {"COMPUTE_NB_HOME": str(theirs.root)}

    def there(*words):
        return subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False, env=other)

    url = there("service", "start").stdout.strip()
    try:
        started(compute_nb, "guest", f"--service={url}", f"--token-file={theirs.token_file}")
        row = row_of(compute_nb, "guest")
        assert (row["service"], row["state"], row["running"]) == (url, "online", True)
        assert json.loads(there("endpoint", "list", "--json").stdout)[0]["id"] == row["id"]
        assert "stopped" in compute_nb("endpoint", "stop", "guest").stdout
        started(compute_nb, "guest")  # where it was
        assert row_of(compute_nb, "guest")["service"] == url
        assert "told to stop" in there("endpoint", "stop", "guest").stdout
        assert Folder(home.endpoint_dir("guest")).free(WAIT_S)
        assert "deleted" in compute_nb("endpoint", "delete", "guest", "--yes").stdout
        assert json.loads(there("endpoint", "list", "--json").stdout) == []
    finally:
        there("service", "stop")


def hold(path):
    """Runs until somebody writes to a pipe, and says how often it has begun."""
    with open(path + ".begun", "a") as file:
        file.write("x")
    with open(path) as pipe:
        return pipe.read(), len(open(path + ".begun").read())


def double(x):
    return 2 * x


@pytest.mark.parametrize("engine", ["processes", "threads", "mpi"])
def test_a_stop_tells_what_it_kills_and_keeps_what_has_not_begun(compute_nb, home, tmp_path, engine):
    name, gates = f"stop-{engine}", [str(tmp_path / name) for name in ("once", "again")]
    for gate in gates:
        os.mkfifo(gate)
    started(compute_nb, name, "--workers", "2", "--engine", engine)
    serializer = ComputeSerializer(strategy_code=PureSourceTextInspect())
    with Executor(name, serializer=serializer) as once:
        again = Executor(name, serializer=serializer, retries=1)
        lost, retried = once.submit(hold, gates[0]), again.submit(hold, gates[1])
        until(lambda: all(os.path.exists(gate + ".begun") for gate in gates), "they do not run")
        waiting = [once.submit(double, n) for n in range(5)]
        once.wait_accepted(WAIT_S)
        stopped = compute_nb("endpoint", "stop", name).stdout
        assert "2 tasks that ran killed" in stopped
        error = lost.exception(WAIT_S)
        assert isinstance(error, TaskLost)
        assert "stop_s" in str(error)
        assert not any(future.done() for future in (retried, *waiting))
        started(compute_nb, name)
        assert [future.result(WAIT_S) for future in waiting] == [0, 2, 4, 6, 8]
        with open(gates[1], "w") as pipe:
            pipe.write("open")
        assert retried.result(WAIT_S) == ("open", 2)
        again.shutdown()
    assert compute_nb("endpoint", "delete", name, "--force", "--yes").returncode == 0


def until(condition, what):
    limit, pause = time.monotonic() + WAIT_S, threading.Event()
    while not condition():
        assert time.monotonic() < limit, what
        pause.wait(0.02)


def test_of_two_who_start_at_once_both_find_it_running(compute_nb):
    words = [*COMMAND, "endpoint", "start", "race"]
    both = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [one.communicate(timeout=2 * WAIT_S) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert sum("is online" in out for out, _ in said) <= 1, said
    compute_nb("endpoint", "stop", "race")
