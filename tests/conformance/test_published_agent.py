"""The life of the published agent at our service: it idles and comes back, fails to start, is killed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from conformance.conftest import Early, Side, double, sourced_client, who

from compute_nb import ComputeFuture, Executor, TaskExecutionFailed
from compute_nb.client import Client
from compute_nb.errors import TaskLost

pytestmark = pytest.mark.filterwarnings("ignore:endpoint .* runs tasks by dill")  # and that is true

WAIT_S = 150


def double_later(x, gate, begun):
    """Tells through a pipe that it has begun, and goes on once there is a file."""
    import os
    import time

    if not os.path.exists(gate):
        open(begun, "w").close()
    while not os.path.exists(gate):
        time.sleep(0.05)
    return x * 2


def nap(x):
    import time

    time.sleep(3)
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


def comes_back(side: Side, first: ComputeFuture) -> None:
    """Waits until the process that ran a task has ended, and has the next task run in another one."""
    process = first.result(WAIT_S)
    with suppress(psutil.NoSuchProcess):
        _, alive = psutil.wait_procs([psutil.Process(process)], WAIT_S)
        assert not alive
    config = {"idle": 1}
    with Executor(side.published.endpoint_id, sourced_client(side), user_endpoint_config=config) as one:
        assert one.submit(who, 1).result(WAIT_S) != process


def test_it_idles_out_and_comes_back(early: Early, extended: Side) -> None:
    comes_back(extended, early.idle)


def test_it_idles_out_and_comes_back_over_rabbitmq(over_rabbit: Side) -> None:
    client, config = sourced_client(over_rabbit), {"idle": 1}
    with Executor(over_rabbit.published.endpoint_id, client, user_endpoint_config=config) as one:
        first = one.submit(who, 0)
        first.result(WAIT_S)
    comes_back(over_rabbit, first)


def test_the_engine_of_clusters(early: Early) -> None:
    assert early.blocks.result(2 * WAIT_S) == 42


def kill_under_load(side: Side, folder: Path) -> tuple[list[int], list[int | None]]:
    """Returns what 100 tasks with a retry gave, and 100 without: None for those that are LOST."""
    agent, client = side.published, sourced_client(side)
    gate, begun = folder / "gate", folder / "begun"
    folder.mkdir()
    os.mkfifo(begun)
    with (
        Executor(agent.endpoint_id, client) as once,
        Executor(agent.endpoint_id, client, retries=1) as twice,
    ):
        never = [once.submit(double_later, 0, str(gate), str(begun))]
        begun.open().close()
        again = [twice.submit(nap, 0)]
        again[0].result(WAIT_S)  # it says twice a second what it has taken: the first is its own by now
        never += [once.submit(double, n) for n in range(1, 100)]
        again += [twice.submit(double, n) for n in range(1, 100)]
        agent.kill()
        gate.touch()
        agent.start()
        values = [future.result(WAIT_S) for future in again]
        return values, [value_or_loss(future) for future in never]


def value_or_loss(future: ComputeFuture) -> int | None:
    try:
        return future.result(WAIT_S)
    except TaskLost:
        return None


@pytest.fixture(scope="module")
def killed(
    extended: Side, over_rabbit: Side, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Any]]]:
    folder = tmp_path_factory.mktemp("killed")
    with ThreadPoolExecutor() as pool:
        sides = {"embedded": extended, "RabbitMQ": over_rabbit}
        yield {name: pool.submit(kill_under_load, side, folder / name) for name, side in sides.items()}


@pytest.mark.parametrize("broker", ["embedded", "RabbitMQ"])
def test_killed_under_load_and_started_again(killed: dict[str, Future[Any]], broker: str) -> None:
    again, never = killed[broker].result(2 * WAIT_S)
    assert again == [2 * n for n in range(100)]
    assert never[0] is None, "nobody can know what the killed ones did"
    assert {n for n, value in enumerate(never) if value is not None and value != 2 * n} == set()


def test_the_status_tells_when_it_is_gone(client: Client, extended: Side) -> None:
    agent = extended.published

    def becomes(status: str) -> None:
        until = time.monotonic() + WAIT_S
        while client.get_endpoint_status(agent.endpoint_id)["status"] != status:
            assert time.monotonic() < until

    becomes("online")
    agent.stop()
    becomes("offline")
    agent.start()
