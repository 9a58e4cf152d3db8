"""The client: one call each, values and functions on this side, errors of the task raised."""

from __future__ import annotations

import pytest
from small_server import TOKEN, small_server

from compute_nb.batch import Batch
from compute_nb.client import Client
from compute_nb.config import ServiceSettings
from compute_nb.errors import (
    ComputeError,
    EndpointNotFound,
    SerializationError,
    ServiceUnreachable,
    SubmitRefused,
    TaskExecutionFailed,
    TaskPending,
    VersionMismatch,
)
from compute_nb.serialize import ComputeSerializer, JSONData
from compute_nb.tasks import new_id

TASK, FUNCTION, ENDPOINT, GROUP = (str(new_id()) for _ in range(4))
SERIALIZER = ComputeSerializer()


def double(x):
    """Twice as much."""
    return x * 2


@pytest.fixture
def server():
    with small_server() as one:
        one.answers["GET", "/v2/version"] = 200, {"compute_nb": {"version": 1}}
        one.answers["POST", "/v3/functions"] = 200, {"function_uuid": FUNCTION}
        yield one


@pytest.fixture
def client(server):
    return Client(service=ServiceSettings("test", server.url, token=TOKEN))


def ended(**fields):
    return {"task_id": TASK, "status": "success", "completion_t": "2.5", **fields}


def test_nothing_is_asked_before_the_first_call(server, client):
    assert server.asked == []
    assert server.proofs == 0
    assert client.web_service_address == server.url


def test_the_version_is_asked_once(server, client):
    client.register_function(double)
    client.register_function(double)
    assert [path for _, path, _ in server.asked].count("/v2/version?service=all") == 1


def test_another_version_is_refused(server, client):
    server.answers["GET", "/v2/version"] = 200, {"compute_nb": {"version": 2}}
    with pytest.raises(VersionMismatch, match="version 2 of the extensions"):
        client.version_check()
    with pytest.raises(VersionMismatch):
        client.get_endpoints()


@pytest.mark.parametrize("answer", ["2.0.0", {"api": "2"}])
def test_a_service_without_extensions_is_one_too(server, client, answer):
    server.answers["GET", "/v2/version"] = 200, answer
    client.version_check()
    assert client.register_function(double) == FUNCTION


def test_the_check_can_be_left_out(server):
    client = Client(do_version_check=False, service=ServiceSettings("t", server.url, token=TOKEN))
    assert client.register_function(double) == FUNCTION
    assert [path for _, path, _ in server.asked] == ["/v3/functions"]


def test_a_function_is_registered_packed(server, client):
    assert client.register_function(double, public=True, group=GROUP) == FUNCTION
    body = server.asked[-1][2]
    assert body["function_name"] == "double"
    assert body["serialized"] is True
    assert body["meta"]["serde_identifier"] == "01"
    assert (body["public"], body["group"], body["description"]) == (True, GROUP, "Twice as much.")
    (buffer,) = SERIALIZER.unpack_buffers(body["function_code"])
    assert SERIALIZER.deserialize(buffer) is double


def test_source_is_registered_as_it_is(server, client):
    client.register_source_code("def f(): return 1", "f")
    body = server.asked[-1][2]
    assert (body["function_code"], body["serialized"]) == ("def f(): return 1", False)
    assert "serde_identifier" not in body["meta"]


def test_a_function_that_cannot_travel_is_not_sent(server, client):
    with pytest.raises(SerializationError):
        client.register_function((i for i in ()).__next__)
    assert server.asked == []


def test_functions_are_fetched_and_deleted(server, client):
    server.answers["GET", f"/v2/functions/{FUNCTION}"] = 200, {"function_uuid": FUNCTION}
    server.answers["DELETE", f"/v2/functions/{FUNCTION}"] = 200, {"result": 302}
    assert client.get_function(FUNCTION)["function_uuid"] == FUNCTION
    assert client.delete_function(FUNCTION) == {"result": 302}


def test_run_sends_one_call_with_an_id_of_its_own(server, client):
    path = f"/v3/endpoints/{ENDPOINT}/submit"
    server.answers["POST", path] = [(200, None), (200, {"tasks": {FUNCTION: [TASK]}})]
    assert client.run(1, endpoint_id=ENDPOINT, function_id=FUNCTION, b=2) == TASK
    first, again = (body for _, asked, body in server.asked if asked == path)
    assert first == again
    assert first["tasks"] == {FUNCTION: [SERIALIZER.pack_call((1,), {"b": 2})]}
    assert len(first["compute_nb"]["task_ids"][FUNCTION]) == 1
    assert first["create_queue"] is False
    assert first["user_runtime"]["python"]["version_tuple"]


