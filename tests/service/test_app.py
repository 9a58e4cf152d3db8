"""The web API over real sockets, with store and broker behind it."""

import hashlib
import hmac
import json
import os
from uuid import UUID, uuid4

import pytest

from compute_nb.service.tokens import new_token
from compute_nb.tasks import new_id, new_ids

UNKNOWN = str(UUID(int=77))


def test_version_tells_published_clients_and_ours(service):
    assert service.ok("GET", "/v2/version") == "2.0.0"
    answer = service.ok("GET", "/v2/version?service=all")
    assert answer["min_sdk_version"]
    assert answer["min_ep_version"]
    assert answer["compute_nb"]["version"] == 1
    UUID(answer["compute_nb"]["service_id"])


@pytest.mark.parametrize("token", ["", "x", new_token()])
@pytest.mark.parametrize("path", ["/v2/version", "/v3/compute_nb/status", "/nowhere"])
def test_without_the_right_token_nothing_is_told(service, token, path):
    status, answer = service.call("GET", path, token=token)
    assert (status, answer["code"]) == (401, "TOKEN_REFUSED")
    assert str(service.home.token_file) in answer["message"]
    assert len(token) < 2 or token.rpartition("_")[2] not in answer["message"]


def test_a_right_public_id_with_a_wrong_secret_is_refused(service):
    wrong = service.token[:-1] + ("0" if service.token[-1] != "0" else "1")
    assert service.call("GET", "/v2/version", token=wrong)[0] == 401


def test_the_service_proves_that_it_knows_the_token(service):
    public_id, secret = service.token.split("_")[1:]
    nonce = os.urandom(16).hex()
    path = f"/v3/compute_nb/proof?token_id={public_id}&nonce={nonce}"
    status, answer = service.call("GET", path, token="")
    key = hashlib.sha256(secret.encode()).digest()
    message = f"{nonce}{service.host}:{service.port}".encode()
    assert (status, answer["proof"]) == (200, hmac.new(key, message, hashlib.sha256).hexdigest())
    assert service.call("GET", path.replace(public_id, "0" * 16), token="")[0] == 404
    assert service.call("GET", path[:-1], token="")[0] == 400
    assert service.call("GET", path[:-1] + "é".encode().hex(), token="")[0] == 400


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1"])
def test_a_page_of_elsewhere_gets_421(service, host):
    for path in ("/v2/version", "/v3/compute_nb/proof?token_id=0&nonce=0"):
        status, answer = service.call("GET", path, headers={"Host": host}.items())
        assert (status, answer["code"]) == (421, "WRONG_HOST")


def test_localhost_is_one_of_its_names_and_nothing_allows_other_origins(service):
    link = service.connection()
    headers = {
        "Host": f"localhost:{service.port}",
        "Origin": "http://evil.example",
        "Authorization": f"Bearer {service.token}",
    }
    link.request("GET", "/v2/version", headers=headers)
    response = link.getresponse()
    assert response.status == 200
    assert not [name for name, _ in response.getheaders() if name.lower().startswith("access-control")]
    link.close()


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("POST", "/v2/version", 405), ("GET", "/", 404)]
)
def test_unknown_calls(service, method, path, status):
    assert service.call(method, path)[0] == status


def test_a_function_is_kept_as_it_came(service):
    body = {"function_name": "f", "function_code": "4\n01\nx", "meta": {"python_version": "3.11"}}
    path = "/v2/functions/" + service.ok("POST", "/v3/functions", body)["function_uuid"]
    answer = service.ok("GET", path)
    assert (answer["function_code"], answer["metadata"]) == ("4\n01\nx", {"python_version": "3.11"})
    assert service.ok("DELETE", path) == {"result": 302}
    assert service.call("GET", path)[0] == 404


def test_plain_source_becomes_a_packed_buffer(service):
    body = {"function_name": "área", "function_code": "def área():\n    return 1\n", "serialized": False}
    function_id = service.ok("POST", "/v3/functions", body)["function_uuid"]
    code = service.ok("GET", f"/v2/functions/{function_id}")["function_code"]
    buffer = "st\nárea:def área():\n    return 1\n"
    assert code == f"{len(buffer)}\n{buffer}"


