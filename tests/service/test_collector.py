"""What agents say, by way of a real broker: to the store, and from there to watchers."""

from contextlib import nullcontext
from uuid import UUID, uuid4

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker, NackError, ProbableAuthenticationError

from compute_nb import wire
from compute_nb.published_messages import PublishedResult, StatusReport
from compute_nb.tasks import Dispatch, Events, Outcome, Printed, Run, RunResult, Started, TaskState, new_id
from compute_nb.wire import Cancel, Stored, Welcome

from .conftest import Agent, Peer, both_brokers

pytestmark = both_brokers
OK = "5\n01\nok"


def ended(run, data=OK, outcome=Outcome.SUCCESS):
    return RunResult(run, outcome, data, None, 1.0, 2.0)


def watcher(service, *groups, watch_id=None):
    body = {"watch_id": str(watch_id or uuid4()), "task_groups": [str(group) for group in groups]}
    answer = service.ok("POST", "/v3/compute_nb/watch", body)
    peer = Peer(answer["connection_url"])
    peer.read(answer["queue"])
    return peer


def received(agent, count):
    """The runs that have come to an agent, when there are `count` of them."""
    runs = []
    while len(runs) < count:
        runs += [call.run for batch in agent.expect(Dispatch).batches for call in batch.tasks]
    return runs


def test_a_task_goes_out_and_its_result_comes_back_to_its_watcher(service, agent):
    group = new_id()
    ears = watcher(service, group)
    function_id = service.function()
    _, answer = service.submit(agent.endpoint_id, function_id, 2, task_group_id=str(group))
    dispatch = agent.expect(Dispatch)
    assert dispatch.session == agent.session
    assert dispatch.functions == {UUID(function_id): "5\n01\nxy"}
    (batch,) = dispatch.batches
    runs = [call.run for call in batch.tasks]
    assert [str(run.task_id) for run in runs] == answer["tasks"][function_id]

    agent.report(held=(runs[0],), running=(Started(runs[1], 5.0),))
    assert {move.state for move in ears.expect(Events).moves} <= {TaskState.DELIVERED, TaskState.RUNNING}
    agent.report(results=(ended(runs[0]), ended(runs[1], "boom", Outcome.ERROR)))
    events = ears.expect(Events)
    assert {(r.task_id, r.state, r.data) for r in events.results} == {
        (runs[0].task_id, TaskState.SUCCEEDED, OK),
        (runs[1].task_id, TaskState.FAILED, "boom"),
    }
    assert set(agent.expect(Stored).runs) == set(runs)
    results = service.ok("POST", "/v2/batch_status", {"task_ids": [str(r.task_id) for r in runs]})["results"]
    assert results[str(runs[0].task_id)]["result"] == OK
    assert results[str(runs[1].task_id)]["exception"] == "boom"
    ears.close()


def test_half_a_character_in_one_result_holds_up_no_other(service, agent):
    function_id = service.function()
    _, answer = service.submit(agent.endpoint_id, function_id, 2)
    runs = received(agent, 2)
    agent.report(results=(ended(runs[0], "sur \ud800", Outcome.ERROR), ended(runs[1])))
    assert set(agent.expect(Stored).runs) == set(runs)
    results = service.ok("POST", "/v2/batch_status", {"task_ids": answer["tasks"][function_id]})["results"]
    assert results[str(runs[0].task_id)]["exception"] == r"sur \ud800"
    assert results[str(runs[1].task_id)]["result"] == OK


def test_watchers_hear_who_ran_their_tasks_once(service, agent):
    group = new_id()
    ears = watcher(service, group)
    service.submit(agent.endpoint_id, service.function(), 2, task_group_id=str(group))
    first, second = received(agent, 2)
    agent.report(results=(ended(first),))
    assert ears.expect(Events).environments[agent.endpoint_id]["python"] == "3.11"
    agent.report(results=(ended(second),))
    assert ears.expect(Events).environments == {}
    ears.close()


def test_two_watchers_of_a_group_hear_all_of_it_and_a_third_nothing(service, agent):
    group = new_id()
    one, two, third = watcher(service, group), watcher(service, group), watcher(service, new_id())
    service.submit(agent.endpoint_id, service.function(), 1, task_group_id=str(group))
    (run,) = received(agent, 1)
    agent.report(results=(ended(run),))
    for ears in (one, two):
        assert [r.task_id for r in ears.expect(Events).results] == [run.task_id]
    third.connection.process_data_events(time_limit=0)
    assert third.arrived == []
    for ears in (one, two, third):
        ears.close()


