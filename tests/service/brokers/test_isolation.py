"""Who may do what, tried operation by operation on both brokers against the one table, `tokens.allowed`."""

from dataclasses import dataclass
from uuid import uuid4

import pytest
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker, ProbableAuthenticationError

from compute_nb.service.tokens import agent_username, allowed, client_username


@dataclass(frozen=True)
class Attempt:
    """One thing that a client tries, and what the table is asked: all must be allowed."""

    what: str
    act: object
    questions: tuple[tuple[str, str, str | None], ...]

    def allowed(self, username):
        return all(allowed(username, *question) for question in self.questions)


def on_queue(queue):
    """What can be tried on a queue."""
    read, configure, write = (((operation, queue, None),) for operation in ("read", "configure", "write"))
    by_default = (("write", "amq.default", queue),)
    return [
        Attempt(f"consume {queue}", lambda ch: ch.basic_consume(queue, print), read),
        Attempt(f"get {queue}", lambda ch: ch.basic_get(queue), read),
        Attempt(f"purge {queue}", lambda ch: ch.queue_purge(queue), read),
        Attempt(f"declare {queue}", lambda ch: ch.queue_declare(queue, durable=True), configure),
        Attempt(f"delete {queue}", lambda ch: ch.queue_delete(queue), configure),
        Attempt(
            f"bind {queue}",
            lambda ch: ch.queue_bind(queue, "results", "#"),
            (*write, ("read", "results", None)),
        ),
        Attempt(
            f"publish to {queue} by the default exchange",
            lambda ch: ch.basic_publish("", queue, b"forged"),
            by_default,
        ),
    ]


def on_exchange(exchange, keys):
    """What can be tried on an exchange."""
    configure = (("configure", exchange, None),)
    declare = lambda ch: ch.exchange_declare(exchange, "topic", durable=True)  # noqa: E731
    tries = [
        Attempt(f"declare {exchange}", declare, configure),
        Attempt(f"delete {exchange}", lambda ch: ch.exchange_delete(exchange), configure),
    ]
    for key in keys:
        publish = lambda ch, key=key: ch.basic_publish(exchange, key, b"forged")  # noqa: E731
        tries.append(Attempt(f"publish to {exchange} with {key}", publish, (("write", exchange, key),)))
    return tries


def outcome(connection, act):
    """Says how an attempt ended: 0 for well, else the code with which the broker closed the channel."""
    channel = connection.channel()
    channel.confirm_delivery()
    try:
        act(channel)
    except ChannelClosedByBroker as error:
        return error.reply_code
    channel.close()
    return 0


def test_everything_of_the_others_is_refused_and_the_own_is_not(under_test, connect):
    ada, eve, lab, other = under_test.client(), under_test.client(), under_test.agent(), under_test.agent()
    queues = ["results", "heartbeats", *(f"{e}.{n}" for e in (lab, other) for n in ("tasks", "commands"))]
    for user in (ada, eve):
        for queue in (f"r.{user.hex}.{uuid4()}", f"w.{user.hex}.{uuid4()}"):
            under_test.call(under_test.broker.declare_queue, queue, expires_s=600.0)
            queues.append(queue)
    names = ("results", "heartbeats")
    keys = [f"{e}.{n}" for e in (lab, other) for n in names] + ["#", "results", ""]
    attempts = [attempt for queue in queues for attempt in on_queue(queue)]
    for exchange in (*names, "amq.topic", "amq.direct"):
        attempts += on_exchange(exchange, keys)
    wrong, refused = [], 0
    for username in (client_username(ada), client_username(eve), agent_username(lab), agent_username(other)):
        connection = connect(under_test.url(username))
        for attempt in attempts:
            right = 0 if attempt.allowed(username) else 403
            refused += right == 403
            if (code := outcome(connection, attempt.act)) != right:
                wrong.append(f"{username}: {attempt.what}: {code}, should be {right}")
    assert wrong == []
    assert refused > 300


def test_an_agent_sees_that_exchanges_and_queues_are_there_but_no_more(under_test, connect):
    """The published agent asks so before it publishes, and has no other right on the queue."""
    lab = under_test.agent()
    channel = connect(under_test.url(agent_username(lab))).channel()
    channel.exchange_declare("results", passive=True)
    channel.queue_declare("results", passive=True)
    with pytest.raises(ChannelClosedByBroker, match="404"):
        channel.queue_declare("no such queue", passive=True)


@pytest.mark.parametrize("password", ["wrong", " ", "revoked", "another's"])
def test_a_wrong_credential_is_refused_at_the_door(under_test, connect, password):
    lab, other = under_test.agent(), under_test.agent()
    username = agent_username(lab)
    if password == "revoked":
        password = under_test.keys.password(username)
        under_test.keys.revoke(username)
        under_test.call(under_test.broker.expel, username)
        under_test.call(under_test.broker.admit, username)
    elif password == "another's":
        password = under_test.keys.password(agent_username(other))
    with pytest.raises(ProbableAuthenticationError, match="403"):
        connect(under_test.url(username, password))


@pytest.mark.parametrize("username", ["nobody", "guest", "u.", "ep.*", "root"])
def test_a_name_that_nobody_has_is_refused_at_the_door(under_test, connect, username):
    with pytest.raises(ProbableAuthenticationError, match="403"):
        connect(under_test.url(username, "x"))


def test_whoever_is_expelled_is_cut_off_at_once(under_test, connect):
    lab, other = under_test.agent(), under_test.agent()
    mine, others = (
        connect(under_test.url(agent_username(lab))),
        connect(under_test.url(agent_username(other))),
    )
    url = under_test.url(agent_username(lab))
    under_test.keys.revoke(agent_username(lab))
    under_test.call(under_test.broker.expel, agent_username(lab))
    with pytest.raises(ConnectionClosedByBroker, match="320"):
        mine.channel()
    assert others.channel().is_open
    with pytest.raises(ProbableAuthenticationError, match="403"):
        connect(url)
