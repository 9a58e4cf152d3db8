"""Every call of the table: described, answered as described, and refused where it must be.

The tables here are held against the description that the service gives: a call that is new must be added.
"""

import json
import re
from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

import compute_nb.service
from compute_nb.home import Home
from compute_nb.service.config import Limits
from compute_nb.service.identity_routes import client_pair, token_of_pair
from compute_nb.service.tokens import new_token
from compute_nb.tasks import new_id
from tests.service.conftest import Agent, run_service

UNKNOWN = str(UUID(int=77))
UNHURRIED = Limits(requests_per_s=0)
OPEN = {("GET", "/v3/compute_nb/proof"), ("POST", "/v2/oauth2/token")}


class Rig:
    """What two users of one service have: each an endpoint, a function, a group with a task, a token."""

    def __init__(self, service):
        self.service = service
        self.description = service.ok("GET", "/openapi.json")
        self.calls = [
            (method.upper(), path, operation)
            for path, item in self.description["paths"].items()
            for method, operation in item.items()
        ]
        self.mine = self._user("alice", admin=False)
        self.other = self._user("bob", admin=False)

    def _user(self, name, admin):
        made = self.service.ok("POST", "/v3/compute_nb/users", {"name": name, "admin": admin})
        token = self.service.ok("POST", "/v3/compute_nb/tokens", {"user": made["id"]})
        have = {"user_id": made["id"], "token": token["token"], "token_id": token["token_id"]}

        def ask(method, path, body):
            status, answer = self.service.call(method, path, body, token=have["token"])
            assert status == 200, answer
            return answer

        endpoint = {"endpoint_name": f"of-{name}", "metadata": {"compute_nb": {"version": 1}}}
        have["endpoint_id"] = ask("POST", "/v3/endpoints", endpoint)["endpoint_id"]
        function = {"function_name": "f", "function_code": "5\n01\nxy"}
        have["function_id"] = ask("POST", "/v3/functions", function)["function_uuid"]
        submit = {"tasks": {have["function_id"]: ["args"]}, "task_group_id": str(new_id())}
        answer = ask("POST", f"/v3/endpoints/{have['endpoint_id']}/submit", submit)
        have["task_group_id"] = answer["task_group_id"]
        have["task_id"] = answer["tasks"][have["function_id"]][0]
        return have


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    with run_service(Home(tmp_path_factory.mktemp("calls")).prepare(), limits=UNHURRIED) as service:
        yield Rig(service)


def bodies(have):
    """A right body for each call that has one, with the things of one user."""
    return {
        ("POST", "/v3/functions"): {"function_name": "g", "function_code": "5\n01\nxy", "group": None},
        ("POST", "/v3/endpoints"): {"endpoint_name": "lab", "metadata": {}},
        ("PUT", "/v3/endpoints/{endpoint_id}"): {"endpoint_name": "lab", "metadata": {}},
        ("POST", "/v3/endpoints/{endpoint_id}/submit"): {"tasks": {have["function_id"]: ["args"]}},
        ("POST", "/v2/batch_status"): {"task_ids": [have["task_id"]]},
        ("POST", "/v3/compute_nb/watch"): {
            "watch_id": str(uuid4()),
            "task_groups": [have["task_group_id"]],
        },
        ("POST", "/v3/compute_nb/cancel"): {"task_ids": [have["task_id"]]},
        ("POST", "/v3/compute_nb/lose"): {"task_ids": [have["task_id"]]},
        ("POST", "/v3/compute_nb/delete"): {"task_ids": [have["task_id"]]},
        ("POST", "/v3/compute_nb/retry"): {"tasks": [[have["task_id"], str(new_id())]]},
        ("POST", "/v3/compute_nb/tokens"): {"name": "more", "user": have["user_id"]},
        ("POST", "/v3/compute_nb/users"): {"name": f"u{uuid4().hex[:8]}"},
        ("PATCH", "/v3/compute_nb/users/{user_id}"): {"groups": []},
        ("POST", "/v3/compute_nb/stop"): {},
        ("POST", "/v3/compute_nb/local"): {"python": "/usr/bin/python3", "prefix": "/usr", "start": False},
    }