@pytest.mark.parametrize("checked", [True, False])
def test_run_is_not_repeated_where_tasks_have_no_ids_of_ours(server, checked):
    client = Client(do_version_check=checked, service=ServiceSettings("test", server.url, token=TOKEN))
    server.answers["GET", "/v2/version"] = 200, "1.0"
    path = f"/v3/endpoints/{ENDPOINT}/submit"
    server.answers["POST", path] = [(200, None), (200, {"tasks": {FUNCTION: [TASK]}})]
    with pytest.raises(ServiceUnreachable):
        client.run(1, endpoint_id=ENDPOINT, function_id=FUNCTION)
    assert client.run(1, endpoint_id=ENDPOINT, function_id=FUNCTION) == TASK
    sent = [body for _, asked, body in server.asked if asked == path]
    assert len(sent) == 2
    assert all("compute_nb" not in body for body in sent)
    assert [asked for _, asked, _ in server.asked].count("/v2/version?service=all") == 1


def test_run_where_the_version_is_another_and_not_asked_for(server):
    client = Client(do_version_check=False, service=ServiceSettings("test", server.url, token=TOKEN))
    server.answers["GET", "/v2/version"] = 200, {"compute_nb": {"version": 2}}
    path = f"/v3/endpoints/{ENDPOINT}/submit"
    server.answers["POST", path] = 200, {"tasks": {FUNCTION: [TASK]}}
    assert client.run(1, endpoint_id=ENDPOINT, function_id=FUNCTION) == TASK


def test_a_batch_prepares_the_published_body():
    batch = Batch(GROUP, {"num_nodes": 1}, {"a": 1}, True, result_serializers=[JSONData, JSONData()])
    batch.add(FUNCTION, [1], {"k": 2})
    batch.add(FUNCTION)
    assert len(batch) == 2
    body = batch.prepare()
    assert body["task_group_id"] == GROUP
    assert body["resource_specification"] == {"num_nodes": 1}
    assert body["user_endpoint_config"] == {"a": 1}
    assert body["result_serializers"] == ["globus_compute_sdk.serialize.concretes.JSONData"] * 2
    assert body["create_queue"] is True
    assert len(body["tasks"][FUNCTION]) == 2
    assert "task_group_id" not in Batch(None).prepare()
    assert "2 tasks" in repr(batch)


def test_a_batch_checks_what_is_added():
    batch = Batch(None)
    for wrong in ({"args": 3}, {"kwargs": []}, {"kwargs": {1: 2}}):
        with pytest.raises(TypeError):
            batch.add(FUNCTION, **wrong)
    with pytest.raises(ValueError, match="badly formed"):
        batch.add("7")


def test_a_pending_task(server, client):
    server.answers["GET", f"/v2/tasks/{TASK}"] = 200, {"task_id": TASK, "status": "running"}
    assert client.get_task(TASK) == {"pending": True, "status": "running"}
    with pytest.raises(TaskPending, match="running"):
        client.get_result(TASK)


def test_a_result_is_read_and_kept(server, client):
    server.answers["GET", f"/v2/tasks/{TASK}"] = 200, ended(result=SERIALIZER.serialize([1]))
    assert client.get_result(TASK) == [1]
    assert client.get_task(TASK)["completion_t"] == "2.5"
    assert [path for _, path, _ in server.asked].count(f"/v2/tasks/{TASK}") == 1


def test_a_failure_is_raised(server, client):
    server.answers["GET", f"/v2/tasks/{TASK}"] = 200, ended(status="FAILED", exception="Traceback")
    with pytest.raises(TaskExecutionFailed, match="Traceback") as caught:
        client.get_result(TASK)
    assert caught.value.completion_t == "2.5"
    with pytest.raises(TaskExecutionFailed):
        client.get_task(TASK)


def test_a_reason_stands_for_an_exception(server, client):
    server.answers["GET", f"/v2/tasks/{TASK}"] = 200, ended(status="failed", reason="expired")
    with pytest.raises(TaskExecutionFailed, match="expired"):
        client.get_result(TASK)


def test_many_at_once(server, client):
    other, failed = str(new_id()), str(new_id())
    server.answers["POST", "/v2/batch_status"] = (
        200,
        {
            "results": {
                TASK: ended(result=SERIALIZER.serialize(7)),
                other: {"task_id": other, "status": "waiting-for-ep"},
                failed: ended(status="failed", exception="no"),
            }
        },
    )
    found = client.get_batch_result([TASK, other, failed, str(new_id())])
    assert found[TASK]["result"] == 7
    assert found[other]["pending"]
    assert isinstance(found[failed]["exception"], TaskExecutionFailed)
    assert len(found) == 3


