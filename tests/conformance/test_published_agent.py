"""The life of the published agent at our service: it idles and comes back, fails to start, is killed."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress

import psutil
import pytest
from conformance.conftest import Early, Side, double, who

from compute_nb import Executor, TaskExecutionFailed
from compute_nb.client import Client
from compute_nb.errors import TaskLost

pytestmark = pytest.mark.filterwarnings("ignore:endpoint .* runs tasks by dill")  # and that is true

WAIT_S = 60


def nap(x):
    import time

    time.sleep(0.05)
    return x * 2


@pytest.fixture(scope="module")
def client(early: Early) -> Client:
    return early.client


def test_a_start_that_fails_fails_its_tasks_with_the_agents_words(client: Client, extended: Side) -> None:
    config = {"broken": True}
    with Executor(extended.published.endpoint_id, client, user_endpoint_config=config) as one:
        futures = [one.submit(double, n) for n in range(3)]
        for future in futures:
            with pytest.raises(TaskExecutionFailed, match=r"could not start.*nowhere"):
                future.result(WAIT_S)


def test_it_idles_out_and_comes_back(early: Early, extended: Side) -> None:
    first = early.idle.result(WAIT_S)
    with suppress(psutil.NoSuchProcess):
        psutil.wait_procs([psutil.Process(first)], WAIT_S)
    with Executor(extended.published.endpoint_id, early.client, user_endpoint_config={"idle": 1}) as one:
        assert one.submit(who, 1).result(WAIT_S) != first


def test_the_engine_of_clusters(early: Early) -> None:
    assert early.blocks.result(2 * WAIT_S) == 42


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