def test_what_a_running_task_prints_reaches_its_watchers_and_no_store(service, agent):
    group = new_id()
    ears = watcher(service, group)
    service.submit(agent.endpoint_id, service.function(), 1, task_group_id=str(group))
    (run,) = received(agent, 1)
    piece = Printed(run, group, 7, "50%\r")
    agent.report(printed=(piece,))
    assert ears.expect(Events).printed == (piece,)
    agent.report(running=(Started(run, 5.0),), printed=(piece,))
    assert piece in ears.expect(Events).printed
    ears.close()


def test_an_agent_prints_into_no_group_that_has_no_tasks_with_it(service, agent):
    group, stranger = new_id(), Agent(service)
    ears = watcher(service, group)
    service.submit(agent.endpoint_id, service.function(), 1, task_group_id=str(group))
    (run,) = received(agent, 1)
    stranger.report(printed=(Printed(run, group, 0, "forged"),))
    agent.report(printed=(Printed(run, group, 0, "true"),))
    assert [one.text for one in ears.expect(Events).printed] == ["true"]
    ears.close()
    stranger.close()


def test_a_watcher_that_does_not_read_misses_printed_text_and_no_result(service, agent):
    group, watch_id = new_id(), uuid4()
    watcher(service, group, watch_id=watch_id).close()
    service.submit(agent.endpoint_id, service.function(), 1, task_group_id=str(group))
    (run,) = received(agent, 1)
    size, count = 60_000, 100
    for number in range(count):
        agent.report(printed=(Printed(run, group, number * size, "x" * size),))
    agent.report(results=(ended(run),))
    agent.expect(Stored)
    ears = watcher(service, group, watch_id=watch_id)
    heard = 0
    while not (events := ears.expect(Events)).results:
        heard += sum(len(one.text) for one in events.printed)
    assert 0 < heard < 2_000_000
    ears.close()


def test_a_watch_made_after_the_submit_hears_what_comes_then(service, agent):
    group = new_id()
    service.submit(agent.endpoint_id, service.function(), 1, task_group_id=str(group))
    ears = watcher(service, group)
    (run,) = received(agent, 1)
    agent.report(results=(ended(run),))
    assert ears.expect(Events).results[0].task_id == run.task_id
    ears.close()


def test_a_watcher_that_comes_back_finds_what_came_meanwhile(service, agent):
    group, watch_id = new_id(), uuid4()
    ears = watcher(service, group, watch_id=watch_id)
    service.submit(agent.endpoint_id, service.function(), 1, task_group_id=str(group))
    (run,) = received(agent, 1)
    ears.close()
    agent.report(results=(ended(run),))
    agent.expect(Stored)
    again = watcher(service, group, watch_id=watch_id)
    assert again.expect(Events).results[0].task_id == run.task_id
    again.close()


def test_the_published_group_queue_gets_published_results(service, agent):
    group = new_id()
    service.submit(agent.endpoint_id, service.function(), 1, task_group_id=str(group), create_queue=True)
    info = service.ok("GET", "/v2/get_amqp_result_connection_url")
    reader = Peer(info["connection_url"])
    reader.read(f"{info['queue_prefix']}{group}")
    (run,) = received(agent, 1)
    agent.report(results=(ended(run),))
    result = reader.expect(PublishedResult)
    assert (result.task_id, result.data, result.error) == (run.task_id, OK, None)
    reader.close()


def test_cancel_reaches_the_agent_and_the_watcher(service, agent):
    group = new_id()
    ears = watcher(service, group)
    service.submit(agent.endpoint_id, service.function(), 1, task_group_id=str(group))
    (run,) = received(agent, 1)
    service.ok("POST", "/v3/compute_nb/cancel", {"task_group_id": str(group)})
    assert agent.expect(Cancel).runs == (run,)
    assert ears.expect(Events).results[0].state is TaskState.CANCELLED
    ears.close()


def test_a_new_session_gets_what_the_old_one_lost(service, agent):
    service.submit(agent.endpoint_id, service.function(), 2)
    held, lost = received(agent, 2)
    agent.close()
    again = Agent(service, agent.endpoint_id, held=(held,))
    assert again.expect(Welcome).session == again.session
    dispatch = again.expect(Dispatch)
    assert dispatch.session == again.session
    assert [call.run for batch in dispatch.batches for call in batch.tasks] == [lost]
    again.close()


