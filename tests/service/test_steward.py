"""Start commands, user endpoints and their heartbeats: a published agent of the test, by a real broker."""

from __future__ import annotations

import json
import time
from typing import Any
from uuid import UUID

import pika
import pytest

from compute_nb import wire
from compute_nb.published_messages import PublishedResult, PublishedTask, StatusReport

from .conftest import WAIT_S, RunningService, both_brokers

pytestmark = both_brokers

OK = "5\n01\nok"
PERIOD_S = 30.0


class Party:
    """Who reads one queue and publishes as one endpoint; messages are waited for."""

    def __init__(self, endpoint_id: str, url: str, queue: str) -> None:
        self.endpoint_id = UUID(endpoint_id)
        self.connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()
        self.arrived: list[tuple[Any, bytes]] = []
        self.channel.basic_consume(queue, self._on_message)

    def _on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_ack(method.delivery_tag)
        self.arrived.append((properties, body))

    def next(self) -> tuple[Any, bytes]:
        until = time.monotonic() + WAIT_S
        while not self.arrived:
            assert time.monotonic() < until, "nothing came"
            self.connection.process_data_events(time_limit=1)
        return self.arrived.pop(0)

    def nothing_came(self) -> bool:
        self.connection.process_data_events(time_limit=0)
        return not self.arrived

    def beat(self, **state: Any) -> None:
        report = StatusReport(self.endpoint_id, {"heartbeat_period": PERIOD_S} | state)
        self.publish("heartbeats", wire.encode(report))

    def publish(self, exchange: str, body: bytes) -> None:
        self.channel.basic_publish(exchange, f"{self.endpoint_id}.{exchange}", body)

    def close(self) -> None:
        self.connection.close()


class Core(Party):
    """A published agent: registered, reading its commands."""

    def __init__(self, service: RunningService) -> None:
        info = service.ok("POST", "/v3/endpoints", {"endpoint_name": "pub", "metadata": {"a": 1}})
        queue = info["command_queue_info"]
        super().__init__(info["endpoint_id"], queue["connection_url"], queue["queue"])
        self.beat()

    def started(self) -> tuple[Any, dict[str, Any]]:
        """Returns the properties of the next start command, and its arguments."""
        properties, body = self.next()
        command = json.loads(body)
        assert command["command"] == "cmd_start_endpoint"
        return properties, command

    def user(self, command: dict[str, Any], pid: int = 1) -> User:
        return User(command["kwargs"]["amqp_creds"], pid)


class User(Party):
    """A process of a user endpoint."""

    def __init__(self, creds: dict[str, Any], pid: int) -> None:
        queue = creds["task_queue_info"]
        self.process = {"posix_pid": pid, "start_unix": 1.5}
        super().__init__(creds["endpoint_id"], queue["connection_url"], queue["queue"])

    def up(self) -> None:
        self.beat(active=True, **self.process)

    def down(self) -> None:
        self.beat(active=False, **self.process)

    def done(self, task_id: str) -> None:
        self.publish("results", wire.encode(PublishedResult(UUID(task_id), OK)))


@pytest.fixture
def core(service: RunningService) -> Any:
    one = Core(service)
    yield one
    one.close()


def ids(answer: dict[str, Any]) -> list[str]:
    return [task_id for ids in answer["tasks"].values() for task_id in ids]


def ended(service: RunningService, task_id: str) -> dict[str, Any]:
    return service.becomes(f"/v2/tasks/{task_id}", lambda task: task["status"] in {"success", "failed"})


def at_work(service: RunningService, core: Core) -> tuple[User, str]:
    """Returns a user endpoint that has a task, and the task's id."""
    _, answer = service.submit(core.endpoint_id, service.function())
    (task_id,) = ids(answer)
    _, command = core.started()
    user = core.user(command)
    user.up()
    user.next()
    return user, task_id


