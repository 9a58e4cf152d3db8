"""What the logs of service and agent tell of a task: each hop, by its id, and nothing of what it is."""

import json
import os
import subprocess
import sys

import pytest
from own_home import own_home, service

SCRIPT = """
import os, tempfile, threading
from compute_nb import Executor
from compute_nb.client import Client

def work(x, gate, tell):
    import os, time

    while not os.path.exists(gate):
        time.sleep(0.01)
    print("PRINTED-MARKER")
    if tell:
        raise ValueError("RAISED-MARKER" + x)
    return "RESULT-MARKER" + x

with tempfile.TemporaryDirectory() as folder, Executor("local") as executor:
    gate, begun = folder + "/gate", threading.Event()
    executor.add_update_callback(lambda futures: begun.set() if any(f.running() for f in futures) else None)
    good = executor.submit(work, "ARGUMENT-MARKER", gate, False)
    assert begun.wait(60)  # one that ends before its agent has looked was begun, and is told as ended only
    open(gate, "w").close()
    bad = executor.submit(work, "ARGUMENT-MARKER", gate, True)
    assert good.result(60) == "RESULT-MARKERARGUMENT-MARKER"
    assert bad.exception(60)
print(good.task_id, bad.task_id)
"""
SERVICE_HOPS = ("accepted", "sent", "SUCCEEDED, stored", "result told to a watcher")
AGENT_HOPS = ("journalled", "begun", "ended, success")


def run(script):
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture(scope="module")
def logs():
    """Of a service and its agent that told all they could, as JSON lines, and their secrets."""
    with own_home() as home:
        assert "http" in service(home, "start", "--log-level", "debug", "--log-json")
        task_id, failed_id = run(SCRIPT)
        # A token in a path is what a person may do by mistake.
        from compute_nb.cli.control import ask
        from compute_nb.errors import ComputeError

        token = home.token_file.read_text().strip()
        with pytest.raises(ComputeError):
            ask(home, "DELETE", f"/v3/compute_nb/tokens/{token}")
        url = ask(home, "GET", "/v2/get_amqp_result_connection_url")["connection_url"]
        secrets = [
            token.rpartition("_")[2],
            url.split("@")[0].rpartition(":")[2],
            home.service_key.read_text(),
        ]
        service(home, "stop")
        agents = [path.read_text() for path in home.state.glob("endpoints/*/*.log")]
        assert agents
        yield home.service_log.read_text(), "".join(agents), task_id, failed_id, secrets


def hops(text, task_id):
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line["message"].partition(": ")[2] for line in lines if line.get("task_id") == task_id]


def test_each_hop_tells_the_task_by_its_id(logs):
    of_service, of_agent, task_id, failed_id, _ = logs
    told = hops(of_service, task_id)
    for hop in SERVICE_HOPS:
        assert any(line.startswith(hop) for line in told), (hop, told)
    begun = [place for place, line in enumerate(told) if line.startswith("accepted")]
    assert begun == [0], "in the order in which it went"
    told = hops(of_agent, task_id)
    for hop in AGENT_HOPS:
        assert any(line.startswith(hop) for line in told), (hop, told)
    assert any(line.startswith("FAILED, stored") for line in hops(of_service, failed_id))
    assert any(line.startswith("ended, error") for line in hops(of_agent, failed_id))


def test_every_line_is_json(logs):
    of_service, of_agent, *_ = logs
    for line in (of_service + of_agent).splitlines():
        fields = json.loads(line)
        assert {"time", "level", "logger", "message"} <= set(fields)


def test_no_log_has_a_secret_or_anything_of_a_task(logs):
    of_service, of_agent, *_, secrets = logs
    for text in (of_service, of_agent):
        for secret in secrets:
            assert secret not in text
        assert "MARKER" not in text
        assert "def work" not in text


def test_a_log_that_can_not_be_written_stops_nobody():
    with own_home() as home:
        home.service_log.mkdir()
        assert "http" in service(home, "start")
        from compute_nb.cli.control import ask

        python = {"python": sys.executable, "prefix": sys.prefix, "start": False}
        name = ask(home, "POST", "/v3/compute_nb/local", python)["name"]
        agent_log = home.endpoint_dir(name) / "agent.log"
        agent_log.mkdir(parents=True)
        task_ids = run(SCRIPT)
        assert len(task_ids) == 2
        assert os.listdir(agent_log) == []
        assert "stopped" in service(home, "stop")
