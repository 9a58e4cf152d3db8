"""What one user may have at a time: over REST with real answers, and on a clock of the test."""

import asyncio
import json
import threading
from uuid import UUID

import pytest

from compute_nb.home import Home
from compute_nb.service.config import Limits
from compute_nb.service.limits import UserLimits
from compute_nb.service.refusal import Refusal
from tests.service.conftest import Agent, run_service

OWN, USER = UUID(int=1), UUID(int=2)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Counting:
    """How many tasks of a user are open, and how often that was asked."""

    def __init__(self):
        self.open, self.asked = 0, 0

    async def __call__(self, user):
        self.asked += 1
        return self.open


def refused(call, *arguments):
    with pytest.raises(Refusal) as raised:
        call(*arguments)
    return raised.value


def test_requests_come_at_their_rate_with_a_burst():
    clock = Clock()
    limits = UserLimits(Limits(requests_per_s=2, burst=3), Counting(), OWN, clock)
    for _ in range(3):
        limits.request(USER)
    no = refused(limits.request, USER)
    assert (no.status, no.headers["Retry-After"]) == (429, "1")
    clock.now += 0.5
    limits.request(USER)
    refused(limits.request, USER)
    clock.now += 1000
    for _ in range(3):
        limits.request(USER)
    refused(limits.request, USER)
    for _ in range(100):
        limits.request(OWN)
    unlimited = UserLimits(Limits(requests_per_s=0), Counting(), OWN, clock)
    for _ in range(10_000):
        unlimited.request(USER)


def test_open_tasks_are_counted_near_the_limit_only():
    async def scene():
        clock, store = Clock(), Counting()
        limits = UserLimits(Limits(open_tasks=100), store, OWN, clock)
        for _ in range(10):
            await limits.tasks(USER, 10)
        assert store.asked == 1
        store.open = 100
        with pytest.raises(Refusal) as raised:
            await limits.tasks(USER, 1)
        assert raised.value.status == 429
        clock.now += 2
        with pytest.raises(Refusal):
            await limits.tasks(USER, 1)
        assert store.asked == 2
        store.open = 40
        clock.now += 2
        await limits.tasks(USER, 60)
        assert store.asked == 3
        with pytest.raises(Refusal) as raised:
            await limits.tasks(USER, 101)
        assert raised.value.status == 413
        await limits.tasks(OWN, 1_000_000)

    asyncio.run(scene())


def test_bodies_that_are_read_at_once_are_bounded():
    limits = UserLimits(Limits(request_mb=10, reading_mb=15), Counting(), OWN)
    with limits.reading(USER, 10_000_000), limits.reading(USER, 5_000_000):
        assert refused(lambda: limits.reading(USER, 1).__enter__()).status == 429
        with limits.reading(OWN, 10_000_000), limits.reading(USER, 0):
            pass
    with limits.reading(USER, None):
        assert refused(lambda: limits.reading(USER, 6_000_000).__enter__()).status == 429


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    limits = Limits(open_tasks=5, requests_per_s=0.001, burst=60, request_mb=0.2, reading_mb=0.3)
    with run_service(Home(tmp_path_factory.mktemp("strict")).prepare(), limits=limits) as service:
        yield service


def user_of(service, name):
    made = service.ok("POST", "/v3/compute_nb/users", {"name": name})
    return service.ok("POST", "/v3/compute_nb/tokens", {"user": made["id"]})["token"]


def test_over_rest_a_user_is_told_to_come_again_and_others_go_on(strict):
    one, other = user_of(strict, "one"), user_of(strict, "other")
    statuses = [strict.call("GET", "/v2/version", token=one)[0] for _ in range(62)]
    assert statuses == [200] * 60 + [429] * 2
    link = strict.connection()
    link.request("GET", "/v2/version", headers={"Authorization": f"Bearer {one}"})
    response = link.getresponse()
    assert json.loads(response.read())["code"] == "TOO_MANY_REQUESTS"
    assert int(response.getheader("Retry-After")) >= 1
    link.close()
    assert strict.call("GET", "/v2/version", token=other)[0] == 200
    assert all(strict.call("GET", "/v2/version")[0] == 200 for _ in range(100)), "who runs it is not limited"


