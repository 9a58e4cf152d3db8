"""Our SDK and the published one, our agent and the published one, each with each, at our service."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conformance.conftest import OURS, PUBLISHED, SdkClient, Side

# What the others test again and again, our SDK with our agent, is here once; all that is published, on both.
PAIRINGS = [
    pytest.param(("extended", OURS, "ours"), id="our SDK, our agent"),
    pytest.param(("extended", OURS, "published"), id="our SDK, published agent"),
    pytest.param(("extended", PUBLISHED, "ours"), id="published SDK, our agent"),
    pytest.param(("extended", PUBLISHED, "published"), id="published SDK, published agent"),
    pytest.param(("plain", OURS, "published"), id="our SDK, published agent, plain"),
    pytest.param(("plain", PUBLISHED, "ours"), id="published SDK, our agent, plain"),
]


@dataclass(frozen=True)
class Pair:
    """An SDK and the endpoint that it asks."""

    sdk: str
    side: Side
    endpoint_id: str
    python: str

    def client(self, folder: Path) -> SdkClient:
        return SdkClient(self.python, self.side.url, self.side.token, folder, self.sdk)


@pytest.fixture(scope="module", params=PAIRINGS)
def pair(request: pytest.FixtureRequest, published_python: str) -> Pair:
    side, sdk, agent = request.param
    side = request.getfixturevalue(side)
    python = published_python if sdk == PUBLISHED else sys.executable
    return Pair(sdk, side, side.endpoint_id if agent == "ours" else side.published.endpoint_id, python)


@pytest.fixture(scope="module")
def client(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SdkClient]:
    one = pair.client(tmp_path_factory.mktemp("sdk"))
    yield one
    one.kill()


def test_a_hundred_tasks(client: SdkClient, pair: Pair) -> None:
    assert client.do("submit", endpoint_id=pair.endpoint_id, count=100) == [2 * n for n in range(100)]


def test_a_failure_is_its_own(client: SdkClient, pair: Pair) -> None:
    assert client.do("failure", endpoint_id=pair.endpoint_id) == [True, True, 8]


def test_a_shell_function(client: SdkClient, pair: Pair) -> None:
    assert client.do("shell", endpoint_id=pair.endpoint_id) == [
        3,
        "yes\n",
        True,
        "echo yes; echo no >&2; exit 3",
    ]


def test_json_both_ways(client: SdkClient, pair: Pair) -> None:
    assert client.do("as_json", endpoint_id=pair.endpoint_id) == [1, "a", 1, "a"]


def test_combined_strategies(client: SdkClient, pair: Pair) -> None:
    assert client.do("combined", endpoint_id=pair.endpoint_id) == [6, "abab", [1.5, 1.5]]


def test_a_megabyte_there_and_two_back(client: SdkClient, pair: Pair) -> None:
    assert client.do("large", endpoint_id=pair.endpoint_id, size=1_000_000) == 2_000_000


def test_a_registered_function_and_a_source(client: SdkClient, pair: Pair) -> None:
    assert client.do("run", endpoint_id=pair.endpoint_id) == 16
    assert client.do("run_source", endpoint_id=pair.endpoint_id) == 4.5


def test_a_batch(client: SdkClient, pair: Pair) -> None:
    assert client.do("batch", endpoint_id=pair.endpoint_id) == [0, 2, 4]


def test_functions_and_endpoints(client: SdkClient, pair: Pair) -> None:
    assert client.do("function", function_id=client.do("register")) == "double"
    assert client.do("function", function_id=client.do("source")) == "half"
    assert client.do("endpoints", endpoint_id=pair.endpoint_id) == ["online", pair.endpoint_id, True]


def test_a_killed_process_and_another_that_reloads(client: SdkClient, pair: Pair, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    os.mkfifo(gate)
    first = pair.client(tmp_path)
    group = first.do("leave", endpoint_id=pair.endpoint_id, path=gate)
    first.kill()
    with open(gate, "w") as pipe:
        pipe.write("open")
    assert client.do("reload", endpoint_id=pair.endpoint_id, group=group) == ["10", "open"]
