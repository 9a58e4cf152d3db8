"""The submitter: what has gathered goes out together, is repeated when no answer came, and fails alone."""

from __future__ import annotations

import contextlib
import json
import threading

import pytest
from small_server import ECHO, TOKEN

from compute_nb.config import ServiceSettings
from compute_nb.errors import (
    ComputeError,
    EndpointNotFound,
    ServiceUnreachable,
    SubmitRefused,
)
from compute_nb.future import ComputeFuture
from compute_nb.home import Home
from compute_nb.parcel import MAX_TASKS, Parcel
from compute_nb.private import write_private
from compute_nb.reach import Reach
from compute_nb.submitter import Submitter
from compute_nb.tasks import new_id
from compute_nb.terms import Terms

FUNCTION = new_id()


class Watching:
    """Notes what it is told."""

    def __init__(self):
        self.followed = []
        self.discarded = []

    def follow(self, connection, task_group_id):
        self.followed.append(task_group_id)

    def discard(self, futures):
        self.discarded += futures


class Gate:
    """An answer that waits, so that work can gather behind it."""

    def __init__(self):
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self, _connection):
        self.entered.set()
        assert self.open.wait(60)


@pytest.fixture
def watching():
    return Watching()


@pytest.fixture
def submitter(server, watching, tmp_path):
    settings = ServiceSettings("test", server.url, token=TOKEN)
    one = Submitter(Reach(settings, Home(tmp_path)), watching)
    yield one
    assert one.close(60)


class Echo:
    """Answers a submit with the ids that it was sent."""

    def __init__(self, server, endpoint_id):
        self.path = f"/v3/endpoints/{endpoint_id}/submit"
        self.server = server

    def bodies(self):
        return [body for _, path, body in self.server.asked if path == self.path]


@pytest.fixture
def echo(server):
    """Has every submit to an endpoint answered as the service does, or as told."""

    def answer(endpoint_id, *answers):
        found = Echo(server, endpoint_id)
        server.answers["POST", found.path] = list(answers) or (200, ECHO)
        return found

    return answer


def parcel(terms, args="x"):
    terms.ledger.enter()
    return Parcel(ComputeFuture(new_id(), terms), FUNCTION, args)


def terms(**changes):
    return Terms(new_id(), new_id(), **changes)


def test_one_task_goes_out_at_once(submitter, echo, watching):
    one = terms(options={"walltime_s": 3.0, "context": {"cwd": "/"}, "result_serializers": ["J"]})
    sent = echo(one.endpoint_id)
    task = parcel(one)
    submitter.put(task)
    one.ledger.wait(60)
    (body,) = sent.bodies()
    assert body["tasks"] == {str(FUNCTION): ["x"]}
    assert body["task_group_id"] == str(one.task_group_id)
    assert body["result_serializers"] == ["J"]
    assert body["compute_nb"] == {
        "task_ids": {str(FUNCTION): [task.future.task_id]},
        "retries": 0,
        "walltime_s": 3.0,
        "hold": False,
        "context": {"cwd": "/"},
    }
    assert watching.followed == [one.task_group_id]
    assert one.ledger.accepted_count == 1
    assert task.future.submitted_at is not None
    assert not task.future.done()


def test_what_gathers_goes_out_together_by_terms(submitter, echo):
    gate, here, there = Gate(), terms(), terms()
    first, second = echo(here.endpoint_id), echo(there.endpoint_id)
    submitter.call(gate)
    assert gate.entered.wait(60)
    for _ in range(10):
        submitter.put(parcel(here))
        submitter.put(parcel(there))
    gate.open.set()
    here.ledger.wait(60)
    there.ledger.wait(60)
    assert [len(body["tasks"][str(FUNCTION)]) for body in first.bodies()] == [10]
    assert [len(body["tasks"][str(FUNCTION)]) for body in second.bodies()] == [10]


def test_a_request_has_a_limit_of_tasks_and_of_size(submitter, echo):
    gate, one, large = Gate(), terms(), terms()
    many, heavy = echo(one.endpoint_id), echo(large.endpoint_id)
    submitter.call(gate)
    assert gate.entered.wait(60)
    for _ in range(MAX_TASKS + 5):
        submitter.put(parcel(one))
    for _ in range(3):
        submitter.put(parcel(large, "y" * 600_000))
    gate.open.set()
    one.ledger.wait(60)
    large.ledger.wait(60)
    assert [len(body["tasks"][str(FUNCTION)]) for body in many.bodies()] == [MAX_TASKS, 5]
    assert [len(body["tasks"][str(FUNCTION)]) for body in heavy.bodies()] == [1, 1, 1]


