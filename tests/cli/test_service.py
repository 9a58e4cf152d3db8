"""`compute-nb service …` as a user calls it, on a temporary home."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest
from filelock import FileLock

from compute_nb.endpoint.machine import usable_cpus
from compute_nb.local import answers, find_service
from compute_nb.service.lock import running

from .conftest import COMMAND, WAIT_S


def test_start_status_stop(home, compute_nb):
    started = compute_nb("service", "start")
    assert (started.returncode, started.stderr) == (0, "")
    url = started.stdout.strip()
    assert compute_nb("service", "start").stdout.strip() == url
    moved = compute_nb("service", "start", "--port", "1")
    assert moved.returncode == 1
    assert moved.stderr.strip().endswith("`compute-nb service restart --port 1` moves it")
    status = json.loads(compute_nb("service", "status", "--json").stdout)
    assert status == {
        "url": url,
        "pid": running(home).pid,
        "broker": "embedded",
        "store": f"sqlite:///{home.store_file}",
        "token_file": str(home.token_file),
        "endpoints": [],
        "tasks": status["tasks"],
    }
    assert not any(status["tasks"].values())
    assert url in compute_nb("service", "status").stdout
    assert not [path for path in home.state.iterdir() if path.is_file() and path.stat().st_mode & 0o077]

    assert compute_nb("service", "stop").stdout == "stopped\n"
    assert home.stopped_mark.exists()
    after = compute_nb("service", "status", "--json")
    assert (after.returncode, json.loads(after.stdout)["url"]) == (1, None)
    assert "service start" in compute_nb("service", "status").stderr
    assert compute_nb("service", "stop").stdout == "not running\n"


def test_all_of_them_talk_to_programs(home, compute_nb):
    started = json.loads(compute_nb("service", "start", "--json").stdout)
    assert started == json.loads(compute_nb("service", "status", "--json").stdout)
    assert (started["pid"], started["endpoints"]) == (running(home).pid, [])
    again = json.loads(compute_nb("service", "start", "--json").stdout)
    assert again["pid"] == started["pid"]
    restarted = json.loads(compute_nb("service", "restart", "--json").stdout)
    assert (restarted["url"], restarted["pid"]) == (started["url"], running(home).pid)
    stopped = compute_nb("service", "stop", "--json")
    assert (stopped.returncode, json.loads(stopped.stdout)["url"]) == (0, None)


def test_start_takes_no_module_of_the_folder_where_it_is_typed(environment, compute_nb, tmp_path):
    for name in ("random", "logging"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken for the library')")
    typed = [sys.executable, "-P", "-m", "compute_nb.cli", "service", "start"]
    done = subprocess.run(typed, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert compute_nb("service", "stop").returncode == 0


def test_restart_keeps_the_address_and_clears_the_mark(home, compute_nb):
    url = compute_nb("service", "start").stdout
    pid = running(home).pid
    assert compute_nb("service", "restart").stdout == url
    assert running(home).pid != pid
    assert not home.stopped_mark.exists()


def test_one_that_does_not_answer_is_stopped_by_signal(home, compute_nb):
    compute_nb("service", "start")
    home.token_file.write_text("spoiled")
    stopped = compute_nb("service", "stop")
    assert stopped.stdout == "stopped\n"
    assert "SIGTERM" in stopped.stderr
    assert running(home) is None


def test_a_stale_file_of_a_killed_service_is_no_service(home, compute_nb):
    compute_nb("service", "start")
    os.kill(running(home).pid, signal.SIGKILL)
    compute_nb("service", "stop")
    assert home.service_file.exists()
    assert compute_nb("service", "status", "--json").returncode == 1


def test_an_unwritable_home_is_one_clear_line(home, compute_nb):
    home.root.write_text("a file, no folder")
    started = compute_nb("service", "start")
    assert started.returncode == 1
    assert started.stderr.count("\n") == 1
    assert "COMPUTE_NB_HOME" in started.stderr
    home.root.unlink()


def test_wrong_usage_is_2(compute_nb):
    assert compute_nb("service", "begin").returncode == 2
    assert compute_nb("nonsense").returncode == 2
    assert compute_nb("service", "start", "--port", "70000").returncode == 2
    assert "service" in compute_nb("--help").stdout


def test_another_address_needs_tls(compute_nb):
    refused = compute_nb("service", "start", "--host", "0.0.0.0")
    assert refused.returncode == 1
    assert "TLS" in refused.stderr


def test_the_service_imports_nothing_that_only_notebooks_and_people_need():
    program = (
        "import sys, compute_nb.cli.service, compute_nb.service.process\n"
        "print({'rich', 'IPython', 'ipywidgets', 'requests', 'pika', 'dill'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_restart_waits_for_whoever_is_starting_one(home, environment, compute_nb):
    compute_nb("service", "start")
    pid = running(home).pid
    with FileLock(home.start_lock):
        restarting = subprocess.Popen([*COMMAND, "service", "restart"], env=environment)
        with pytest.raises(subprocess.TimeoutExpired):
            restarting.wait(2)
        assert running(home).pid == pid
    assert restarting.wait(WAIT_S) == 0
    assert running(home).pid != pid


@pytest.mark.parametrize("text", ["[]", "3", '{"url": "x", "pid": null}', "{"])
def test_a_service_file_of_another_shape_names_no_service(home, text):
    home.prepare()
    home.service_file.write_text(text)
    with FileLock(home.service_lock):
        assert running(home) is None


SUBMIT = (
    "import sys, threading\nfrom compute_nb import Executor\n"
    "def work(path):\n    import os, time\n    while not os.path.exists(path):\n        time.sleep(0.01)\n"
    "executor, running = Executor('local'), threading.Event()\n"
    "executor.add_update_callback(lambda fs: any(f.running() for f in fs) and running.set())\n"
    "for _ in range(int(sys.argv[2])):\n    executor.submit(work, sys.argv[1])\n"
    "executor.wait_accepted(60)\nassert running.wait(60)\n"
)


def submit(environment, path, count):
    script = [sys.executable, "-c", SUBMIT, str(path), str(count)]
    subprocess.run(script, check=True, env=environment, timeout=WAIT_S)


def test_stop_after_a_kill_ends_the_agents_that_were_left(home, environment, compute_nb, tmp_path):
    compute_nb("service", "start")
    submit(environment, tmp_path / "go", 1)
    service = running(home)
    (agent,) = [p for p in psutil.Process(service.pid).children() if "endpoint" in p.cmdline()]
    os.kill(service.pid, signal.SIGKILL)
    stopped = compute_nb("service", "stop")
    # The agent may be starting another service at that moment: then that one is waited for and stopped.
    assert "stopped" in stopped.stdout
    psutil.wait_procs([agent], timeout=WAIT_S)
    assert not agent.is_running()
    assert running(home) is None
    assert compute_nb("service", "stop").stdout == "not running\n"


def test_stop_says_what_it_leaves(home, environment, compute_nb, tmp_path):
    submit(environment, tmp_path / "go", 400)
    begun, until = 0, time.monotonic() + WAIT_S
    while begun < usable_cpus():  # one for each worker, and none begins after that
        assert time.monotonic() < until
        begun = json.loads(compute_nb("service", "status", "--json").stdout)["tasks"]["RUNNING"]
    stopped = compute_nb("service", "stop")
    end = "ends" if begun == 1 else "end"
    assert (stopped.returncode, stopped.stdout) == (
        0,
        f"stopped; {400 - begun} open tasks stay: they go on after `compute-nb service start` or the next "
        f"submit; {begun} that had begun {end} as LOST where no retries are left\n",
    )


@pytest.fixture
def stopping(home, environment, tmp_path):
    """A service that is being stopped while its local endpoint, which has a minute, runs a task."""
    folder = home.endpoint_dir("local")
    folder.mkdir(parents=True)
    (folder / "endpoint.toml").write_text("stop_s = 60\n")
    submit(environment, tmp_path / "go", 1)
    stop = subprocess.Popen([*COMMAND, "service", "stop"], env=environment, stderr=subprocess.PIPE, text=True)
    assert "has 60 s: `compute-nb service stop --now`" in stop.stderr.readline()
    yield stop
    stop.communicate(timeout=WAIT_S)


def end_of_the_task(compute_nb):
    """Starts the service and returns the state in which its only task ends."""
    compute_nb("service", "start")
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        ((state,),) = [group["tasks"] for group in json.loads(compute_nb("tasks", "list", "--json").stdout)]
        if state not in {"WAITING", "DELIVERED", "RUNNING"}:
            return state
    return "open"


def test_a_stop_gives_tasks_of_local_endpoints_their_time(stopping, environment, compute_nb, tmp_path):
    again = subprocess.Popen(
        [*COMMAND, "service", "start"], env=environment, stderr=subprocess.PIPE, text=True
    )
    assert "has 60 s" in again.stderr.readline()  # it waits for the end of the old one
    (tmp_path / "go").touch()
    assert stopping.wait(WAIT_S) == 0
    again.communicate(timeout=WAIT_S)
    assert again.returncode == 0
    assert end_of_the_task(compute_nb) == "SUCCEEDED"


def test_a_stop_that_is_in_a_hurry_gives_them_none(home, stopping, compute_nb):
    stopping.send_signal(signal.SIGINT)
    assert "Ctrl-C again ends what runs too" in stopping.stderr.readline()
    assert running(home) is not None
    hurried = compute_nb("service", "stop", "--now")
    assert (hurried.returncode, hurried.stderr) == (0, "")
    assert stopping.wait(30) == 0  # of the 60 s
    assert end_of_the_task(compute_nb) == "LOST"


OPTIONS = (
    *("--durability", "process", "--limit", "open_tasks=5", "--limit", "burst=9", "--log-level", "debug"),
    *("--log-json", "--retention", "5d", "--expire", "2d", "--public-url", "https://localhost"),
)
CERTIFICATE = (
    *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
    *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
)


@pytest.fixture
def tls(tmp_path):
    """The options of a certificate that signed itself."""
    cert, key = tmp_path / "tls.pem", tmp_path / "tls.key"
    subprocess.run(["openssl", *CERTIFICATE, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return "--tls-cert", str(cert), "--tls-key", str(key)


def words_of(home):
    """What the service was told on its command line, but for the home, and the pipe of the moment."""
    words = psutil.Process(running(home).pid).cmdline()
    return {word for word in words[words.index("run") + 2 :] if not word.startswith("--ready-fd")}


def test_restart_and_start_go_on_as_it_was(home, compute_nb, tls):
    started = compute_nb("service", "start", *OPTIONS, *tls)
    assert started.stderr == ""
    told = words_of(home)
    assert {
        "--limit=open_tasks=5",
        "--durability=process",
        "--log-level=debug",
        f"--tls-cert={tls[1]}",
    } <= told
    lasting = {word for word in told if not word.startswith(("--retention", "--expire"))}

    assert compute_nb("service", "restart").stdout == started.stdout
    assert words_of(home) == lasting
    changed = compute_nb("service", "start", "--limit", "burst=8", "--log-level", "debug")
    assert changed.returncode == 1
    assert "`compute-nb service restart --limit=burst=8 --limit=open_tasks=5` changes that" in changed.stderr

    compute_nb("service", "restart", "--limit", "burst=8", "--no-log-json")
    now = lasting - {"--log-json", "--limit=burst=9"} | {"--no-log-json", "--limit=burst=8"}
    assert words_of(home) == now
    compute_nb("service", "stop")
    assert compute_nb("service", "start").returncode == 0
    assert words_of(home) == now
    assert json.loads(compute_nb("service", "status", "--json").stdout)["url"] == "https://localhost"

    plain = compute_nb("service", "restart", "--fresh")
    assert plain.stdout.startswith("http://127.0.0.1:")
    assert not any(word.startswith(("--tls", "--limit", "--public")) for word in words_of(home))
    assert home.habits_file.stat().st_mode & 0o777 == 0o600


def test_one_that_starts_by_itself_is_as_last_time_too(home, environment, compute_nb, tls):
    compute_nb("service", "start", *tls)
    os.kill(running(home).pid, signal.SIGKILL)
    program = (
        "from compute_nb import Client, Executor\n"
        "print(Client().web_service_address, len(Client().get_endpoints()))\n"
        "with Executor('local') as executor: print(executor.submit(pow, 2, 5).result())"
    )
    command = [sys.executable, "-c", program]  # a certificate of its own home needs no variable
    asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90, env=environment)
    assert asked.stdout.startswith("https://127.0.0.1:"), asked.stderr
    assert asked.stdout.endswith("\n32\n"), asked.stderr
    info = find_service(home)
    assert answers(info)
    assert not answers(replace(info, tls_sha256="0" * 64))
    assert home.service_certificate.exists()
    compute_nb("service", "restart", "--fresh")
    assert not home.service_certificate.exists()
    assert answers(find_service(home))


@pytest.mark.parametrize("text", ["", "[]", '{"host": 1}'])
def test_spoiled_habits_are_one_clear_line(home, compute_nb, text):
    home.prepare()
    home.habits_file.write_text(text)
    refused = compute_nb("service", "start")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert f"{home.habits_file}, what the service was told last time, can't be read" in refused.stderr
    assert compute_nb("service", "start", "--fresh").returncode == 0