MISSING = {
    "/v3/functions": ("function_name", "function_code"),
    "/v3/endpoints": ("endpoint_name",),
    "/v3/endpoints/{endpoint_id}": ("endpoint_name",),
    "/v3/endpoints/{endpoint_id}/submit": ("tasks",),
    "/v2/batch_status": ("task_ids",),
    "/v3/compute_nb/watch": ("watch_id", "task_groups"),
    "/v3/compute_nb/retry": ("tasks",),
    "/v3/compute_nb/lose": ("task_ids",),
    "/v3/compute_nb/users": ("name",),
    "/v3/compute_nb/local": ("python", "prefix"),
}


def filled(path, have):
    return path.format(**have)


def is_admins(operation):
    return operation.get("x-admin", False)


def test_the_description_is_valid_and_has_every_call_of_the_protocol(rig):
    OpenAPIV31SpecValidator(rig.description).validate()
    served = {(method, path) for method, path, _ in rig.calls}
    assert served >= {
        ("GET", "/v2/version"),
        ("GET", "/v2/get_amqp_result_connection_url"),
        ("POST", "/v3/functions"),
        ("GET", "/v2/functions/{function_id}"),
        ("DELETE", "/v2/functions/{function_id}"),
        ("POST", "/v3/endpoints/{endpoint_id}/submit"),
        ("GET", "/v2/tasks/{task_id}"),
        ("POST", "/v2/batch_status"),
        ("GET", "/v2/taskgroup/{task_group_id}"),
        ("POST", "/v3/endpoints"),
        ("PUT", "/v3/endpoints/{endpoint_id}"),
        ("GET", "/v2/endpoints/{endpoint_id}"),
        ("GET", "/v2/endpoints"),
        ("GET", "/v2/endpoints/{endpoint_id}/status"),
        ("DELETE", "/v2/endpoints/{endpoint_id}"),
        ("POST", "/v3/endpoints/{endpoint_id}/lock"),
        ("GET", "/v3/endpoints/{endpoint_id}/allowed_functions"),
        ("GET", "/v2/oauth2/userinfo"),
        ("POST", "/v2/oauth2/token"),
    }
    have = bodies(rig.mine)
    described = {(method, path) for method, path, operation in rig.calls if "requestBody" in operation}
    assert described - OPEN == set(have), "each call with a body has one here, or this table is short"


def test_each_call_is_described_in_words_and_no_route_stands_beside_the_table(rig):
    names = [operation["operationId"] for _, _, operation in rig.calls]
    assert len(set(names)) == len(names)
    assert all(operation["summary"] for _, _, operation in rig.calls)
    folder = Path(compute_nb.service.__file__).parent
    makers = {
        path.name for path in folder.rglob("*.py") if re.search(r"\b(Web)?(Route|Mount)\(", path.read_text())
    }
    assert makers == {"app.py"}, "routes are made of the table of calls, there only"


def test_every_call_is_answered_to_whom_it_is_for(rig):
    service = rig.service
    with run_service(Home(service.home.root.parent / "right").prepare(), limits=UNHURRIED) as other:
        again = Rig(other)
        last = {"DELETE": 1, "POST": 0, "PUT": 0, "PATCH": 0, "GET": -1}
        calls = sorted(again.calls, key=lambda call: ("/stop" in call[1], last[call[0]], "/users" in call[1]))
        for method, path, operation in calls:
            if (method, path) in OPEN:
                continue
            have = again.mine
            token = other.token if is_admins(operation) else have["token"]
            if path == "/v3/compute_nb/tokens/{token_id}":
                have = again.other
                token = have["token"]
            if method == "DELETE" and "user" in path:
                have = again.other
            status, answer = other.call(
                method, filled(path, have), bodies(have).get((method, path)), token=token
            )
            assert status == 200, (method, path, answer)