def test_an_endpoint_registers_and_again_under_its_id(service):
    body = {"endpoint_name": "lab", "metadata": {"hostname": "h", "compute_nb": {"version": 1}}}
    first = service.ok("POST", "/v3/endpoints", body)
    again = service.ok("PUT", f"/v3/endpoints/{first['endpoint_id']}", body)
    assert again == first
    endpoint_id = first["endpoint_id"]
    assert first["task_queue_info"]["queue"] == f"{endpoint_id}.tasks"
    assert first["command_queue_info"]["queue"] == f"{endpoint_id}.commands"
    kwargs = first["result_queue_info"]["queue_publish_kwargs"]
    assert (kwargs["exchange"], kwargs["routing_key"]) == ("results", f"{endpoint_id}.results")
    assert service.ok("GET", f"/v2/endpoints/{endpoint_id}")["hostname"] == "h"
    assert endpoint_id in [row["uuid"] for row in service.ok("GET", "/v2/endpoints?role=owner")]
    assert service.ok("GET", f"/v2/endpoints/{endpoint_id}/status")["status"] == "offline"


@pytest.mark.parametrize("name", ["a b", ".hidden", "a/b", "a'b", "", "x" * 129])
def test_endpoint_names_that_no_folder_should_have(service, name):
    status, answer = service.call("POST", "/v3/endpoints", {"endpoint_name": name, "metadata": {}})
    assert status == 400
    assert "endpoint name" in answer["message"]


def test_a_deleted_endpoint_ends_its_tasks(service, agent):
    path = f"/v2/endpoints/{agent.endpoint_id}"
    _, answer = service.submit(agent.endpoint_id, service.function())
    (task_id,) = next(iter(answer["tasks"].values()))
    assert service.ok("DELETE", path) == {"result": 302}
    assert service.call("GET", path)[0] == 404
    assert service.ok("GET", f"/v2/tasks/{task_id}")["status"] == "failed"


def test_a_submit_is_answered_in_order_and_repeated_without_a_second_set(service, agent):
    function_id, group = service.function(), str(new_id())
    ids = [str(i) for i in new_ids(3)]
    body = {
        "tasks": {function_id: ["a", "b", "c"]},
        "task_group_id": group,
        "compute_nb": {"task_ids": {function_id: ids}},
    }
    path = f"/v3/endpoints/{agent.endpoint_id}/submit"
    answer = service.ok("POST", path, body)
    assert answer["tasks"] == {function_id: ids}
    assert (answer["task_group_id"], answer["endpoint_id"]) == (group, str(agent.endpoint_id))
    UUID(answer["request_id"])
    assert service.ok("POST", path, body) == answer
    assert service.ok("GET", f"/v2/taskgroup/{group}")["taskgroup_id"] == group
    assert [row["id"] for row in service.ok("GET", f"/v2/taskgroup/{group}")["tasks"]] == ids
    body["tasks"] = {function_id: ["a", "b", "other"]}
    assert service.call("POST", path, body)[0] == 409


def test_a_submit_without_ids_gets_them(service, agent):
    body = {"tasks": {service.function(): ["a", "b"]}, "create_queue": False}
    answer = service.ok("POST", f"/v3/endpoints/{agent.endpoint_id}/submit", body)
    assert len(set(next(iter(answer["tasks"].values())))) == 2


def test_what_is_unknown_is_named(service, agent):
    function_id = service.function()
    assert service.submit(UNKNOWN, function_id)[0] == 404
    assert service.submit(agent.endpoint_id, UNKNOWN)[0] == 404
    assert service.call("GET", f"/v2/tasks/{UNKNOWN}") == (
        404,
        {
            "code": "TASK_NOT_FOUND",
            "message": f"task {UNKNOWN} is not known to this service",
            "status": "Failed",
            "http_status_code": 404,
            "error_args": [],
        },
    )
    for path in ("/v2/taskgroup/", "/v3/compute_nb/taskgroup/", "/v2/functions/", "/v2/endpoints/"):
        assert service.call("GET", path + UNKNOWN)[0] == 404
        assert service.call("GET", path + "nonsense")[0] == 400
    assert service.ok("POST", "/v2/batch_status", {"task_ids": [UNKNOWN]})["results"] == {}


def test_too_much_in_one_request_is_413(service, agent):
    function_id = service.function()
    path = f"/v3/endpoints/{agent.endpoint_id}/submit"
    status, answer = service.submit(agent.endpoint_id, function_id, 10_001)
    assert (status, answer["code"]) == (413, "TASK_PAYLOAD_TOO_LARGE")
    big = json.dumps({"tasks": {function_id: ["x" * 17_000_000]}}).encode()
    status, answer = service.call("POST", path, big)
    assert (status, answer["code"]) == (413, "TASK_PAYLOAD_TOO_LARGE")
    assert "TASK_PAYLOAD_TOO_LARGE" in answer["message"]
    status, answer = service.call("POST", "/v2/batch_status", {"task_ids": [UNKNOWN] * 1001})
    assert status == 413