def test_a_task_has_its_user_endpoint_started_and_goes_there(service: RunningService, core: Core) -> None:
    function_id = service.function()
    options = {
        "user_endpoint_config": {"cores": 2},
        "user_runtime": {"python_version": "3.11"},
        "resource_specification": {"num_nodes": 2},
        "result_serializers": ["globus_compute_sdk.serialize.JSONData"],
    }
    _, answer = service.submit(core.endpoint_id, function_id, **options)
    (task_id,) = ids(answer)
    properties, command = core.started()
    assert properties.content_type == "application/json"
    assert abs(properties.timestamp - time.time()) < 60
    kwargs, user_id = command["kwargs"], command["kwargs"]["amqp_creds"]["endpoint_id"]
    assert kwargs["name"] == f"uep.{core.endpoint_id}.{user_id}"
    assert (kwargs["user_opts"], kwargs["user_runtime"]) == ({"cores": 2}, {"python_version": "3.11"})
    (identity,) = service.ok("GET", "/v2/oauth2/userinfo")["identity_set"]
    assert identity["sub"] in [one["sub"] for one in command["globus_identity_set"]]

    user = core.user(command)
    user.up()
    properties, body = user.next()
    assert properties.headers == {
        "task_uuid": task_id,
        "function_uuid": function_id,
        "resource_specification": '{"num_nodes": 2}',
        "result_serializers": ["globus_compute_sdk.serialize.JSONData"],
    }
    assert wire.decode(body) == PublishedTask(UUID(task_id), "5\n01\nxyargs")
    user.done(task_id)
    assert ended(service, task_id)["result"] == OK
    user.close()


def test_one_start_is_open_and_none_while_the_agent_is_away(service: RunningService, core: Core) -> None:
    function_id = service.function()
    core.beat(heartbeat_period=0)
    path = f"/v2/endpoints/{core.endpoint_id}/status"
    service.becomes(path, lambda answer: answer["status"] == "offline")
    for _ in range(3):
        service.submit(core.endpoint_id, function_id)
    assert core.nothing_came()
    core.beat()
    core.started()
    service.submit(core.endpoint_id, function_id)
    core.beat()
    service.becomes(path, lambda answer: answer["status"] == "online")
    assert core.nothing_came()


def test_a_clock_that_is_wrong_is_told_and_fails_no_task(service: RunningService, core: Core) -> None:
    _, answer = service.submit(core.endpoint_id, service.function())
    (task_id,) = ids(answer)
    _, command = core.started()
    user = core.user(command)
    user.beat(error="Ignoring command from server\nCommand too old or skew between clocks is too large.")
    path = f"/v2/endpoints/{core.endpoint_id}/status"
    told = service.becomes(path, lambda answer: "warning" in answer["details"])
    assert "clock" in told["details"]["warning"]
    assert service.ok("GET", f"/v2/tasks/{task_id}")["status"] == "waiting-for-ep"
    user.beat(error="no such engine")
    assert "no such engine" in ended(service, task_id)["exception"]
    user.close()


def test_a_failure_that_answers_no_start_fails_no_task(service: RunningService, core: Core) -> None:
    _, answer = service.submit(core.endpoint_id, service.function(), 2)
    first, second = ids(answer)
    _, command = core.started()
    user = core.user(command)
    user.up()
    user.next()
    user.beat(error="of an older start")
    user.done(first)
    assert ended(service, first)["status"] == "success"
    assert service.ok("GET", f"/v2/tasks/{second}")["status"] != "failed"
    user.close()


def test_one_that_ends_with_open_tasks_is_started_again(service: RunningService, core: Core) -> None:
    user, task_id = at_work(service, core)
    user.down()
    user.close()
    _, command = core.started()
    again = core.user(command, pid=2)
    assert again.endpoint_id == user.endpoint_id
    again.beat(error="Another instance of this endpoint is running.", heartbeat_period=3)
    again.up()
    again.done(task_id)
    assert ended(service, task_id)["result"] == OK, "from a file that the first one left"
    again.close()


def test_nobody_else_can_give_a_result_for_it(service: RunningService, core: Core) -> None:
    user, task_id = at_work(service, core)
    _, other_answer = service.submit(
        core.endpoint_id, service.function(), user_endpoint_config={"other": True}
    )
    (other_id,) = ids(other_answer)
    _, command = core.started()
    other = core.user(command)
    other.up()
    other.next()
    other.done(task_id)
    other.done(other_id)
    assert ended(service, other_id)["status"] == "success"
    assert service.ok("GET", f"/v2/tasks/{task_id}")["status"] != "success"
    for one in (user, other):
        one.close()