@pytest.mark.parametrize("token", ["none", "wrong", "revoked", "removed"])
def test_without_a_good_token_every_call_is_refused(rig, token):
    service = rig.service
    texts = {"none": "", "wrong": new_token()}
    made = service.ok("POST", "/v3/compute_nb/users", {"name": f"gone-{token}"})
    text = service.ok("POST", "/v3/compute_nb/tokens", {"user": made["id"]})["token"]
    assert service.call("GET", "/v2/version", token=text)[0] == 200
    if token == "revoked":
        service.ok("DELETE", f"/v3/compute_nb/tokens/{text.split('_')[1]}")
    elif token == "removed":
        service.ok("DELETE", f"/v3/compute_nb/users/{made['id']}")
    text = texts.get(token, text)
    for method, path, _ in rig.calls:
        if (method, path) in OPEN:
            continue
        status, answer = service.call(
            method, filled(path, rig.mine), bodies(rig.mine).get((method, path)), token=text
        )
        assert (status, answer["code"]) == (401, "TOKEN_REFUSED"), (method, path)


def test_what_is_anothers_is_refused_by_every_call(rig):
    """Bob asks for each thing of Alice's by its id, in the path and in the body."""
    service, tried = rig.service, 0
    before = {
        key: service.call("GET", path, token=rig.mine["token"]) for key, path in _things(rig.mine).items()
    }
    for method, path, operation in rig.calls:
        if (method, path) in OPEN:
            continue
        body = bodies(rig.mine).get((method, path))
        with_ids = "{" in path or json.dumps(body) != json.dumps(bodies(rig.other).get((method, path)))
        status, answer = service.call(method, filled(path, rig.mine), body, token=rig.other["token"])
        told = json.dumps(answer)
        if is_admins(operation) or "{" in path:
            assert status in (403, 404), (method, path, status, answer)
            assert set(answer) == {"code", "message", "status", "http_status_code", "error_args"}
        elif path == "/v3/compute_nb/tokens" and method == "POST":
            assert status == 403
        elif with_ids and status == 200:
            # Ids in a body that are not his are passed over, as if they were unknown.
            assert answer in (
                {"response": "batch", "results": {}},
                {"cancelled": 0},
                {"lost": 0},
                {"deleted": 0, "open": 0},
                {"groups": answer.get("groups")},
                {"newest": []},
            ) or path in ("/v3/compute_nb/watch", "/v3/functions", "/v3/endpoints"), (method, path, answer)
        if status == 200 and path not in ("/v3/compute_nb/watch", "/openapi.json"):
            for key in ("endpoint_id", "function_id", "task_group_id", "task_id", "user_id", "token_id"):
                assert rig.mine[key] not in told, (method, path, key)
        tried += 1
    assert tried == len(rig.calls) - len(OPEN)
    query = f"/v3/compute_nb/tokens?user={rig.mine['user_id']}"
    assert service.call("GET", query, token=rig.other["token"])[0] == 403
    mixed = {"tasks": {rig.mine["function_id"]: ["args"]}}
    path = f"/v3/endpoints/{rig.other['endpoint_id']}/submit"
    assert service.call("POST", path, mixed, token=rig.other["token"])[0] == 403
    into = {"tasks": {rig.other["function_id"]: ["args"]}, "task_group_id": rig.mine["task_group_id"]}
    assert service.call("POST", path, into, token=rig.other["token"])[0] == 403
    after = {
        key: service.call("GET", path, token=rig.mine["token"]) for key, path in _things(rig.mine).items()
    }
    assert after == before, "nothing of hers has moved"


def _things(have):
    return {
        "endpoint": f"/v2/endpoints/{have['endpoint_id']}",
        "function": f"/v2/functions/{have['function_id']}",
        "task": f"/v2/tasks/{have['task_id']}",
        "group": f"/v2/taskgroup/{have['task_group_id']}",
        "tokens": "/v3/compute_nb/tokens",
    }


