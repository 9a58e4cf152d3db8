"""The published SDK as the client of our service, with its extensions and without."""

from __future__ import annotations

import os

import pytest
from conformance.conftest import PublishedClient


@pytest.fixture(scope="module", params=["plain", "extended"])
def side(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def client(side, published_python, tmp_path_factory):
    one = PublishedClient(published_python, side.url, side.token, tmp_path_factory.mktemp("published"))
    yield one
    one.kill()


def test_submit_and_gather(client, side):
    assert client.do("submit", endpoint_id=side.endpoint_id, count=40) == [2 * n for n in range(40)]


def test_a_failure_is_its_own(client, side):
    assert client.do("failure", endpoint_id=side.endpoint_id) == ["TaskExecutionFailed", True, 8]


def test_run_and_get_result(client, side):
    assert client.do("run", endpoint_id=side.endpoint_id) == 16


def test_batch(client, side):
    assert client.do("batch", endpoint_id=side.endpoint_id) == [0, 2, 4]


def test_functions_and_endpoints(client, side):
    assert client.do("function", function_id=client.do("register")) == "double"
    assert client.do("function", function_id=client.do("source")) == "half"
    assert client.do("endpoints", endpoint_id=side.endpoint_id) == ["online", side.endpoint_id, True]


def test_a_killed_process_and_another_that_reloads(client, side, published_python, tmp_path):
    gate = str(tmp_path / "gate")
    os.mkfifo(gate)
    first = PublishedClient(published_python, side.url, side.token, tmp_path)
    group = first.do("leave", endpoint_id=side.endpoint_id, path=gate)
    first.kill()
    with open(gate, "w") as pipe:
        pipe.write("open")
    assert client.do("reload", endpoint_id=side.endpoint_id, group=group) == ["10", "open"]
