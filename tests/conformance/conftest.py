"""Two services, one plain and one not, each with an agent of ours and a published one; SDKs as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import guide
import pytest
from conformance.published_agent import PublishedAgent
from own_home import await_online
from rabbit import RabbitMQ

from compute_nb import ComputeFuture, Executor
from compute_nb.client import Client
from compute_nb.config import ServiceSettings
from compute_nb.home import Home
from compute_nb.local import find_service
from compute_nb.serialize import ComputeSerializer, DillDataBase64, PureSourceTextInspect
from compute_nb.service.config import RabbitOptions

collect_ignore = [] if guide.FILE.exists() else ["test_guide.py"]

HERE = Path(__file__).parent
WAIT_S = 150
OURS, PUBLISHED = "compute_nb", "globus_compute_sdk"


@dataclass(frozen=True)
class Side:
    """A running service.

    Attributes:
        endpoint_id: Of the endpoint `lab`, which has an agent of ours.
        published: The published agent of another one.
    """

    home: Home
    url: str
    token: str
    endpoint_id: str
    published: PublishedAgent


class SdkClient:
    """An SDK as a process, pointed at a service.

    Args:
        python: Has the package.
        package: `globus_compute_sdk` or `compute_nb`.
    """

    def __init__(self, python: str, url: str, token: str, folder: Path, package: str = PUBLISHED) -> None:
        with (folder / f"{package}.log").open("w") as log:
            self._process = subprocess.Popen(
                [python, str(HERE / "sdk_client.py"), package, url, token],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "GLOBUS_COMPUTE_USER_DIR": str(folder)},
            )

    def do(self, operation: str, **arguments: Any) -> Any:
        """The answer, or the text of an error as a RuntimeError."""
        self._process.stdin.write(json.dumps({"do": operation, **arguments}) + "\n")
        self._process.stdin.flush()
        reply = json.loads(self._process.stdout.readline())
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply["ok"]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(WAIT_S)
        self._process.stdin.close()
        self._process.stdout.close()


@contextmanager
def running_side(
    published_python: str, plain: bool = False, rabbit: RabbitOptions | None = None
) -> Iterator[Side]:
    """Runs a service with an agent of each kind, in a home of their own."""
    settings = {"plain": plain, "rabbit": rabbit and asdict(rabbit)}
    with tempfile.TemporaryDirectory(prefix="cnb") as folder, running_service(Path(folder), settings) as home:
        env = os.environ | {"COMPUTE_NB_HOME": str(home.root)}
        info = find_service(home)
        published = published_agent(published_python, home, Path(folder) / "published")
        # The published ShellFunction is read only where the published SDK is.
        there = ["--python", published_python]
        agent = subprocess.Popen(
            [sys.executable, "-m", "compute_nb.cli", "endpoint", "run", "lab", "--workers", "2", *there],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=env,
        )
        try:
            yield Side(home, info.url, info.token, await_online(home, "lab"), published)
        finally:
            agent.terminate()
            published.stop()
            agent.wait(WAIT_S)


@contextmanager
def running_service(folder: Path, settings: dict[str, Any]) -> Iterator[Home]:
    """Runs a service that gives an ended process of a published agent seconds, not a minute."""
    home = Home(folder / "home").prepare()
    reading, writing = os.pipe()
    command = [
        sys.executable,
        str(HERE / "quick_service.py"),
        str(home.root),
        str(writing),
        json.dumps(settings),
    ]
    process = subprocess.Popen(command, pass_fds=[writing])
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.readline().startswith("ready")
    try:
        yield home
    finally:
        process.terminate()
        process.wait(WAIT_S)


def published_agent(python: str, home: Home, folder: Path) -> PublishedAgent:
    """Registers an endpoint and starts the published agent of it."""
    info = find_service(home)
    settings = ServiceSettings("here", info.url, token=info.token)
    made = Client(service=settings).register_endpoint("pub", metadata={"endpoint_version": "4.19.0"})
    return PublishedAgent(python, info.url, home.token_file, made["endpoint_id"], folder)


@pytest.fixture(scope="session")
def plain(published_python: str) -> Iterator[Side]:
    with running_side(published_python, plain=True) as side:
        yield side


@pytest.fixture(scope="session")
def extended(published_python: str) -> Iterator[Side]:
    with running_side(published_python) as side:
        yield side


@pytest.fixture(scope="session")
def over_rabbit(published_python: str, rabbit: RabbitMQ) -> Iterator[Side]:
    with rabbit.vhost() as vhost, running_side(published_python, rabbit=vhost.options) as side:
        yield side


def who(_: int) -> int:
    import os

    return os.getpid()


def double(x: int) -> int:
    return x * 2


@dataclass(frozen=True)
class Early:
    """Tasks of the published agent that are submitted before they are looked at, since they take their time.

    Attributes:
        idle: In a user endpoint that ends when it has nothing to do.
        blocks: With the engine of clusters, which takes a quarter of a minute for its first task.
    """

    client: Client
    idle: ComputeFuture
    blocks: ComputeFuture


def sourced_client(side: Side) -> Client:
    """Returns a client whose functions travel as source: workers have none of the tests' modules."""
    client = Client(service=ServiceSettings("here", side.url, token=side.token))
    client.fx_serializer = ComputeSerializer(PureSourceTextInspect(), DillDataBase64())
    return client


@pytest.fixture(scope="session")
def early(extended: Side) -> Iterator[Early]:
    client = sourced_client(extended)
    endpoint_id = extended.published.endpoint_id
    with (
        Executor(endpoint_id, client, user_endpoint_config={"idle": 1}) as idle,
        Executor(endpoint_id, client, user_endpoint_config={"blocks": 1}) as blocks,
    ):
        yield Early(client, idle.submit(who, 0), blocks.submit(double, 21))