def test_too_much_without_a_length_is_413_too(service):
    link = service.connection()
    chunks = (b"x" * 1_000_000 for _ in range(18))
    headers = {"Authorization": f"Bearer {service.token}"}
    link.request("POST", "/v3/functions", chunks, headers, encode_chunked=True)
    assert link.getresponse().status == 413
    link.close()


def test_group_pages(service, agent):
    group, function_id = str(new_id()), service.function()
    service.submit(agent.endpoint_id, function_id, 5, task_group_id=group)
    path = f"/v3/compute_nb/taskgroup/{group}"
    first = service.ok("GET", path + "?limit=3")
    assert (len(first["tasks"]), first["more"]) == (3, True)
    assert first["endpoint_id"] == str(agent.endpoint_id)
    rest = service.ok("GET", f"{path}?limit=3&after={first['tasks'][-1][0]}")
    assert (len(rest["tasks"]), rest["more"]) == (2, False)
    ids = [row[0] for row in first["tasks"] + rest["tasks"]]
    assert ids == sorted(ids)
    assert service.call("GET", path + "?limit=0")[0] == 400


def test_cancel_ends_waiting_tasks(service):
    body = {"endpoint_name": "away", "metadata": {"compute_nb": {"version": 1}}}
    endpoint_id = service.ok("POST", "/v3/endpoints", body)["endpoint_id"]
    group = str(new_id())
    _, answer = service.submit(endpoint_id, service.function(), 3, task_group_id=group)
    ids = next(iter(answer["tasks"].values()))
    assert service.ok("POST", "/v3/compute_nb/cancel", {"task_ids": ids[:1]}) == {"cancelled": 1}
    assert service.ok("POST", "/v3/compute_nb/cancel", {"task_group_id": group}) == {"cancelled": 2}
    task = service.ok("GET", f"/v2/tasks/{ids[0]}")
    assert (task["status"], task["compute_nb"]["state"]) == ("failed", "CANCELLED")
    assert float(task["completion_t"]) > 0
    assert task["exception"]
    assert service.call("POST", "/v3/compute_nb/cancel", {})[0] == 400


def test_status_is_what_the_command_line_prints(service, agent):
    before = sum(service.ok("GET", "/v3/compute_nb/status")["tasks"].values())
    service.submit(agent.endpoint_id, service.function(), 2)
    status = service.ok("GET", "/v3/compute_nb/status")
    assert set(status) == {"url", "pid", "broker", "store", "token_file", "endpoints", "tasks"}
    assert (status["url"], status["broker"], status["pid"]) == (service.url, "embedded", os.getpid())
    (row,) = [row for row in status["endpoints"] if row["id"] == str(agent.endpoint_id)]
    assert set(row) == {"id", "name", "state", "workers", "python"}
    assert sum(status["tasks"].values()) == before + 2


def test_many_requests_go_over_one_connection(service):
    link = service.connection()
    statuses = {service.call_on(link, "GET", "/v2/version")[0] for _ in range(50)}
    assert statuses == {200}
    sock = link.sock
    assert service.call_on(link, "GET", f"/v2/tasks/{uuid4()}")[0] == 404
    assert link.sock is sock
    link.close()


@pytest.mark.parametrize("limit", ["%C2%B2", "9" * 5000, "0", "-1", "x", ""])
def test_a_limit_is_a_number(service, limit):
    status, answer = service.call("GET", f"/v3/compute_nb/taskgroup/{uuid4()}?limit={limit}")
    assert (status, answer["code"]) == (400, "BAD_REQUEST")


def test_a_text_that_nobody_can_store_is_the_callers_fault(service):
    fields = {"function_name": "\ud800", "function_code": "x"}
    assert service.call("POST", "/v3/functions", fields)[0] == 400