def test_endpoints(server, client):
    server.answers["GET", f"/v2/endpoints/{ENDPOINT}/status"] = 200, {"status": "online"}
    server.answers["GET", f"/v2/endpoints/{ENDPOINT}"] = 200, {"name": "lab"}
    server.answers["GET", "/v2/endpoints"] = 200, [{"uuid": ENDPOINT}]
    server.answers["DELETE", f"/v2/endpoints/{ENDPOINT}"] = 200, {"result": 302}
    server.answers["POST", f"/v3/endpoints/{ENDPOINT}/lock"] = 200, {"endpoint_id": ENDPOINT}
    server.answers["POST", "/v3/endpoints"] = 200, {"endpoint_id": ENDPOINT}
    server.answers["PUT", f"/v3/endpoints/{ENDPOINT}"] = 200, {"endpoint_id": ENDPOINT}
    server.answers["GET", "/v2/get_amqp_result_connection_url"] = 200, {"queue_prefix": "r."}
    assert client.get_endpoint_status(ENDPOINT)["status"] == "online"
    assert client.get_endpoint_metadata(ENDPOINT)["name"] == "lab"
    assert client.get_endpoints("any") == [{"uuid": ENDPOINT}]
    assert server.asked[-1][1] == "/v2/endpoints?role=any"
    assert client.delete_endpoint(ENDPOINT)["result"] == 302
    assert client.stop_endpoint(ENDPOINT)["endpoint_id"] == ENDPOINT
    assert client.register_endpoint("lab")["endpoint_id"] == ENDPOINT
    assert client.register_endpoint("lab", ENDPOINT, {"a": 1})["endpoint_id"] == ENDPOINT
    assert server.asked[-1] == (
        "PUT",
        f"/v3/endpoints/{ENDPOINT}",
        {"endpoint_name": "lab", "metadata": {"a": 1}},
    )
    assert client.get_result_amqp_url() == {"queue_prefix": "r."}


def test_an_answer_of_another_shape_is_told(server, client):
    server.answers["GET", f"/v2/functions/{FUNCTION}"] = 200, [1]
    with pytest.raises(ComputeError, match="answered with list"):
        client.get_function(FUNCTION)


def test_what_is_not_possible_is_said():
    with pytest.raises(TypeError, match="must be one of globus_sdk's"):
        Client(authorizer=object())
    with pytest.raises(ValueError, match="give one of them"):
        Client(authorizer=object(), app=object())
    with pytest.warns(UserWarning, match="ignores 'funcx_home'"):
        Client(funcx_home="x")
    with pytest.raises(ComputeError, match="no service is called 'moon'"):
        Client(service="moon")


# -- the rest of the published surface


def test_attributes_of_a_login(server, client):
    assert (client.app, client.authorizer) == (None, None)
    assert Client.FUNCX_SCOPE.startswith("https://auth.globus.org/scopes/")
    assert len(Client.FUNCX_SDK_CLIENT_ID) == 36
    with pytest.warns(UserWarning, match="logout does nothing"):
        client.logout()
    with (
        pytest.warns(DeprecationWarning, match="auth_client"),
        pytest.raises(ComputeError, match="no Globus"),
    ):
        client.auth_client


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [("2.0.0", "2.0", True), ("2.1", "2.1.0", True), ("4.19.0", "2.9", True), ("1.9", "2.0.0", False)],
)
def test_an_endpoint_that_is_too_old_is_refused(server, client, version, wanted, fits):
    server.answers["GET", "/v2/version"] = 200, {"compute_nb": {"version": 1}, "min_ep_version": wanted}
    if fits:
        client.version_check(version)
        client.version_check("0.1.dev3")
        return
    with pytest.raises(VersionMismatch, match=r"from version 2.0.0 on, this one is 1.9") as caught:
        client.version_check(endpoint_version=version)
    assert caught.value.version_message == str(caught.value)


def test_an_endpoint_is_registered_with_all_that_is_published(server, client):
    server.answers["POST", "/v3/endpoints"] = 200, {"endpoint_id": ENDPOINT}
    policy, subscription, admin = new_id(), str(new_id()), new_id()
    client.register_endpoint(
        *("lab", None, {"hostname": "h"}, True, "The lab", [FUNCTION], policy, subscription, False, True),
        (admin,),
    )
    assert server.asked[-1][2] == {
        "endpoint_name": "lab",
        "metadata": {"hostname": "h"},
        "multi_user": True,
        "display_name": "The lab",
        "allowed_functions": [FUNCTION],
        "authentication_policy": str(policy),
        "subscription_uuid": subscription,
        "public": False,
        "high_assurance": True,
        "admins": [str(admin)],
    }


