"""One connection: the server proves itself before it is told anything; every refusal has one clear line."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest
from small_server import SECRET, TOKEN

from compute_nb import proof
from compute_nb.connection import Connection, Repeat, is_loopback
from compute_nb.errors import AccessRefused, ComputeError, ServiceUnreachable


@pytest.fixture
def connection(server):
    one = Connection(server.url, TOKEN)
    yield one
    one.close()


def test_a_request_carries_token_and_body(server, connection):
    server.answers["POST", "/v3/x"] = 200, {"ok": True}
    assert connection.post("/v3/x", {"a": "ä"}) == {"ok": True}
    assert server.asked == [("POST", "/v3/x", {"a": "ä"})]
    assert server.headers["Authorization"] == f"Bearer {TOKEN}"
    assert server.headers["Host"] == server.url.removeprefix("http://")


def test_one_proof_serves_all_requests_of_a_connection(server, connection):
    server.answers["GET", "/v2/x"] = 200, []
    for _ in range(3):
        assert connection.get("/v2/x") == []
    assert server.proofs == 1


def test_the_proof_is_as_documented():
    # docs/extensions.md 1: HMAC-SHA256(SHA-256(secret), nonce + host:port)
    import hashlib
    import hmac

    key = hashlib.sha256(SECRET.encode()).digest()
    wanted = hmac.new(key, b"ab" * 16 + b"127.0.0.1:5", hashlib.sha256).hexdigest()
    assert proof.expected(SECRET, "ab" * 16, "127.0.0.1:5") == wanted
    assert proof.host_header("::1", 5) == "[::1]:5"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, {"proof": "00" * 32}), "could not prove that it is the service"),
        ((200, {"proof": 7}), "could not prove"),
        ((200, ["proof"]), "could not prove"),
        ((200, b"hello"), "could not prove"),
        ((500, {}), r"could not prove.*HTTP 500"),
        ((404, {}), "does not know token cnb_0a0a0a0a0a0a0a0a"),
        ((421, {}), "is not called so"),
    ],
)
def test_a_server_without_proof_is_told_nothing(server, connection, answer, said):
    server.prove = lambda nonce, host: answer
    with pytest.raises(AccessRefused, match=said) as caught:
        connection.get("/v2/x")
    assert server.asked == []
    assert SECRET not in str(caught.value)


def test_a_replayed_proof_is_no_proof(server, connection):
    server.prove = lambda nonce, host: (200, {"proof": proof.expected(SECRET, "0" * 32, host)})
    with pytest.raises(AccessRefused):
        connection.get("/v2/x")


def test_a_server_that_hangs_up_is_out_of_reach(server, connection):
    server.prove = lambda nonce, host: (200, None)
    with pytest.raises(ServiceUnreachable, match="did not prove"):
        connection.get("/v2/x")


def test_a_token_of_another_form_is_not_sent_in_the_clear(server):
    with pytest.raises(AccessRefused, match="has not the form cnb_"):
        Connection(server.url, "secret").get("/v2/x")
    assert server.asked == []


def test_http_is_for_loopback_only():
    with pytest.raises(ComputeError, match="use https"):
        Connection("http://compute.example.org", TOKEN)
    assert is_loopback("127.9.9.9")
    assert is_loopback("localhost")
    assert is_loopback("::1")
    assert not is_loopback("10.0.0.1")
    assert not is_loopback("localhost.example.org")


def test_nobody_listening_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(ServiceUnreachable, match=f"{url} did not answer GET /v2/x: .*refused"):
        Connection(url, TOKEN).get("/v2/x")


@pytest.mark.parametrize(
    ("answer", "kind", "code", "said"),
    [
        ((401, {"code": "TOKEN_REFUSED", "message": "no"}), AccessRefused, "TOKEN_REFUSED", "no"),
        ((403, {"code": "FORBIDDEN", "message": "not yours"}), AccessRefused, "FORBIDDEN", "not yours"),
        ((404, {"code": "X", "detail": "gone"}), ComputeError, "X", "gone"),
        ((409, {"code": 7, "title": "other"}), ComputeError, None, "other"),
        ((413, b"<html>"), ComputeError, None, "Entity Too Large"),
        ((400, {"request_id": "r-1", "message": "m"}), ComputeError, None, "request r-1"),
        ((200, b"<html>"), ComputeError, None, "was refused with 200"),
    ],
)
def test_refusals_are_mapped(server, connection, answer, kind, code, said):
    server.answers["GET", "/v2/x"] = answer
    with pytest.raises(kind, match=said) as caught:
        connection.get("/v2/x")
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert caught.value.http_status == answer[0]
    assert "GET http://127.0.0.1" in str(caught.value)


def test_busy_answers_are_waited_out(server, connection):
    server.answers["POST", "/v3/x"] = [(503, {}), (429, {}), (200, {"ok": 1})]
    assert connection.post("/v3/x", {}) == {"ok": 1}
    assert len(server.asked) == 3


def test_a_lost_answer_is_asked_for_again_where_that_is_harmless(server, connection):
    server.answers["POST", "/v3/x"] = [(200, None), (200, {"ok": 1})]
    assert connection.post("/v3/x", {"n": 1}, Repeat.ALWAYS) == {"ok": 1}
    assert server.asked == [("POST", "/v3/x", {"n": 1})] * 2
    assert server.proofs == 2


def test_a_lost_answer_is_told_where_repeating_may_do_harm(server, connection):
    server.answers["POST", "/v3/x"] = [(200, None), (200, {"ok": 1})]
    with pytest.raises(ServiceUnreachable, match="POST /v3/x"):
        connection.post("/v3/x", {})
    assert len(server.asked) == 1


def test_a_failing_service_is_not_asked_for_ever(server, connection):
    server.answers["GET", "/v2/x"] = 500, {"message": "broken"}
    with pytest.raises(ComputeError, match="broken"):
        connection.get("/v2/x")
    assert len(server.asked) == 1


def test_loopback_never_goes_through_a_proxy(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    server.answers["GET", "/v2/x"] = 200, {}
    with closing(Connection(server.url, TOKEN)) as direct:
        assert direct.get("/v2/x") == {}


def test_the_token_is_not_shown(connection):
    assert SECRET not in repr(connection)