def test_an_endpoint_takes_the_functions_that_it_names(service):
    wanted, other = service.function(), service.function()
    body = {"endpoint_name": "strict", "allowed_functions": [wanted], "high_assurance": True}
    endpoint_id = service.ok("POST", "/v3/endpoints", body)["endpoint_id"]
    path = f"/v3/endpoints/{endpoint_id}/allowed_functions"
    told = {"endpoint_id": endpoint_id, "restricted": True, "functions": [wanted]}
    assert service.ok("GET", path) == told
    assert service.submit(endpoint_id, wanted)[0] == 200
    status, answer = service.submit(endpoint_id, other)
    assert (status, answer["code"]) == (403, "FORBIDDEN")
    assert f"Function {other} not permitted on endpoint {endpoint_id}" in answer["message"]
    body["allowed_functions"] = []
    service.ok("PUT", f"/v3/endpoints/{endpoint_id}", body)
    assert service.ok("GET", path) == {"endpoint_id": endpoint_id, "restricted": False, "functions": []}
    assert service.submit(endpoint_id, other)[0] == 200
    assert service.call("POST", "/v3/endpoints", body | {"allowed_functions": ["f"]})[0] == 400
    assert service.call("GET", f"/v3/endpoints/{UNKNOWN}/allowed_functions")[0] == 404


def test_a_deleted_function_takes_no_more_tasks(service, agent):
    function_id = service.function()
    assert service.submit(agent.endpoint_id, function_id)[0] == 200
    assert service.ok("DELETE", f"/v2/functions/{function_id}") == {"result": 302}
    assert service.call("GET", f"/v2/functions/{function_id}")[0] == 404
    assert service.submit(agent.endpoint_id, function_id)[0] == 404


def test_a_page_tells_times_and_attempts(service, agent):
    group = str(new_id())
    service.submit(agent.endpoint_id, service.function(), 1, task_group_id=group)
    (row,) = service.ok("GET", f"/v3/compute_nb/taskgroup/{group}")["tasks"]
    assert isinstance(row[2], float)
    assert row[3:] == [None, None, 0]


def test_tasks_are_given_up_listed_and_deleted(service):
    function = service.function()
    body = {"endpoint_name": "idle", "metadata": {"compute_nb": {"version": 1}}}
    endpoint = service.ok("POST", "/v3/endpoints", body)["endpoint_id"]
    group = str(new_id())
    status, submitted = service.submit(endpoint, function, 3, task_group_id=group)
    assert status == 200
    tasks = submitted["tasks"][function]
    assert service.ok("POST", "/v3/compute_nb/lose", {"task_ids": tasks[:1]}) == {"lost": 1}
    newest = service.ok("GET", "/v3/compute_nb/groups?limit=1")["groups"]
    assert [row.pop("created_at") > 0 for row in newest] == [True]
    assert newest == [
        {
            "task_group_id": group,
            "endpoint_id": endpoint,
            "endpoint_name": "idle",
            "tasks": {"WAITING": 2, "LOST": 1},
        }
    ]
    service.ok("POST", "/v3/compute_nb/cancel", {"task_ids": tasks[1:2]})
    deleted = service.ok("POST", "/v3/compute_nb/delete", {"task_group_id": group})
    assert deleted == {"deleted": 2, "open": 1}
    left = service.ok("POST", "/v2/batch_status", {"task_ids": tasks})["results"]
    assert list(left) == tasks[2:]
    assert service.call("POST", "/v3/compute_nb/delete", {"task_group_id": UNKNOWN})[0] == 404
    for bad in ({}, {"task_group_id": group, "task_ids": tasks}):
        assert service.call("POST", "/v3/compute_nb/delete", bad)[0] == 400


def test_a_character_that_no_database_stores_is_refused(service):
    body = {"endpoint_name": "a\0b", "metadata": {"compute_nb": {"version": 1}}}
    status, answer = service.call("POST", "/v3/endpoints", body)
    assert (status, answer["code"]) == (400, "BAD_REQUEST")
    assert "NUL" in answer["message"]
    body = {"function_name": "a\\u0000b", "function_code": "5\n01\nxy"}
    assert service.call("POST", "/v3/functions", body)[0] == 200, "these are six characters of a text"


def test_a_task_with_the_nil_id_is_refused(service):
    function = service.function()
    body = {"endpoint_name": "idle", "metadata": {"compute_nb": {"version": 1}}}
    endpoint = service.ok("POST", "/v3/endpoints", body)["endpoint_id"]
    body = {
        "tasks": {function: ["args"]},
        "compute_nb": {"task_ids": {function: [str(UUID(int=0))]}},
    }
    assert service.call("POST", f"/v3/endpoints/{endpoint}/submit", body)[0] == 400