def test_a_lost_answer_is_asked_for_with_the_same_ids(submitter, echo):
    one = terms()
    sent = echo(one.endpoint_id, (200, None), (200, ECHO))
    task = parcel(one)
    submitter.put(task)
    one.ledger.wait(60)
    first, again = sent.bodies()
    assert first == again
    assert not task.future.done()


def test_a_service_whose_database_is_away_for_long_is_asked_again(submitter, echo):
    one = terms()
    sent = echo(one.endpoint_id, *[(503, {})] * 6, (200, ECHO))
    task = parcel(one)
    submitter.put(task)
    one.ledger.wait(60)
    assert not task.future.done()
    first, *rest = sent.bodies()
    assert rest == [first] * 6, "the same ids"


def test_a_refusal_fails_its_own_futures_only(submitter, echo, watching):
    bad, good = terms(), terms()
    echo(bad.endpoint_id, (413, {"code": "TOO_LARGE", "message": "send less"}))
    echo(good.endpoint_id)
    news = []
    bad.ledger.listeners.append(news.extend)
    refused, accepted = parcel(bad), parcel(good)
    submitter.put(refused)
    submitter.put(accepted)
    with pytest.raises(
        SubmitRefused, match=r"1 task of group .* was refused, none was accepted.*send less"
    ) as caught:
        bad.ledger.wait(60)
    good.ledger.wait(60)
    assert caught.value.code == "TOO_LARGE"
    assert refused.future.exception(0) is caught.value
    assert watching.discarded == [refused.future]
    assert news == [refused.future]
    assert not accepted.future.done()
    bad.ledger.wait(0)


def test_an_unknown_endpoint_is_told_as_such(submitter, echo):
    one = terms()
    echo(one.endpoint_id, (404, {"message": "endpoint is not known"}))
    task = parcel(one)
    submitter.put(task)
    assert isinstance(task.future.exception(60), EndpointNotFound)


def test_an_answer_with_other_ids_is_no_acceptance(submitter, echo):
    one = terms()
    echo(one.endpoint_id, (200, {"tasks": {str(FUNCTION): [str(new_id())]}}))
    task = parcel(one)
    submitter.put(task)
    assert "other task ids" in str(task.future.exception(60))


def test_what_was_cancelled_before_it_was_sent_is_not_sent(submitter, echo, watching):
    gate, one = Gate(), terms()
    sent = echo(one.endpoint_id)
    submitter.call(gate)
    assert gate.entered.wait(60)
    cancelled, kept = parcel(one), parcel(one)
    submitter.put(cancelled)
    submitter.put(kept)
    cancelled.future.withdraw()
    submitter.cancel([cancelled.future])
    gate.open.set()
    one.ledger.wait(60)
    submitter.call(lambda _: None).result(60)
    (body,) = sent.bodies()
    assert body["compute_nb"]["task_ids"] == {str(FUNCTION): [kept.future.task_id]}
    assert cancelled.future in watching.discarded
    assert [path for _, path, _ in sent.server.asked if "cancel" in path] == []


def test_what_was_sent_is_cancelled_at_the_service(submitter, echo, server):
    one = terms()
    echo(one.endpoint_id)
    server.answers["POST", "/v3/compute_nb/cancel"] = 200, {"cancelled": 1}
    task = parcel(one)
    submitter.put(task)
    one.ledger.wait(60)
    task.future.withdraw()
    submitter.cancel([task.future])
    submitter.call(lambda _: None).result(60)
    assert server.asked[-1][1:] == ("/v3/compute_nb/cancel", {"task_ids": [task.future.task_id]})


def test_a_refused_cancel_is_logged(submitter, server, caplog):
    task = parcel(terms())
    task.future.sent = True
    submitter.cancel([task.future])
    submitter.call(lambda _: None).result(60)
    assert "could not be cancelled and may still run" in caplog.text


def test_a_group_is_held_until_its_last_request(submitter, echo):
    one = terms()
    sent = echo(one.endpoint_id)
    parcels = [parcel(one) for _ in range(2 * MAX_TASKS + 1)]
    submitter.put_whole(parcels)
    one.ledger.wait(60)
    assert [body["compute_nb"]["hold"] for body in sent.bodies()] == [True, True, False]
    assert one.ledger.accepted_count == len(parcels)


def test_a_group_that_is_withdrawn_on_hold_is_not_released(submitter, echo, server, watching):
    one = terms()
    sent = echo(one.endpoint_id)
    server.answers["POST", "/v3/compute_nb/cancel"] = 200, {"cancelled": 1}
    parcels = [parcel(one) for _ in range(2 * MAX_TASKS + 1)]

    def withdraw(connection, group_id):  # called before each request
        for p in parcels:
            p.future.withdraw()

    watching.follow = withdraw
    submitter.put_whole(parcels)
    one.ledger.wait(60)
    submitter.call(lambda _: None).result(60)
    assert [body["compute_nb"]["hold"] for body in sent.bodies()] == [True]
    (taken_back,) = [body for _, path, body in server.asked if path.endswith("cancel")]
    assert len(taken_back["task_ids"]) == MAX_TASKS
    assert len(watching.discarded) == len(parcels)


