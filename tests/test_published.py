"""The REST of a service without our extensions: its answers, good and bad, and what is sent to it."""

from __future__ import annotations

import pytest
from small_server import TOKEN

from compute_nb import published
from compute_nb.config import ServiceSettings
from compute_nb.connection import Connection
from compute_nb.errors import ComputeError, ServiceUnreachable, SubmitRefused
from compute_nb.future import ComputeFuture
from compute_nb.home import Home
from compute_nb.parcel import Parcel
from compute_nb.proof import Prove
from compute_nb.reach import Reach
from compute_nb.submitter import Submitter
from compute_nb.tasks import TaskState, new_id
from compute_nb.terms import Terms

FIRST, SECOND, GROUP = new_id(), new_id(), new_id()


class Watching:
    """Notes what it is told."""

    def __init__(self):
        self.followed, self.discarded, self.named = [], [], []

    def follow(self, connection, task_group_id):
        self.followed.append(task_group_id)

    def discard(self, futures):
        self.discarded += futures

    def expect_names(self): ...

    def name(self, names):
        for future, task_id in names:
            future.name(task_id)
            self.named.append(future)


@pytest.fixture
def watching():
    return Watching()


@pytest.fixture
def submitter(server, watching, tmp_path):
    settings = ServiceSettings("test", server.url, token=TOKEN)
    one = Submitter(Reach(settings, Home(tmp_path)), watching, patience_s=0.5)
    one.call(lambda _: one.speak_published()).result(60)
    yield one
    assert one.close(20)


@pytest.fixture
def terms():
    return Terms(new_id(), GROUP, options={"walltime_s": 3, "context": {}, "result_serializers": ["x"]})


def send(submitter, terms, *functions):
    parcels = [Parcel(ComputeFuture(new_id(), terms), function, "x") for function in functions]
    terms.ledger.enter(len(parcels))
    submitter.put_whole(parcels)
    return [parcel.future for parcel in parcels]


def answer(server, terms, *answers):
    path = f"/v3/endpoints/{terms.endpoint_id}/submit"
    server.answers["POST", path] = [(200, body) if isinstance(body, dict) else body for body in answers]
    return path


def ids(count):
    return [str(new_id()) for _ in range(count)]


def test_the_service_names_the_tasks(server, submitter, watching, terms):
    one, two = ids(2), ids(1)
    path = answer(server, terms, {"tasks": {str(SECOND): two, str(FIRST): one}, "task_group_id": str(GROUP)})
    futures = send(submitter, terms, FIRST, SECOND, FIRST)
    terms.ledger.wait(60)
    submitter.call(lambda _: None).result(60)
    assert [future.task_id for future in futures] == [one[0], two[0], one[1]]
    assert watching.followed == [GROUP]
    (body,) = [body for _, asked, body in server.asked if asked == path]
    assert set(body) == {"tasks", "task_group_id", "create_queue", "user_runtime", "result_serializers"}
    assert body["create_queue"] is True
    assert all(isinstance(body["user_runtime"][name], str) for name in ("globus_compute_sdk_version",))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (None, "no task ids"),
        (ids(1), "with 1 task ids"),
        (ids(3), "with 3 task ids"),
        (["a", "b"], "no UUIDs"),
        (ids(1) * 2, "stands twice"),
    ],
)
def test_a_wrong_answer_fails_the_tasks_of_its_function_only(server, submitter, watching, terms, wrong, said):
    good = ids(1)
    tasks = {str(FIRST): wrong, str(SECOND): good}
    if wrong is None:
        del tasks[str(FIRST)]
    answer(server, terms, {"tasks": tasks}, {"tasks": {str(SECOND): ids(1)}})
    bad, other, kept = send(submitter, terms, FIRST, FIRST, SECOND)
    assert isinstance(bad.exception(60), SubmitRefused)
    assert said in str(other.exception(60))
    assert "reload_tasks" in str(bad.exception())
    (again,) = send(submitter, terms, SECOND)
    submitter.call(lambda _: None).result(60)
    assert kept.task_id == good[0]
    assert again.named
    assert watching.discarded == [bad, other]


def test_another_group_is_followed_there(server, submitter, watching, terms):
    other = new_id()
    answer(server, terms, {"tasks": {str(FIRST): ids(1)}, "task_group_id": str(other)})
    (future,) = send(submitter, terms, FIRST)
    submitter.call(lambda _: None).result(60)
    assert watching.followed == [other]
    assert future.task_group_id == str(other)


def test_a_request_that_may_have_arrived_is_not_repeated(server, submitter, terms):
    path = answer(server, terms, (200, None))
    (future,) = send(submitter, terms, FIRST)
    assert isinstance(future.exception(60), ServiceUnreachable)
    assert "reload_tasks" in str(future.exception())
    assert [asked for _, asked, _ in server.asked].count(path) == 1