def test_over_rest_tasks_are_taken_again_once_others_have_ended(strict):
    token, agent = user_of(strict, "busy"), Agent(strict)
    strict.ok("PUT", f"/v3/endpoints/{agent.endpoint_id}", {"endpoint_name": "lab", "public": True})

    def ask(method, path, body):
        return strict.call(method, path, body, token=token)

    function = {"function_name": "f", "function_code": "5\n01\nxy"}
    function_id = ask("POST", "/v3/functions", function)[1]["function_uuid"]
    path = f"/v3/endpoints/{agent.endpoint_id}/submit"
    status, answer = ask("POST", path, {"tasks": {function_id: ["a"] * 5}})
    assert status == 200
    assert ask("POST", path, {"tasks": {function_id: ["a"]}})[0] == 429
    status, big = ask("POST", path, {"tasks": {function_id: ["a"] * 6}})
    assert (status, big["code"]) == (413, "TASK_PAYLOAD_TOO_LARGE")
    cancelled = ask("POST", "/v3/compute_nb/cancel", {"task_ids": answer["tasks"][function_id][:2]})
    assert cancelled == (200, {"cancelled": 2})
    agent.close()


def test_over_rest_a_request_has_its_size(strict):
    token = user_of(strict, "large")
    body = {"function_name": "f", "function_code": "x" * 250_000}
    for one in (token, strict.token):
        status, answer = strict.call("POST", "/v3/functions", body, token=one)
        assert (status, answer["code"]) == (413, "TASK_PAYLOAD_TOO_LARGE")
        assert "0.2 MB" in answer["message"]


def test_over_rest_what_is_slowly_sent_takes_room_from_its_user_only(strict):
    token, other = user_of(strict, "slow"), user_of(strict, "quick")
    links = [strict.connection() for _ in range(3)]
    headers = {"Authorization": f"Bearer {token}", "Content-Length": "150000"}
    for link in links[:2]:
        link.putrequest("POST", "/v3/functions")
        for name, value in headers.items():
            link.putheader(name, value)
        link.endheaders()
    body = {"function_name": "f", "function_code": "x" * 100_000}
    refused_by_then = threading.Event()
    for _ in range(50):  # until the service has seen both heads
        if strict.call("POST", "/v3/functions", body, token=token)[0] == 429:
            refused_by_then.set()
            break
    assert refused_by_then.is_set()
    assert strict.call("POST", "/v3/functions", body, token=other)[0] == 200
    for link in links:
        link.close()


def test_numbers_for_prometheus(strict, tmp_path):
    agent = Agent(strict)
    function_id = strict.function()
    _, answer = strict.submit(agent.endpoint_id, function_id, 3)
    del answer
    status, text = strict.call("GET", "/metrics")
    assert status == 200
    numbers = parse(text)
    assert numbers['compute_nb_tasks{state="WAITING"}'] >= 3
    assert numbers["compute_nb_amqp_connections"] >= 1
    assert numbers["compute_nb_endpoints_online"] >= 1
    route = 'method="POST",route="/v3/endpoints/{endpoint_id}/submit",status="200"'
    assert numbers[f"compute_nb_requests_total{{{route}}}"] >= 1
    assert numbers["compute_nb_store_seconds_count"] > 0
    assert numbers['compute_nb_store_seconds_bucket{le="+Inf"}'] == numbers["compute_nb_store_seconds_count"]
    assert 'compute_nb_queue_messages{queue="tasks"}' in numbers
    for id_ in (str(agent.endpoint_id), function_id, strict.token):
        assert id_ not in text
    strict.call("GET", "/nowhere/at/all")
    assert "nowhere" not in strict.call("GET", "/metrics")[1]
    agent.close()
    prometheus = strict.ok("POST", "/v3/compute_nb/tokens", {"scope": "metrics"})["token"]
    assert strict.call("GET", "/metrics", token=prometheus)[0] == 200
    assert strict.call("GET", "/v2/endpoints", token=prometheus)[0] == 403
    assert strict.call("GET", "/metrics", token=user_of(strict, "curious"))[0] == 403


def parse(text):
    """Returns the samples of a text, each line of which must be right."""
    numbers, known = {}, set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name = line.split()[2]
            assert name not in known, "each family once"
            known.add(name)
        elif not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            base = name.partition("{")[0]
            assert any(base == one or base.startswith(f"{one}_") for one in known), line
            assert name not in numbers
            numbers[name] = float(value)
    return numbers
