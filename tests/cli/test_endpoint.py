"""`compute-nb endpoint …` with a real agent."""

import json
import subprocess
import sys
import time

from filelock import FileLock

from .conftest import COMMAND, WAIT_S

SUBMIT = """
import os, sys, time
from compute_nb import Executor

def wait(path):
    import os, time
    while not os.path.exists(path):
        time.sleep(0.01)

future = Executor("lab").submit(wait, sys.argv[1])
while not future.running():
    time.sleep(0.01)
os._exit(0)
"""

WORKERS = (
    *("--workers", "1", "--min-workers", "1", "--max-tasks-per-worker", "9"),
    *("--preload", "colorsys,no_such_module", "--preload", "ftplib"),
)


def test_run_list_stop(compute_nb, environment):
    agent = subprocess.Popen(
        [*COMMAND, "endpoint", "run", "lab", *WORKERS],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    awaited = {"is connected", "no_such_module: ModuleNotFoundError"}
    while awaited:
        line = agent.stderr.readline()
        assert line, awaited
        awaited = {text for text in awaited if text not in line}
    row = listed(compute_nb, "online")
    assert (row["name"], row["workers"]) == ("lab", 1)
    assert "lab" in compute_nb("endpoint", "list").stdout

    stopped = compute_nb("endpoint", "stop", "lab")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert row["id"] in stopped.stdout
    assert agent.wait(WAIT_S) == 0
    agent.stderr.close()
    listed(compute_nb, "offline")


def listed(compute_nb, state):
    """The row of the only endpoint, once it is in that state, of which the service hears a little later."""
    until = time.monotonic() + WAIT_S
    while True:
        (row,) = json.loads(compute_nb("endpoint", "list", "--json").stdout)
        if row["state"] == state:
            return row
        assert time.monotonic() < until, row


def test_unknown_names_and_no_service_are_one_line(compute_nb):
    refused = compute_nb("endpoint", "list")
    assert refused.returncode == 1
    assert "service start" in refused.stderr
    compute_nb("service", "start")
    refused = compute_nb("endpoint", "stop", "nope")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "'nope'" in refused.stderr


def test_another_service_needs_a_token(compute_nb, tmp_path):
    refused = compute_nb("endpoint", "run", "lab", "--service", "http://127.0.0.1:9")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "--token-file" in refused.stderr
    file = f"--token-file={tmp_path / 'none'}"
    assert "can't be read" in compute_nb("endpoint", "run", "lab", "--service=http://x", file).stderr


def test_a_file_or_an_option_that_can_not_be_is_one_line(compute_nb, tmp_path):
    file = tmp_path / "endpoint.toml"
    file.write_text("worker = 2\n")
    refused = compute_nb("endpoint", "run", "lab", f"--config={file}")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "did you mean 'workers'?" in refused.stderr
    refused = compute_nb("endpoint", "run", "lab", "--engine", "thread")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "did you mean 'threads'?" in refused.stderr
    refused = compute_nb("endpoint", "run", "lab", "--workers", "1", "--min-workers", "2")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "min_workers must be at most `workers`, which is 1 here, not 2" in refused.stderr
    for command in ("start", "run"):
        refused = compute_nb("endpoint", command, "lab", "--python", f"{tmp_path}/python")
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert f"there is no interpreter '{tmp_path}/python' here" in refused.stderr


def test_start_takes_no_module_of_the_folder_where_it_is_typed(compute_nb, environment, tmp_path):
    for name in ("random", "logging"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken for the library')")
    typed = [sys.executable, "-P", "-m", "compute_nb.cli", "endpoint", "start", "lab", "--workers", "1"]
    done = subprocess.run(typed, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    try:
        assert (done.returncode, done.stderr) == (0, "")
    finally:
        assert compute_nb("endpoint", "stop", "lab").returncode == done.returncode


def test_a_stop_of_the_service_says_which_endpoints_end_and_what_becomes_of_their_tasks(
    home, environment, compute_nb, tmp_path
):
    folder = home.endpoint_dir("lab")
    folder.mkdir(parents=True)
    (folder / "endpoint.toml").write_text("stop_s = 600\nworkers = 1\n")
    assert compute_nb("endpoint", "start", "lab").returncode == 0
    subprocess.run([sys.executable, "-c", SUBMIT, str(tmp_path / "go")], check=True, env=environment)
    stopped = compute_nb("service", "stop")
    assert stopped.stdout == (
        "stopped; 1 that had begun: what did not end within its `stop_s` ends as LOST where no retries are "
        "left; endpoint lab ends too, until `compute-nb endpoint start lab`\n"
    )
    (tmp_path / "go").touch()
    with FileLock(folder / "agent.lock", timeout=WAIT_S):
        pass
    assert compute_nb("endpoint", "start", "lab").returncode == 0
    until = time.monotonic() + WAIT_S
    while (tasks := json.loads(compute_nb("tasks", "list", "--json").stdout)[0]["tasks"]) != {"SUCCEEDED": 1}:
        assert time.monotonic() < until, tasks
    assert compute_nb("endpoint", "stop", "lab").returncode == 0