def test_a_group_is_refused_whole(submitter, echo, server):
    one = terms()
    echo(one.endpoint_id, (200, ECHO), (409, {"message": "taken"}))
    server.answers["POST", "/v3/compute_nb/cancel"] = 200, {"cancelled": 1}
    parcels = [parcel(one) for _ in range(MAX_TASKS + 1)]
    submitter.put_whole(parcels)
    with pytest.raises(SubmitRefused, match=r"1,001 tasks.* were refused, none was accepted"):
        one.ledger.wait(60)
    assert all(isinstance(p.future.exception(60), SubmitRefused) for p in parcels)
    taken_back = [body for _, path, body in server.asked if path.endswith("cancel")]
    assert sum(len(body["task_ids"]) for body in taken_back) == MAX_TASKS + 1


def test_a_call_gets_its_answer_or_its_error(submitter):
    assert submitter.call(lambda connection: connection.url).result(60).startswith("http")
    with pytest.raises(ZeroDivisionError):
        submitter.call(lambda _: 1 / 0).result(60)


def test_what_is_queued_is_sent_before_the_end(submitter, echo):
    gate, one = Gate(), terms()
    sent = echo(one.endpoint_id)
    submitter.call(gate)
    assert gate.entered.wait(60)
    submitter.put(parcel(one))
    threading.Timer(0.05, gate.open.set).start()
    assert submitter.close(20)
    assert len(sent.bodies()) == 1


def test_after_the_end_nobody_waits_for_ever(submitter):
    submitter.call(lambda _: None).result(60)
    assert submitter.close(20)
    task = parcel(terms())
    submitter.put(task)
    assert isinstance(task.future.exception(60), SubmitRefused)
    with pytest.raises(ComputeError, match="closed before"):
        submitter.call(lambda _: 1).result(60)


def test_a_service_that_is_gone_is_told_after_the_patience(watching, tmp_path):
    settings = ServiceSettings("test", "http://127.0.0.1:9", token=TOKEN)
    one = Submitter(Reach(settings, Home(tmp_path)), watching, patience_s=0.3)
    task = parcel(terms())
    one.put(task)
    error = task.future.exception(60)
    assert isinstance(error, ServiceUnreachable)
    assert "reload_tasks" in str(error)
    one.close(60)


def test_closing_what_never_ran_is_nothing(server, watching, tmp_path):
    before = set(threading.enumerate())
    one = Submitter(Reach(ServiceSettings("t", server.url, token=TOKEN), Home(tmp_path)), watching)
    assert set(threading.enumerate()) <= before  # one of another test may end meanwhile
    assert one.close(1)


class Unsendable:
    """What JSON has no word for."""


@pytest.mark.parametrize("whole", [False, True])
def test_what_cannot_be_sent_fails_alone(submitter, echo, whole):
    bad = terms(options={"context": {"cwd": "/", "sys_path": [Unsendable()]}})
    task = parcel(bad)
    if whole:
        submitter.put_whole([task])
    else:
        submitter.put(task)
    with pytest.raises(SubmitRefused, match=r"can't be sent: TypeError: .*Unsendable"):
        task.future.result(60)
    good = terms()
    echo(good.endpoint_id)
    submitter.put(parcel(good))
    good.ledger.wait(60)
    assert good.ledger.accepted_count == 1


def test_a_text_that_is_no_utf_8_does_not_end_the_submitter(submitter, echo):
    odd = terms(options={"context": {"cwd": "/caf\udce9"}})
    echo(odd.endpoint_id)
    submitter.put(parcel(odd))
    with contextlib.suppress(ComputeError):
        odd.ledger.wait(60)
    good = terms()
    echo(good.endpoint_id)
    submitter.put(parcel(good))
    good.ledger.wait(60)
    assert good.ledger.accepted_count == 1


def test_a_service_that_cannot_be_revived_is_no_refusal(watching, tmp_path):
    """Whether the service that is gone had taken the tasks is unknown."""
    home = Home(tmp_path / "home").prepare()
    home.store_file.mkdir()
    write_private(home.token_file, "cnb_0_0")
    facts = {"url": "http://127.0.0.1:1", "pid": 1, "service_id": str(new_id())}
    write_private(home.service_file, json.dumps(facts))
    one = Submitter(Reach(ServiceSettings("local"), home), watching, patience_s=0.0)
    task = parcel(terms())
    one.put(task)
    with pytest.raises(ServiceUnreachable, match=r"got no answer: .*did not start"):
        task.future.result(60)
    assert one.close(60)
