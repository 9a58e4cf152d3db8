"""The life of the published agent at our service: it idles and comes back, fails to start, is killed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import psutil
import pytest
from conformance.conftest import Side

from compute_nb import ComputeFuture, Executor, TaskExecutionFailed
from compute_nb.client import Client
from compute_nb.config import ServiceSettings
from compute_nb.errors import TaskLost
from compute_nb.serialize import ComputeSerializer, DillDataBase64, PureSourceTextInspect

pytestmark = pytest.mark.filterwarnings("ignore:endpoint .* runs tasks by dill")  # and that is true

WAIT_S = 60


def double(x):
    return x * 2


def nap(x):
    import time

    time.sleep(0.05)
    return x * 2


def who(_):
    import os

    return os.getpid()


@pytest.fixture(scope="module")
def client(extended: Side) -> Client:
    one = Client(service=ServiceSettings("here", extended.url, token=extended.token))
    one.fx_serializer = ComputeSerializer(PureSourceTextInspect(), DillDataBase64())
    return one


@pytest.fixture(scope="module")
def blocks(client: Client, extended: Side) -> Iterator[ComputeFuture]:
    """A task of an engine that takes a quarter of a minute for its first one."""
    config = {"blocks": 1}
    with Executor(extended.published.endpoint_id, client, user_endpoint_config=config) as one:
        yield one.submit(double, 21)


def test_a_start_that_fails_fails_its_tasks_with_the_agents_words(
    client: Client, extended: Side, blocks: ComputeFuture
) -> None:
    config = {"broken": True}
    with Executor(extended.published.endpoint_id, client, user_endpoint_config=config) as one:
        futures = [one.submit(double, n) for n in range(3)]
        for future in futures:
            with pytest.raises(TaskExecutionFailed, match=r"could not start.*nowhere"):
                future.result(WAIT_S)


def test_it_idles_out_and_comes_back(client: Client, extended: Side) -> None:
    with Executor(extended.published.endpoint_id, client, user_endpoint_config={"idle": 1}) as one:
        first = one.submit(who, 0).result(WAIT_S)
        psutil.wait_procs([psutil.Process(first)], WAIT_S)
        second = one.submit(who, 1).result(WAIT_S)
    assert first != second


def test_the_engine_of_clusters(blocks: ComputeFuture) -> None:
    assert blocks.result(2 * WAIT_S) == 42


def test_killed_under_load_and_started_again(client: Client, extended: Side) -> None:
    agent = extended.published
    with (
        Executor(agent.endpoint_id, client) as once,
        Executor(agent.endpoint_id, client, retries=1) as twice,
    ):
        again = [twice.submit(nap, n) for n in range(100)]
        never = [once.submit(nap, n) for n in range(100)]
        again[5].result(WAIT_S)
        agent.kill()
        agent.start()
        assert [future.result(WAIT_S) for future in again] == [2 * n for n in range(100)]
        ends = Counter(type(future.exception(WAIT_S)) for future in never)
        values = [future.result() for future in never if future.exception() is None]
    assert set(ends) <= {type(None), TaskLost}
    assert ends[TaskLost] > 0
    assert set(values) <= {2 * n for n in range(100)}
    assert len(values) + ends[TaskLost] == 100


def test_the_status_tells_when_it_is_gone(client: Client, extended: Side) -> None:
    agent = extended.published
    assert client.get_endpoint_status(agent.endpoint_id)["status"] == "online"
    agent.stop()
    until = time.monotonic() + WAIT_S
    while client.get_endpoint_status(agent.endpoint_id)["status"] == "online":
        assert time.monotonic() < until
    agent.start()