def test_ids_that_are_none_or_unknown(rig):
    for method, path, operation in rig.calls:
        if "{" not in path:
            continue
        token = rig.service.token if is_admins(operation) else rig.mine["token"]
        body = bodies(rig.mine).get((method, path))
        for given, expected in (
            ("nonsense", (400, 404)),
            (UNKNOWN, (404,)),
            ("%00", (400, 404)),
            ("x" * 5000, (400, 404)),
        ):
            if (method, path, given) == ("PUT", "/v3/endpoints/{endpoint_id}", UNKNOWN):
                continue  # kept: an agent may outlive the store of its service
            whole = path[: path.index("{")] + given + path[path.index("}") + 1 :]
            status, answer = rig.service.call(method, whole, body, token=token)
            assert status in expected, (method, whole[:80], status, answer)
            assert answer["http_status_code"] == status


@pytest.mark.parametrize(
    "raw", [b"{", b"[]", b"7", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"a": "\\ud800"}']
)
def test_bodies_that_are_no_object(rig, raw):
    for method, path, operation in rig.calls:
        if "requestBody" not in operation or (method, path) in OPEN:
            continue
        token = rig.service.token if is_admins(operation) else rig.mine["token"]
        have = rig.other if path == "/v3/compute_nb/users/{user_id}" else rig.mine
        status, answer = rig.service.call(method, filled(path, have), raw, token=token)
        assert (status, answer["code"]) == (400, "BAD_REQUEST"), (method, path, answer)


def test_fields_that_are_missing_or_of_another_type(rig):
    checked = 0
    for method, path, operation in rig.calls:
        if "requestBody" not in operation or (method, path) in OPEN:
            continue
        token = rig.service.token if is_admins(operation) else rig.mine["token"]
        right = bodies(rig.mine)[method, path]
        for field in MISSING.get(path, ()):
            if method == "POST" or path in ("/v3/endpoints/{endpoint_id}",):
                less = {key: value for key, value in right.items() if key != field}
                status, answer = rig.service.call(method, filled(path, rig.mine), less, token=token)
                assert status == 400, (method, path, field, answer)
                assert f"'{field}'" in answer["message"]
                checked += 1
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        for field in schema["properties"]:
            for wrong in (7.5, ["x", 7], {"x": 7}, "\x00nonsense/", True):
                if _fits(schema["properties"][field], wrong):
                    continue
                status, answer = rig.service.call(
                    method, filled(path, rig.mine), right | {field: wrong}, token=token
                )
                assert status < 500, (method, path, field, wrong, answer)
    assert checked == sum(len(fields) for fields in MISSING.values())


def _fits(schema, value):
    kinds = {str(s.get("type")) for s in schema.get("anyOf", [schema])}
    name = {float: "number", list: "array", dict: "object", str: "string", bool: "boolean"}[type(value)]
    return name in kinds


def test_methods_that_a_path_does_not_have(rig):
    for path, item in rig.description["paths"].items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PURGE"} - {m.upper() for m in item}:
            link = rig.service.connection()
            link.request(
                method, filled(path, rig.mine), headers={"Authorization": f"Bearer {rig.service.token}"}
            )
            response = link.getresponse()
            answer = json.loads(response.read())
            link.close()
            assert (response.status, answer["code"]) == (405, "NO_SUCH_ROUTE"), (method, path)
            assert {m.upper() for m in item} == set(response.getheader("Allow").split(", ")) - {"HEAD"}


def test_a_token_is_good_for_its_scope_only(rig):
    user = rig.mine["user_id"]
    for scope in ("read", "submit", "endpoint", "metrics"):
        made = rig.service.ok("POST", "/v3/compute_nb/tokens", {"user": user, "scope": scope})
        for method, path, operation in rig.calls:
            if (method, path) in OPEN or method == "DELETE" or path.endswith(("/lock", "/delete")):
                continue
            body = bodies(rig.mine).get((method, path))
            link = rig.service.connection()
            headers = {"Authorization": f"Bearer {made['token']}"}
            raw = None if body is None else json.dumps(body).encode()
            link.request(method, filled(path, rig.mine), raw, headers)
            response = link.getresponse()
            text = response.read()
            link.close()
            allowed = scope in operation["x-scopes"]
            assert (response.status == 200) == allowed, (scope, method, path, response.status, text[:200])
            if not allowed:
                assert json.loads(text)["code"] == "FORBIDDEN"
    assert rig.service.call("POST", "/v3/compute_nb/tokens", {"scope": "root"})[0] == 400


