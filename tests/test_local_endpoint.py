"""`local` at a service that is somebody else's, or on another host: this interpreter's, started here."""

from __future__ import annotations

import os
import subprocess
import sys
from uuid import UUID

import pytest
from own_home import own_home, service

from compute_nb import Client, Executor
from compute_nb.errors import ComputeError
from compute_nb.home import Home
from compute_nb.local_endpoint import LocalEndpoint

WAIT_S = 60


def compute_nb(home: Home, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "compute_nb.cli", *words],
        env={**os.environ, "COMPUTE_NB_HOME": str(home.root)},
        capture_output=True,
        text=True,
        check=True,
        timeout=WAIT_S,
    )
    return done.stdout


@pytest.fixture(scope="module")
def theirs():
    """Address of the service of another home, and the token of a guest there."""
    with own_home() as home:
        url = service(home, "start").strip()
        compute_nb(home, "user", "add", "guest")
        yield url, compute_nb(home, "token", "create", "--user", "guest").strip()


@pytest.fixture
def mine(theirs, monkeypatch, tmp_path):
    """The guest's own home, where the environment names that service."""
    home = Home(tmp_path / "mine")
    monkeypatch.setenv("COMPUTE_NB_HOME", str(home.root))
    monkeypatch.setenv("COMPUTE_NB_SERVICE_URL", theirs[0])
    monkeypatch.setenv("COMPUTE_NB_TOKEN", theirs[1])
    return home


def told() -> tuple[int, str, str, list[str]]:
    return os.getppid(), os.getcwd(), sys.prefix, [n for n in os.environ if "TOKEN" in n or "SERVICE" in n]


def test_it_is_started_here_and_registered_there_once(mine, monkeypatch, tmp_path):
    client = Client()
    with pytest.raises(ComputeError, match="a submit starts it"):
        client.get_endpoint_status("local")
    assert not mine.root.exists()
    monkeypatch.chdir(tmp_path)
    try:
        with Executor("local") as executor:
            agent, folder, prefix, secrets = executor.submit(told).result(WAIT_S)
            endpoint_id = executor.endpoint_id
        assert (folder, prefix, secrets) == (str(tmp_path), sys.prefix, [])
        assert [UUID(row["uuid"]) for row in client.get_endpoints()] == [endpoint_id]
        assert client.get_endpoint_status("local")["status"] == "online"
        with Executor() as again:
            assert again.submit(told).result(WAIT_S)[0] == agent
            assert again.endpoint_id == endpoint_id
    finally:
        (folder,) = (mine.state / "endpoints").iterdir()
        compute_nb(mine, "endpoint", "stop", folder.name)
    assert folder.name.startswith("local-at-")


def test_an_agent_that_can_not_start_says_why(mine):
    given = Client().reach.settings
    one = LocalEndpoint(mine, given, "somebody")
    folder = mine.prepare().endpoint_dir(one.name)
    folder.mkdir()
    (folder / "endpoint.toml").write_text("worker = 1\n")
    with pytest.raises(ComputeError, match=rf"endpoint {one.name} did not start: .*did you mean 'workers'"):
        one.start()
