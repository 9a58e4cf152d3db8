"""Our SDK and the published one, our agent and the published one, each with each, on both brokers.

They wait for each other's half seconds most of the time, so all pairings run side by side, each doing one
thing after the other; the tests look at what came out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conformance.conftest import OURS, PUBLISHED, SdkClient, Side

# The side, whose SDK, whose agent.
PAIRINGS = {
    "our SDK, our agent": ("extended", OURS, "ours"),
    "our SDK, published agent": ("extended", OURS, "published"),
    "published SDK, our agent": ("extended", PUBLISHED, "ours"),
    "published SDK, published agent": ("extended", PUBLISHED, "published"),
    "plain: our SDK, published agent": ("plain", OURS, "published"),
    "plain: published SDK, our agent": ("plain", PUBLISHED, "ours"),
    "RabbitMQ: our SDK, our agent": ("over_rabbit", OURS, "ours"),
    "RabbitMQ: our SDK, published agent": ("over_rabbit", OURS, "published"),
    "RabbitMQ: published SDK, our agent": ("over_rabbit", PUBLISHED, "ours"),
    "RabbitMQ: published SDK, published agent": ("over_rabbit", PUBLISHED, "published"),
}
AT_ONCE = 5
WAIT_S = 400
EXPECTED: dict[str, tuple[dict[str, Any], Any]] = {
    "submit": ({"count": 100}, [2 * n for n in range(100)]),
    "failure": ({}, [True, True, 8]),
    "shell": ({}, [3, "yes\n", True, "echo yes; echo no >&2; exit 3"]),
    "as_json": ({}, [1, "a", 1, "a"]),
    "combined": ({}, [6, "abab", [1.5, 1.5]]),
    "large": ({"size": 1_000_000}, 2_000_000),
    "run": ({}, 16),
    "run_source": ({}, 4.5),
    "batch": ({}, [0, 2, 4]),
}
Answers = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """An SDK and the endpoint that it asks."""

    sdk: str
    side: Side
    endpoint_id: str
    python: str

    def client(self, folder: Path) -> SdkClient:
        return SdkClient(self.python, self.side.url, self.side.token, folder, self.sdk)

    def answers(self, folder: Path) -> Answers:
        """Does it all, one thing after the other; an error stands in the place of an answer."""
        answers: Answers = {}
        client = self.client(folder)
        try:
            for name, (arguments, _) in EXPECTED.items():
                answers[name] = _tried(client, name, endpoint_id=self.endpoint_id, **arguments)
            answers["endpoints"] = _tried(client, "endpoints", endpoint_id=self.endpoint_id)
            function_id = client.do("register")
            answers["function"] = _tried(client, "function", function_id=function_id)
            answers["reload"] = _tried(
                client, "reload", endpoint_id=self.endpoint_id, group=self.left(folder)
            )
        finally:
            client.kill()
        return answers

    def left(self, folder: Path) -> str:
        """Returns a task group that a process has left, killed while a task of it ran."""
        gate = str(folder / "gate")
        os.mkfifo(gate)
        other = self.client(folder)
        group: str = other.do("leave", endpoint_id=self.endpoint_id, path=gate)
        other.kill()
        with open(gate, "w", encoding="ascii") as pipe:
            pipe.write("open")
        return group


def _tried(client: SdkClient, operation: str, **arguments: Any) -> Any:
    try:
        return client.do(operation, **arguments)
    except RuntimeError as error:
        return error


@pytest.fixture(scope="module")
def pairs(request: pytest.FixtureRequest, published_python: str) -> dict[str, Pair]:
    pairs = {}
    for name, (side_name, sdk, agent) in PAIRINGS.items():
        side = request.getfixturevalue(side_name)
        python = published_python if sdk == PUBLISHED else sys.executable
        endpoint_id = side.endpoint_id if agent == "ours" else side.published.endpoint_id
        pairs[name] = Pair(sdk, side, endpoint_id, python)
    return pairs


@pytest.fixture(scope="module")
def running(
    pairs: dict[str, Pair], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Answers]]]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            name: pool.submit(pair.answers, tmp_path_factory.mktemp("pair")) for name, pair in pairs.items()
        }


@pytest.mark.parametrize("operation", EXPECTED)
@pytest.mark.parametrize("name", PAIRINGS)
def test_it_does_the_same(running: dict[str, Future[Answers]], name: str, operation: str) -> None:
    assert running[name].result(WAIT_S)[operation] == EXPECTED[operation][1]


@pytest.mark.parametrize("name", PAIRINGS)
def test_it_knows_functions_and_endpoints(
    running: dict[str, Future[Answers]], pairs: dict[str, Pair], name: str
) -> None:
    answers = running[name].result(WAIT_S)
    assert answers["function"] == "double"
    assert answers["endpoints"] == ["online", pairs[name].endpoint_id, True]


@pytest.mark.parametrize("name", PAIRINGS)
def test_it_reloads_what_a_killed_process_has_left(running: dict[str, Future[Answers]], name: str) -> None:
    assert running[name].result(WAIT_S)["reload"] == ["10", "open"]