def test_only_an_issued_pair_gets_a_token(rig):
    import base64

    service = rig.service

    def ask(client_id, secret, body="grant_type=client_credentials&scope=x/all&scope=x/all"):
        pair = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
        headers = {"Authorization": f"Basic {pair}", "Content-Type": "application/x-www-form-urlencoded"}
        return service.call("POST", "/v2/oauth2/token", body.encode(), headers=headers.items())

    made = service.ok("POST", "/v3/compute_nb/tokens", {"user": rig.mine["user_id"]})
    status, answer = ask(made["client_id"], made["client_secret"])
    assert (status, answer["other_tokens"], answer["token_type"]) == (200, [], "Bearer")
    assert (answer["resource_server"], answer["scope"]) == ("funcx_service", "x/all")
    assert answer["expires_in"] > 3600
    token = answer["access_token"]
    assert service.call("GET", "/v2/oauth2/userinfo", token=token)[1]["sub"] == rig.mine["user_id"]
    auth = ask(made["client_id"], made["client_secret"], "grant_type=client_credentials&scope=openid")
    assert auth[1]["resource_server"] == "auth.globus.org"
    wrong = made["client_secret"][:-1] + ("0" if made["client_secret"][-1] != "0" else "1")
    for pair in (
        (made["client_id"], wrong),
        (UNKNOWN, made["client_secret"]),
        ("x", "y"),
        (made["client_id"], ""),
    ):
        assert ask(*pair)[0] == 401
        assert ask(*pair)[1]["code"] == "invalid_client"
    assert ask(made["client_id"], made["client_secret"], "grant_type=refresh_token")[0] == 400
    assert ask(made["client_id"], made["client_secret"], "x" * 20_000)[0] == 413
    assert service.call("POST", "/v2/oauth2/token", b"grant_type=client_credentials")[0] == 401
    service.ok("DELETE", f"/v3/compute_nb/tokens/{made['token_id']}")
    assert ask(made["client_id"], made["client_secret"])[0] == 401


def test_globus_sdk_gets_the_token_of_a_pair_and_learns_who_it_is(rig, monkeypatch):
    """The library that published programs use, unchanged, for both calls of its Auth host."""
    monkeypatch.setenv("GLOBUS_SDK_SERVICE_URL_AUTH", rig.service.url + "/")
    import globus_sdk

    made = rig.service.ok("POST", "/v3/compute_nb/tokens", {"user": rig.mine["user_id"]})
    client = globus_sdk.ConfidentialAppAuthClient(made["client_id"], made["client_secret"])
    scope = "https://auth.globus.org/scopes/facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all"
    tokens = client.oauth2_client_credentials_tokens(requested_scopes=[scope, scope])
    assert set(tokens.by_resource_server) == {"funcx_service"}
    token = tokens.by_resource_server["funcx_service"]["access_token"]
    assert token == made["token"]
    asker = globus_sdk.AuthClient(authorizer=globus_sdk.AccessTokenAuthorizer(token))
    assert asker.userinfo()["identity_set"][0]["sub"] == rig.mine["user_id"]
    wrong = globus_sdk.ConfidentialAppAuthClient(made["client_id"], "0" * 64)
    with pytest.raises(globus_sdk.AuthAPIError) as raised:
        wrong.oauth2_client_credentials_tokens(requested_scopes=scope)
    assert raised.value.http_status == 401


def test_a_pair_is_its_token():
    token = new_token()
    client_id, secret = client_pair(token)
    assert token_of_pair(str(client_id), secret) == token
    assert token_of_pair(str(uuid4()), secret) != token
    assert token_of_pair("nonsense", secret) is None


def test_userinfo_has_what_an_agent_compares(rig):
    status, answer = rig.service.call("GET", "/v2/oauth2/userinfo", token=rig.mine["token"])
    assert (status, answer["preferred_username"]) == (200, "alice")
    assert [row["sub"] for row in answer["identity_set"]] == [answer["sub"]] == [rig.mine["user_id"]]


