"""Retry over the web API: what gave no value runs again in its place, once, whoever asks how often."""

from uuid import UUID, uuid4

import pytest

from compute_nb.tasks import Dispatch, Outcome, Run, RunResult, new_id, new_ids
from compute_nb.wire import Cancel

RETRY = "/v3/compute_nb/retry"


@pytest.fixture
def task(service, agent):
    """Sends one task to the agent and returns its id."""

    def send(group=None):
        group = str(group or new_id())
        status, answer = service.submit(agent.endpoint_id, service.function(), task_group_id=group)
        assert status == 200
        ((task_id,),) = answer["tasks"].values()
        assert runs(agent) == [task_id]
        return task_id

    return send


def runs(agent):
    """Returns the tasks of the next message to the agent."""
    message = agent.expect(Dispatch)
    return [str(call.run.task_id) for batch in message.batches for call in batch.tasks]


def end(service, agent, task_id, outcome=Outcome.ERROR, data="ValueError: no"):
    agent.report(results=(RunResult(Run(UUID(task_id), 0), outcome, data, None, 1.0, 2.0),))
    while service.ok("GET", f"/v2/tasks/{task_id}").get("completion_t") is None:
        agent.connection.process_data_events(time_limit=0.05)


def retry(service, *pairs):
    return service.ok("POST", RETRY, {"tasks": [list(map(str, pair)) for pair in pairs]})["newest"]


def rows(service, task_id):
    group = service.ok("GET", f"/v2/tasks/{task_id}")["compute_nb"]["task_group_id"]
    return {row[0]: row[1:] for row in service.ok("GET", f"/v3/compute_nb/taskgroup/{group}")["tasks"]}


def test_what_failed_runs_again_with_the_same_inputs(service, agent, task):
    old, new = task(), str(new_id())
    end(service, agent, old)
    assert retry(service, (old, new)) == [[old, new]]
    message = agent.expect(Dispatch)
    ((call,),) = [batch.tasks for batch in message.batches]
    assert (str(call.run.task_id), call.run.attempt, call.args) == (new, 0, "args")
    found = rows(service, old)
    assert found[old][0] == "FAILED"
    assert len(found[old]) == 5
    assert found[new][0] == "WAITING"
    assert found[new][5] == old


def test_the_same_request_again_stores_nothing(service, agent, task):
    old, new = task(), str(new_id())
    end(service, agent, old)
    assert retry(service, (old, new)) == retry(service, (old, new)) == [[old, new]]
    end(service, agent, new)
    assert retry(service, (old, new)) == [[old, new]]
    assert len(rows(service, old)) == 2


def test_two_programs_that_retry_one_task_get_the_same_one(service, agent, task):
    old, first, second = task(), *map(str, new_ids(2))
    end(service, agent, old)
    assert retry(service, (old, first)) == [[old, first]]
    assert retry(service, (old, second)) == [[old, first]]
    end(service, agent, first)
    assert retry(service, (old, second)) == [[old, second]]
    assert rows(service, old)[second][5] == first


def test_open_tasks_and_values_stay(service, agent, task):
    still, done = task(), task()
    end(service, agent, done, Outcome.SUCCESS, "v")
    pairs = [(still, new_id()), (done, new_id()), (uuid4(), new_id())]
    assert retry(service, *pairs) == [[still, still], [done, done]]


def test_a_cancelled_task_runs_again(service, agent, task):
    old, new = task(), str(new_id())
    service.ok("POST", "/v3/compute_nb/cancel", {"task_ids": [old]})
    agent.expect(Cancel)
    assert retry(service, (old, new)) == [[old, new]]
    assert runs(agent) == [new]


def test_all_or_none(service, agent, task):
    known, old, other, new = task(), task(), task(), new_id()
    end(service, agent, old)
    end(service, agent, other)
    body = {"tasks": [[old, str(new)], [other, known]]}
    status, answer = service.call("POST", RETRY, body)
    assert (status, answer["code"]) == (409, "CONFLICT")
    assert service.call("GET", f"/v2/tasks/{new}")[0] == 404
    assert retry(service, (old, new)) == [[old, str(new)]]


@pytest.mark.parametrize("tasks", [[["x", "y"]], [[str(uuid4())]], ["ab"], [[1, 2]]])
def test_pairs_of_ids(service, tasks):
    assert service.call("POST", RETRY, {"tasks": tasks})[0] == 400


def test_the_published_list_of_a_group_has_one_task_a_place(service, agent, task):
    group, (first, second) = new_id(), new_ids(2)
    old, other = task(group), task(group)
    end(service, agent, old)
    retry(service, (old, first))
    end(service, agent, str(first))
    retry(service, (old, second))
    listed = service.ok("GET", f"/v2/taskgroup/{group}")["tasks"]
    assert {one["id"] for one in listed} == {other, str(second)}


def test_inputs_come_back_to_the_owner(service, task):
    task_id = task()
    found = service.ok("GET", f"/v3/compute_nb/inputs/{task_id}")
    assert found["task_id"] == task_id
    assert (found["function_code"], found["args"]) == ("5\n01\nxy", "args")
    status, answer = service.call("GET", f"/v3/compute_nb/inputs/{uuid4()}")
    assert (status, answer["code"]) == (404, "NOT_FOUND")