def test_an_agent_is_online_while_it_reads(service, agent):
    path = f"/v2/endpoints/{agent.endpoint_id}/status"
    agent.expect(Welcome)
    service.becomes(path, lambda answer: answer["status"] == "online")
    agent.publish(StatusReport(agent.endpoint_id, {"heartbeat_period": 30.0}), "heartbeats")
    details = service.becomes(path, lambda answer: "heartbeat_period" in answer["details"])["details"]
    assert details["heartbeat_period"] == 30.0
    assert details["compute_nb"] == {"python": "3.11", "workers": 2, "pid": 1}
    agent.close()
    service.becomes(path, lambda answer: answer["status"] == "offline")


@pytest.mark.parametrize("body", [b"", b"\x02{}", b"\x01{}", b"\x01[]", wire.encode(wire.Stop())])
def test_malformed_messages_are_set_aside_and_the_next_one_counts(service, agent, body):
    refused = pytest.raises(NackError) if service.embedded else nullcontext()
    with refused:
        agent.publish(body)
    with refused:
        agent.publish(body, "heartbeats")
    service.submit(agent.endpoint_id, service.function())
    (run,) = received(agent, 1)
    agent.report(results=(ended(run),))
    assert agent.expect(Stored).runs == (run,)


def test_a_result_for_a_task_of_another_endpoint_is_set_aside(service, agent):
    _, answer = service.submit(agent.endpoint_id, service.function())
    (run,) = received(agent, 1)
    thief = Agent(service)
    thief.report(results=(ended(run, "forged"),))
    assert thief.expect(Stored).runs == (run,)
    assert service.ok("GET", f"/v2/tasks/{run.task_id}")["compute_nb"]["state"] == "WAITING"
    thief.close()
    assert answer["tasks"]


def test_an_agent_cannot_speak_for_another(service, agent):
    other = Agent(service)
    other.endpoint_id = agent.endpoint_id
    with pytest.raises(ChannelClosedByBroker) as refused:
        other.report(results=(ended(Run(new_id(), 0)),))
    assert refused.value.reply_code == 403
    other.connection.close()


def test_a_wrong_password_is_refused(service):
    url = service.ok("GET", "/v2/get_amqp_result_connection_url")["connection_url"]
    parameters = pika.URLParameters(url)
    parameters.credentials = pika.PlainCredentials(parameters.credentials.username, "wrong")
    with pytest.raises(ProbableAuthenticationError):
        pika.BlockingConnection(parameters)


def watched(service, group):
    watch = service.ok(
        "POST", "/v3/compute_nb/watch", {"watch_id": str(uuid4()), "task_groups": [str(group)]}
    )
    return Peer(watch["connection_url"]), watch["queue"]


def test_the_results_of_a_watcher_that_does_not_read_are_left_out_beyond_a_bound(service, agent):
    group, big = str(uuid4()), "x" * 3_000_000
    peer, queue = watched(service, group)
    status, answer = service.submit(str(agent.endpoint_id), service.function(), 9, task_group_id=group)
    assert status == 200
    ids = [UUID(i) for ids in answer["tasks"].values() for i in ids]
    for task_id in ids:
        agent.report(results=(RunResult(Run(task_id, 0), Outcome.SUCCESS, big, None, 1.0, 2.0),))
        while not any(task_id in {run.task_id for run in stored.runs} for stored in stored_by(agent)):
            agent.connection.process_data_events(time_limit=1)
    peer.read(queue)
    bodies, fetch = [], []
    while len(bodies) + len(fetch) < len(ids):
        events = peer.expect(Events)
        bodies += [result.task_id for result in events.results]
        fetch += events.fetch
    assert (bodies, fetch) == (ids[:5], ids[5:])
    found = service.ok("POST", "/v2/batch_status", {"task_ids": [str(fetch[0])]})["results"]
    assert found[str(fetch[0])]["result"] == big
    peer.close()


def stored_by(agent):
    return [message for message in agent.arrived if isinstance(message, wire.Stored)]


def test_watchers_hear_whether_an_agent_is_there(service):
    agent = Agent(service)
    agent.expect(wire.Welcome)
    group = str(uuid4())
    peer, queue = watched(service, group)
    peer.read(queue)
    assert service.submit(str(agent.endpoint_id), service.function(), task_group_id=group)[0] == 200

    def heard():
        while not (presence := peer.expect(Events).presence):
            pass
        return presence

    agent.report(held=(received(agent, 1)[0],))
    assert heard() == {agent.endpoint_id: True}
    agent.close()
    assert heard() == {agent.endpoint_id: False}
    again = Agent(service, agent.endpoint_id)
    assert heard() == {agent.endpoint_id: True}
    again.close()
    peer.close()