def test_a_function_is_for_its_owner_everybody_or_a_group(rig):
    service, group = rig.service, str(uuid4())

    def user(name, groups):
        made = service.ok("POST", "/v3/compute_nb/users", {"name": name, "groups": groups})
        return made["id"], service.ok("POST", "/v3/compute_nb/tokens", {"user": made["id"]})["token"]

    def function(token, **fields):
        body = {"function_name": "f", "function_code": "5\n01\nxy", **fields}
        return service.call("POST", "/v3/functions", body, token=token)[1]["function_uuid"]

    _, owner = user("carol", [group])
    member_id, member = user("dave", [group, str(uuid4())])
    _, stranger = user("eve", [str(uuid4())])
    endpoint = service.call("POST", "/v3/endpoints", {"endpoint_name": "p", "public": True}, token=owner)[1]
    submit = f"/v3/endpoints/{endpoint['endpoint_id']}/submit"
    for fields, may in (
        ({}, (False, False)),
        ({"public": True}, (True, True)),
        ({"group": group}, (True, False)),
    ):
        one = function(owner, **fields)
        for token, allowed in ((owner, True), *zip((member, stranger), may, strict=True)):
            expected = 200 if allowed else 403
            assert service.call("GET", f"/v2/functions/{one}", token=token)[0] == expected
            assert service.call("POST", submit, {"tasks": {one: ["a"]}}, token=token)[0] == expected
        for token in (member, stranger):
            assert service.call("DELETE", f"/v2/functions/{one}", token=token)[0] == 403
    service.ok("PATCH", f"/v3/compute_nb/users/{member_id}", {"groups": []})
    assert service.call("GET", f"/v2/functions/{one}", token=member)[0] == 403
    assert (
        service.call("POST", "/v3/functions", {"function_name": "f", "function_code": "x", "group": "g"})[0]
        == 400
    )
    refused = {"function_name": "f", "function_code": "x", "ha_endpoint_id": UNKNOWN}
    assert service.call("POST", "/v3/functions", refused)[0] == 422


def test_an_endpoint_keeps_its_word_or_is_refused(rig):
    service = rig.service
    body = {
        "endpoint_name": "lab",
        "metadata": {"allowed_functions": 5, "multi_user": {"x": 1}, "admins": [UNKNOWN]},
    }
    endpoint_id = service.ok("POST", "/v3/endpoints", body)["endpoint_id"]
    assert service.submit(endpoint_id, service.function())[0] == 200, "metadata restricts nothing"
    answer = service.ok("GET", f"/v3/endpoints/{endpoint_id}/allowed_functions")
    assert (answer["restricted"], answer["functions"]) == (False, [])
    policy = {"endpoint_name": "lab", "authentication_policy": str(uuid4())}
    status, answer = service.call("POST", "/v3/endpoints", policy)
    assert (status, answer["code"]) == (422, "NOT_SUPPORTED")
    big = {"endpoint_name": "lab", "metadata": {"endpoint_config": "x" * 3_000_000}}
    assert service.call("POST", "/v3/endpoints", big)[0] == 413


def test_the_owner_of_a_service_stays_its_owner(rig):
    service = rig.service
    me = service.ok("GET", "/v2/oauth2/userinfo")["sub"]
    assert service.call("DELETE", f"/v3/compute_nb/users/{me}")[0] == 409
    assert service.call("PATCH", f"/v3/compute_nb/users/{me}", {"admin": False})[0] == 409
    own = service.token.split("_")[1]
    status, answer = service.call("DELETE", f"/v3/compute_nb/tokens/{own}")
    assert status == 409
    assert str(service.home.token_file) in answer["message"]
    assert service.call("POST", "/v3/compute_nb/users", {"name": "alice"})[0] == 409
    for name in ("", "a b", "-x", "é", "x" * 65, "a\nb"):
        assert service.call("POST", "/v3/compute_nb/users", {"name": name})[0] == 400