def test_a_refusal_in_the_middle_stops_a_large_group(server, submitter, terms):
    answer(server, terms, {"tasks": {str(FIRST): ids(1_000)}}, (400, {"message": "full"}))
    futures = send(submitter, terms, *[FIRST] * 2_500)
    assert "full" in str(futures[1_500].exception(60))
    assert "was not sent" in str(futures[2_400].exception(60))
    assert not futures[0].done()


def test_nobody_is_asked_to_cancel(server, submitter, watching, terms):
    answer(server, terms, {"tasks": {str(FIRST): ids(1)}})
    (future,) = send(submitter, terms, FIRST)
    submitter.call(lambda _: None).result(60)
    future.withdraw()
    submitter.cancel([future])
    submitter.call(lambda _: None).result(60)
    assert watching.discarded == [future]
    assert not [path for _, path, _ in server.asked if "cancel" in path]


@pytest.fixture
def connection(server):
    one = Connection(server.url, TOKEN)
    yield one
    one.close()


def test_status_by_completion_time(server, connection):
    named = dict(zip("abcdef", [new_id() for _ in range(6)], strict=True))
    results = {
        str(named["a"]): {"status": "success", "completion_t": "2.5", "result": "value"},
        str(named["b"]): {"status": "failed", "completion_t": "3", "exception": "Traceback"},
        str(named["c"]): {"status": "success", "result": "too early"},
        str(named["d"]): {"status": "running"},
        str(named["e"]): {"status": "failed", "completion_t": "4", "reason": "lost"},
    }
    server.answers["POST", "/v2/batch_status"] = 200, {"results": results}
    found = published.status(connection, list(named.values()))
    assert {(r.task_id, r.state, r.data, r.ended_at) for r in found.results} == {
        (named["a"], TaskState.SUCCEEDED, "value", 2.5),
        (named["b"], TaskState.FAILED, "Traceback", 3.0),
        (named["e"], TaskState.FAILED, "lost", 4.0),
    }
    assert {(m.task_id, m.state) for m in found.moves} == {
        (named["c"], TaskState.WAITING),
        (named["d"], TaskState.RUNNING),
    }


WORKER = {"os": "Linux-6-x86_64", "python_version": "3.12.1", "dill_version": "0.3.9", "endpoint_id": "e"}


def test_what_a_worker_tells_of_itself_comes_under_our_names(server, connection):
    done, failed = new_id(), new_id()
    ended = {"completion_t": "2", "details": WORKER}
    results = {
        str(done): {"status": "success", "result": "v", **ended},
        str(failed): {"status": "failed", "exception": "E", **ended},
    }
    server.answers["POST", "/v2/batch_status"] = 200, {"results": results}
    found = published.status(connection, [done, failed]).results
    told = {"platform": "Linux-6-x86_64", "python": "3.12.1", "dill": "0.3.9"}
    assert [result.worker for result in found] == [told, told]


@pytest.mark.parametrize("details", [None, [], {}, {"python_version": None}, "3.12"])
def test_a_worker_that_tells_nothing_is_not_known(details):
    assert published.result(GROUP, "v", None, 1.0, details).worker is None


@pytest.mark.parametrize(
    ("details", "found"),
    [
        ({}, {}),
        ({"node_info": None}, {}),
        ({"node_info": {"7": [], "8": [{"worker_count": 1}]}}, {}),
        ({"node_info": {"7": [], "8": [{}, {"python_version": "3.12.1"}]}}, {"python": "3.12.1"}),
    ],
)
def test_a_heartbeat_may_tell_of_the_workers(details, found):
    assert published.workers(details) == found


def test_status_is_asked_in_parts(server, connection):
    server.answers["POST", "/v2/batch_status"] = 200, {"results": {}}
    published.status(connection, [new_id() for _ in range(300)])
    assert [len(body["task_ids"]) for _, _, body in server.asked] == [128, 128, 44]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, {"message": "nothing here"}, "knows no task group"),
        (200, {"taskgroup_id": str(new_id()), "tasks": []}, "was answered"),
        (200, {"tasks": []}, "can't be read"),
        (403, {"message": "not yours"}, "not yours"),
    ],
)
def test_a_group_that_cannot_be_had(server, connection, status, body, said):
    server.answers["GET", f"/v2/taskgroup/{GROUP}"] = status, body
    with pytest.raises(ComputeError, match=said):
        published.group(connection, GROUP)


def test_a_token_without_a_proof_only_if_that_was_said(server):
    server.prove = lambda nonce, host: (404, {"message": "what?"})
    server.answers["GET", "/v2/x"] = 200, {"well": 1}
    with pytest.raises(ComputeError):
        Connection(server.url, "secret").get("/v2/x")
    assert server.asked == []
    open_door = Connection(server.url, "secret", prove=Prove.NEVER)
    assert open_door.get("/v2/x") == {"well": 1}
    assert server.headers["Authorization"] == "Bearer secret"
    open_door.close()
