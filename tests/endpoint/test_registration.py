"""Registration with a real service, and what it does when that is gone."""

from __future__ import annotations

import json

import pytest
from ended import kill
from own_home import own_home
from small_server import TOKEN, small_server

from compute_nb import local
from compute_nb.endpoint.config import AgentConfig
from compute_nb.endpoint.registration import OtherDialect, Registration, places_of
from compute_nb.errors import ComputeError, ServiceUnreachable


@pytest.fixture(scope="module")
def home():
    with own_home() as one:
        yield one


def kill_service(home):
    kill(local.ensure_service(home).pid)


def registration(home, **options):
    folder = home.endpoint_dir("lab")
    folder.mkdir(parents=True, exist_ok=True)
    info = local.ensure_service(home)
    config = AgentConfig("lab", folder, info.url, info.token, home=home)
    return Registration(config, {"compute_nb": {"version": 1}}, **options)


def test_a_killed_service_is_started_again_at_once_and_told_in_the_same_call(home):
    one = registration(home, patience_s=1e9)
    before = one.register()
    kill_service(home)
    assert one.register() == before
    assert local.answers(local.find_service(home))


def test_an_agent_of_a_stopped_service_ends_instead_of_asking_for_ever(home):
    one = registration(home)
    one.register()
    home.stopped_mark.touch()
    with pytest.raises(ServiceUnreachable):  # it runs and does not answer: that may pass
        unanswered(home, one)
    kill_service(home)
    home.stopped_mark.touch()
    with pytest.raises(ComputeError, match="stopped by command") as caught:
        one.register()
    assert not isinstance(caught.value, ServiceUnreachable)


def unanswered(home, one):
    """Asks while the service is there under its lock, and nobody listens at the address that is known."""
    facts = home.service_file.read_text()
    home.service_file.write_text(json.dumps({**json.loads(facts), "url": "http://127.0.0.1:1"}))
    try:
        one.register()
    finally:
        home.service_file.write_text(facts)


def test_a_service_whose_disk_is_full_is_asked_again(tmp_path):
    with small_server() as server:
        server.answers["GET", "/v2/version"] = (200, {"api": "1", "compute_nb": {"version": 1}})
        server.answers["POST", "/v3/endpoints"] = (507, {"code": "STORE_FULL", "message": "full"})
        config = AgentConfig("lab", tmp_path, server.url, TOKEN)
        with pytest.raises(ServiceUnreachable, match="STORE_FULL"):
            Registration(config, {}).register()
        server.answers["POST", "/v3/endpoints"] = (403, {"message": "no"})
        with pytest.raises(ComputeError) as caught:
            Registration(config, {}).register()
        assert not isinstance(caught.value, ServiceUnreachable)


ANSWER = {
    "endpoint_id": "a0a0a0a0-0000-4000-8000-000000000000",
    "command_queue_info": {"connection_url": "amqp://here", "queue": "c"},
    "heartbeat_queue_info": {
        "connection_url": "amqp://here",
        "queue_publish_kwargs": {"exchange": "heartbeats", "routing_key": "e.heartbeats"},
    },
}


@pytest.mark.parametrize("version", [(200, {"api": "1"}), (200, "1.0"), (404, {"message": "no"})])
def test_a_service_without_extensions_gets_a_core_endpoint(tmp_path, version):
    with small_server() as server:
        server.answers["GET", "/v2/version"] = version
        server.answers["POST", "/v3/endpoints"] = (200, ANSWER)
        config = AgentConfig("lab", tmp_path, server.url, TOKEN)
        one = Registration(config, {"compute_nb": {"version": 1}, "hostname": "here"})
        assert one.plain()
        with pytest.raises(OtherDialect, match="lacks our extensions"):
            one.register()
        places = one.register(plain=True)
        assert (places.url, places.commands, places.tasks) == ("amqp://here", "c", "")
        (sent,) = [body for method, _, body in server.asked if method == "POST"]
        assert sent["metadata"] == {"hostname": "here"}
        server.answers["GET", "/v2/version"] = (200, {"compute_nb": {"version": 1}})
        with pytest.raises(OtherDialect, match="has our extensions"):
            one.register(plain=True)


def test_a_service_that_nobody_reaches_is_taken_for_one_with_extensions(tmp_path):
    assert not Registration(AgentConfig("lab", tmp_path, "http://127.0.0.1:9", TOKEN), {}).plain()


@pytest.mark.parametrize("answer", [{}, {"endpoint_id": "x"}, [], {**ANSWER, "command_queue_info": None}])
def test_an_answer_without_queues_is_told(answer):
    with pytest.raises(ComputeError, match="without its queues"):
        places_of(answer)
