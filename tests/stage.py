"""A service, agents of ours on any engine and a client, each with a home of its own, as on three machines.

Nobody starts an ended service or agent again but whoever has ended it: so one can be away for a stated time.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from rabbit import RabbitMQ, Vhost
from small_disk import SmallDisk

from compute_nb.config import TOKEN_VARIABLE, URL_VARIABLE
from compute_nb.connection import Connection
from compute_nb.private import read_private

CLI = (sys.executable, "-m", "compute_nb.cli")
UP_S = 300.0
WORKERS = 2
SETTINGS = 'memory_limit = "1 GB"\n'
CONNECTED = re.compile(r"endpoint (\S+) is connected")


class Service:
    """A service of its own home; `start` is also what follows a kill."""

    def __init__(self, home: Path, words: Sequence[str] = ()) -> None:
        self._environ = {**os.environ, "COMPUTE_NB_HOME": str(home)}
        self._words = words
        self.pid = 0

    def start(self) -> None:
        """Starts it where nothing runs; returns once it listens, at the address that it had before."""
        self._cli("start", *self._words)
        status = json.loads(self._cli("status", "--json"))
        self.url, self.pid, self.token_file = status["url"], int(status["pid"]), Path(status["token_file"])

    def signal(self, number: int) -> None:
        """Sends its process a signal."""
        os.kill(self.pid, number)

    def stop(self) -> None:
        """Ends it by command, if it runs."""
        self._cli("stop")

    def tasks(self, task_ids: Sequence[str]) -> Mapping[str, Any]:
        """Returns what the service says of tasks."""
        connection = Connection(self.url, read_private(self.token_file, "the token"))
        try:
            answer = connection.post("/v2/batch_status", {"task_ids": list(task_ids)})
            return dict(answer["results"])
        finally:
            connection.close()

    def details(self, endpoint_id: str) -> Mapping[str, Any]:
        """Returns what the service knows of an endpoint."""
        connection = Connection(self.url, read_private(self.token_file, "the token"))
        try:
            return dict(connection.get(f"/v2/endpoints/{endpoint_id}/status"))
        finally:
            connection.close()

    def _cli(self, *words: str) -> str:
        done = subprocess.run(
            [*CLI, "service", *words],
            env=self._environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=UP_S,
        )
        assert done.returncode == 0 or words[0] == "stop", done.stdout + done.stderr
        return done.stdout


class Agent:
    """An agent of ours on one engine; a thread reads its log, for whoever waits for a line of it.

    Attributes:
        lines: What it has said so far, over all its lives.
        endpoint_id: Known once it has connected.
    """

    def __init__(self, engine: str, home: Path, service: Service) -> None:
        self.engine, self.home, self._service = engine, home, service
        self.lines: list[str] = []
        self.endpoint_id = ""
        self._said = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts it, also again; returns at once."""
        service, config = self._service, self.home / "agent.toml"
        if not config.exists():
            self.home.mkdir(mode=0o700, parents=True)
            config.write_text(SETTINGS)
        where = ["--service", service.url, "--token-file", str(service.token_file)]
        words = ["--engine", self.engine, "--workers", str(WORKERS), "--config", str(config), *where]
        self._process = subprocess.Popen(
            [*CLI, "endpoint", "run", self.engine, *words],
            env={**os.environ, "COMPUTE_NB_HOME": str(self.home)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def await_line(self, pattern: str, since: int = 0) -> re.Match[str]:
        """Returns the first match in what it says after its first `since` lines; waits for it."""
        found = self.says(pattern, since, UP_S)
        assert found, f"the agent of {self.engine} never said {pattern!r}: {''.join(self.lines[-20:])}"
        return found

    def says(self, pattern: str, since: int = 0, wait_s: float = 0.0) -> re.Match[str] | None:
        """Returns the first match in what it says after its first `since` lines, None if there is none."""
        with self._said:
            return self._said.wait_for(lambda: self._find(pattern, since), wait_s)

    def connected(self, since: int = 0) -> None:
        """Waits until its service knows it."""
        self.endpoint_id = self.await_line(CONNECTED.pattern, since)[1]

    def signal(self, number: int) -> None:
        """Sends its process a signal."""
        os.kill(self.pid, number)

    def end(self, number: int) -> None:
        """Ends it by a signal; returns when it has ended."""
        if self._process is not None:
            self._process.send_signal(number)
            self.ended()

    def ended(self) -> None:
        """Waits for its end."""
        if self._process is not None:
            self._process.wait(UP_S)
            assert self._reader is not None
            self._reader.join(UP_S)
            self._process = None

    def _find(self, pattern: str, since: int) -> re.Match[str] | None:
        found = (re.search(pattern, line) for line in self.lines[since:])
        return next((match for match in found if match), None)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                with self._said:
                    self.lines.append(line)
                    self._said.notify_all()


class Stage:
    """One service and the agents that were asked for.

    Attributes:
        disk: The homes of all agents are on it.
        rabbit: The service's broker; None where it has its own.
    """

    def __init__(self, folder: Path, words: Sequence[str], rabbit: RabbitMQ | None) -> None:
        self.disk, self.rabbit = SmallDisk(folder / "disk"), rabbit
        self.service = Service(folder / "service", words)
        self._agents: dict[str, Agent] = {}

    def start(self, *engines: str) -> None:
        """Starts agents on these engines where there are none; returns at once."""
        for engine in engines:
            if engine not in self._agents:
                self._agents[engine] = Agent(engine, self.disk.folder / engine, self.service)
                self._agents[engine].start()

    def agents(self, *engines: str) -> list[Agent]:
        """Returns the agents on these engines, started side by side at their first use, all connected."""
        self.start(*engines)
        for engine in engines:
            if not self._agents[engine].endpoint_id:
                self._agents[engine].connected()
        return [self._agents[engine] for engine in engines]

    def close(self) -> None:
        """Ends all of them."""
        for agent in self._agents.values():
            agent.signal(signal.SIGTERM)
        for agent in self._agents.values():
            agent.ended()
        self.service.stop()
        self.disk.close()


@contextmanager
def stage(folder: Path, rabbit: RabbitMQ | None = None) -> Iterator[Stage]:
    """A stage whose service is the one that clients of this process ask.

    Args:
        folder: Where all homes are.
        rabbit: The service's broker, which runs.
    """
    with pytest.MonkeyPatch.context() as patch, ExitStack() as ends:
        words = broker_words(ends.enter_context(rabbit.vhost())) if rabbit is not None else ()
        one = Stage(folder, words, rabbit)
        ends.callback(one.close)
        patch.setenv("COMPUTE_NB_HOME", str(folder / "client"))
        patch.delenv(URL_VARIABLE, raising=False)
        patch.delenv(TOKEN_VARIABLE, raising=False)
        one.service.start()
        patch.setenv(URL_VARIABLE, one.service.url)
        patch.setenv(TOKEN_VARIABLE, read_private(one.service.token_file, "the token"))
        yield one


def broker_words(vhost: Vhost) -> list[str]:
    """The service's command line for a virtual host."""
    options = vhost.options
    return [
        f"--broker={options.broker}",
        f"--broker-admin={options.admin}",
        f"--broker-password-file={options.password_file}",
    ]