def test_a_removed_user_and_a_revoked_token_lose_the_broker_too(rig):
    import pika
    from pika.exceptions import AMQPConnectionError

    service = rig.service
    made = service.ok("POST", "/v3/compute_nb/users", {"name": "frank"})
    token = service.ok("POST", "/v3/compute_nb/tokens", {"user": made["id"]})["token"]
    url = service.call("GET", "/v2/get_amqp_result_connection_url", token=token)[1]["connection_url"]
    body = {"endpoint_name": "lab", "metadata": {"compute_nb": {"version": 1}}}
    agents = service.call("POST", "/v3/endpoints", body, token=token)[1]["task_queue_info"]["connection_url"]
    open_ones = [pika.BlockingConnection(pika.URLParameters(one)) for one in (url, agents)]
    service.ok("DELETE", f"/v3/compute_nb/users/{made['id']}")
    for link in open_ones:
        with pytest.raises(AMQPConnectionError):
            wait_for_the_end(link)
    for one in (url, agents):
        with pytest.raises(AMQPConnectionError):
            pika.BlockingConnection(pika.URLParameters(one))


def test_admins_of_an_endpoint_may_look_stop_and_delete(rig):
    service, admin, other = rig.service, rig.mine, rig.other
    me = service.call("GET", "/v2/oauth2/userinfo", token=admin["token"])[1]["sub"]
    body = {"endpoint_name": "lab", "metadata": {"admins": [me]}}
    path = f"/v2/endpoints/{service.ok('POST', '/v3/endpoints', body)['endpoint_id']}"
    assert service.call("GET", path, token=admin["token"])[0] == 403, (
        "what an agent tells of itself names nobody"
    )
    made = service.ok("POST", "/v3/endpoints", body | {"admins": [me.upper()]})
    path = f"endpoints/{made['endpoint_id']}"
    calls = (
        ("GET", f"/v2/{path}"),
        ("GET", f"/v2/{path}/status"),
        ("POST", f"/v3/{path}/lock"),
        ("DELETE", f"/v2/{path}"),
    )
    for call in calls:
        assert service.call(*call, token=other["token"])[0] == 403
    assert service.call("PUT", f"/v3/{path}", body, token=admin["token"])[0] == 403
    for call in calls:
        assert service.call(*call, token=admin["token"])[0] == 200
    assert service.call("GET", f"/v2/{path}")[0] == 404


def test_a_published_agent_that_is_stopped_loses_its_connection_and_may_come_again(rig):
    import pika
    from pika.exceptions import AMQPConnectionError

    service, body = rig.service, {"endpoint_name": "lab", "metadata": {"endpoint_version": "4.19.0"}}
    first = service.ok("POST", "/v3/endpoints", body)
    path = f"/v3/endpoints/{first['endpoint_id']}"
    url = first["command_queue_info"]["connection_url"]
    link = pika.BlockingConnection(pika.URLParameters(url))
    locked = service.ok("POST", f"{path}/lock")
    assert datetime.fromisoformat(locked["lock_expiration_timestamp"])
    with pytest.raises(AMQPConnectionError):
        wait_for_the_end(link)
    with pytest.raises(AMQPConnectionError):
        pika.BlockingConnection(pika.URLParameters(url))
    again = service.ok("PUT", path, body)
    assert again["endpoint_id"] == first["endpoint_id"]
    pika.BlockingConnection(pika.URLParameters(again["command_queue_info"]["connection_url"])).close()


def wait_for_the_end(link):
    while True:
        link.process_data_events(time_limit=5)


def test_a_group_of_many_is_told_whole(rig):
    service = rig.service
    agent = Agent(service)
    group, function_id = str(new_id()), service.function()
    for _ in range(12):
        assert service.submit(agent.endpoint_id, function_id, 1000, task_group_id=group)[0] == 200
    agent.close()
    answer = service.ok("GET", f"/v2/taskgroup/{group}")
    ids = [row["id"] for row in answer["tasks"]]
    assert (len(ids), len(set(ids)), ids) == (12_000, 12_000, sorted(ids))
    assert answer["taskgroup_id"] == group