def test_names_stand_for_endpoints(server, client):
    server.answers["POST", "/v3/compute_nb/local"] = 200, {"endpoint_id": ENDPOINT, "name": "local"}
    server.answers["GET", "/v2/endpoints"] = 200, [{"uuid": ENDPOINT, "name": "lab"}]
    server.answers["POST", f"/v3/endpoints/{ENDPOINT}/submit"] = 200, {"tasks": {FUNCTION: [TASK]}}
    server.answers["GET", f"/v2/endpoints/{ENDPOINT}/status"] = 200, {"status": "online"}
    server.answers["GET", f"/v2/endpoints/{ENDPOINT}"] = 200, {"name": "lab"}
    server.answers["GET", f"/v3/endpoints/{ENDPOINT}/allowed_functions"] = 200, {"restricted": False}
    server.answers["DELETE", f"/v2/endpoints/{ENDPOINT}"] = 200, {"result": 302}
    server.answers["POST", f"/v3/endpoints/{ENDPOINT}/lock"] = 200, {"endpoint_id": ENDPOINT}
    for name in ("local", "lab", "test:lab", "test:local", ENDPOINT):
        assert client.run(1, endpoint_id=name, function_id=FUNCTION) == TASK
        assert client.get_endpoint_status(name) == {"status": "online"}
    assert client.get_endpoint_metadata("lab") == {"name": "lab"}
    assert client.get_allowed_functions("lab") == {"restricted": False}
    assert client.stop_endpoint("local")["endpoint_id"] == ENDPOINT
    assert client.delete_endpoint("local")["result"] == 302
    starts = [body["start"] for _, path, body in server.asked if path == "/v3/compute_nb/local"]
    assert starts == [True, False, True, False, False, False]  # only a task starts an agent
    with pytest.raises(ComputeError, match="this client speaks to 'test'"):
        client.run(1, endpoint_id="moon:lab", function_id=FUNCTION)
    with pytest.raises(EndpointNotFound, match="did you mean 'lab'"):
        client.get_endpoint_status("lav")


def test_the_older_forms_of_a_batch(server, client):
    """As block 7 of the published Executor guide has them."""
    path = f"/v3/endpoints/{ENDPOINT}/submit"
    server.answers["POST", path] = 200, {"tasks": {}}
    group = client.session_task_group_id
    batch = client.create_batch()
    for n in range(3):
        batch.add(FUNCTION, ENDPOINT, args=(n,))
    batch.add(FUNCTION, ENDPOINT, (3,), {"k": 4})
    batch.add(FUNCTION, args=(5,))
    client.batch_run(batch)
    body = server.asked[-1][2]
    assert body["task_group_id"] == group == client.session_task_group_id
    calls = [SERIALIZER.pack_call((n,), {}) for n in range(3)]
    calls += [SERIALIZER.pack_call((3,), {"k": 4}), SERIALIZER.pack_call((5,), {})]
    assert body["tasks"][FUNCTION] == calls
    assert str(client.create_batch(GROUP).task_group_id) == GROUP
    with pytest.raises(ValueError, match="this batch is for endpoint"):
        batch.add(FUNCTION, str(new_id()), ())
    with pytest.raises(ValueError, match="no endpoint is named"):
        client.batch_run(client.create_batch())
    with pytest.raises(TypeError, match="an endpoint and a Batch"):
        client.batch_run(ENDPOINT)
    for given, named in (((1, 2, 3, 4), {}), (([],), {"args": []}), ((), {"moon": 1})):
        with pytest.raises(TypeError):
            batch.add(FUNCTION, *given, **named)


def test_a_batch_that_is_too_large_is_not_sent(server, client):
    batch = client.create_batch()
    for _ in range(3):
        batch.add(FUNCTION, ("x" * 6_000_000,))
    client.version_check()
    before = len(server.asked)
    with pytest.raises(SubmitRefused, match=r"this batch of 3 tasks is 24.6 MB .* 16.8 MB; nothing was sent"):
        client.batch_run(ENDPOINT, batch)
    assert len(server.asked) == before


def test_the_hardware_report_travels_as_source(server, client):
    server.answers["POST", f"/v3/endpoints/{ENDPOINT}/submit"] = 200, {"tasks": {FUNCTION: [TASK]}}
    assert client.get_worker_hardware_details(ENDPOINT) == TASK
    body = next(body for _, path, body in server.asked if path == "/v3/functions")
    assert (body["serialized"], body["function_name"]) == (False, "hardware_report")
    assert "compute_nb" not in body["function_code"].replace("compute-nb", "")
