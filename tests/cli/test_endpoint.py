"""`compute-nb endpoint …` with a real agent."""

import json
import subprocess
import sys
import time

from .conftest import COMMAND, WAIT_S

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


def test_start_takes_no_module_of_the_folder_where_it_is_typed(compute_nb, environment, tmp_path):
    for name in ("random", "logging"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken for the library')")
    typed = [sys.executable, "-P", "-m", "compute_nb.cli", "endpoint", "start", "lab", "--workers", "1"]
    done = subprocess.run(typed, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    try:
        assert (done.returncode, done.stderr) == (0, "")
    finally:
        assert compute_nb("endpoint", "stop", "lab").returncode == done.returncode
