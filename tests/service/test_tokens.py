"""Who may speak to the service, and about what."""

import hashlib
import hmac
from uuid import UUID

import pytest

from compute_nb.service.tokens import (
    BrokerKeys,
    MalformedToken,
    Token,
    agent_username,
    allowed,
    client_username,
    new_token,
    proof,
)

USER, OTHER = UUID(int=1), UUID(int=2)
ENDPOINT = UUID(int=3)
CLIENT, AGENT = client_username(USER), agent_username(ENDPOINT)


def test_a_new_token_is_parsed_and_kept_as_a_digest_only():
    text = new_token()
    token = Token.parse(text)
    secret = text.rsplit("_", 1)[1]
    assert token.digest == hashlib.sha256(secret.encode()).digest()
    assert secret not in repr(token)


@pytest.mark.parametrize("text", ["", "cnb_", "cnb_12_34", "x" + new_token(), new_token() + "\n", "Cnb_"])
def test_other_texts_are_no_tokens_and_are_not_repeated(text):
    with pytest.raises(MalformedToken) as refused:
        Token.parse(text)
    assert len(text) < 60 or text not in str(refused.value)


def test_the_proof_is_that_of_the_document():
    secret = "ab" * 32
    key = hashlib.sha256(secret.encode()).digest()
    expected = hmac.new(key, b"00ff127.0.0.1:15000", hashlib.sha256).hexdigest()
    assert proof(key, "00ff", "127.0.0.1:15000") == expected


def test_passwords_are_the_same_at_each_hand_out_and_differ_by_user_and_service():
    keys = BrokerKeys(b"k", {})
    assert keys.password(CLIENT) == BrokerKeys(b"k", {}).password(CLIENT)
    assert keys.password(CLIENT) != keys.password(client_username(OTHER))
    assert keys.password(CLIENT) != BrokerKeys(b"other", {}).password(CLIENT)


def test_authenticate():
    keys = BrokerKeys(b"k", {})
    assert keys.authenticate(AGENT, keys.password(AGENT))
    assert not keys.authenticate(AGENT, keys.password(CLIENT))
    assert not keys.authenticate(AGENT, "")
    assert not keys.authenticate(AGENT, "päss")
    assert not keys.authenticate("guest", keys.password("guest"))


def test_a_revoked_password_stays_void_in_the_next_service():
    keys = BrokerKeys(b"k", {})
    old = keys.password(AGENT)
    generations = keys.revoke(AGENT)
    assert not keys.authenticate(AGENT, old)
    assert not BrokerKeys(b"k", generations).authenticate(AGENT, old)
    assert keys.authenticate(AGENT, keys.password(AGENT))


@pytest.mark.parametrize(
    ("username", "operation", "name", "routing_key", "expected"),
    [
        (CLIENT, "read", f"w.{USER.hex}.{ENDPOINT}", None, True),
        (CLIENT, "read", f"r.{USER.hex}.{ENDPOINT}", None, True),
        (CLIENT, "read", f"w.{OTHER.hex}.{ENDPOINT}", None, False),
        (CLIENT, "read", f"w.{USER.hex}", None, False),
        (CLIENT, "read", "results", None, False),
        (CLIENT, "read", f"{ENDPOINT}.tasks", None, False),
        (CLIENT, "write", "results", f"{ENDPOINT}.results", False),
        (CLIENT, "write", "amq.default", f"{ENDPOINT}.tasks", False),
        (CLIENT, "configure", f"w.{USER.hex}.{ENDPOINT}", None, False),
        (AGENT, "read", f"{ENDPOINT}.tasks", None, True),
        (AGENT, "read", f"{ENDPOINT}.commands", None, True),
        (AGENT, "read", f"{OTHER}.tasks", None, False),
        (AGENT, "read", "results", None, False),
        (AGENT, "write", "results", f"{ENDPOINT}.results", True),
        (AGENT, "write", "heartbeats", f"{ENDPOINT}.heartbeats", True),
        (AGENT, "write", "results", f"{OTHER}.results", False),
        (AGENT, "write", "results", f"{ENDPOINT}.heartbeats", False),
        (AGENT, "write", "amq.default", f"{ENDPOINT}.results", False),
        (AGENT, "write", f"w.{USER.hex}.{ENDPOINT}", None, False),
        (AGENT, "configure", f"{ENDPOINT}.tasks", None, False),
        ("guest", "read", f"{ENDPOINT}.tasks", None, False),
        (f"ep.{'a' * 36}", "write", "results", f"{ENDPOINT}.results", False),
        (f"u.{USER.hex}\n", "read", f"w.{USER.hex}.1", None, False),
    ],
)
def test_the_table_of_rights(username, operation, name, routing_key, expected):
    assert allowed(username, operation, name, routing_key) is expected
