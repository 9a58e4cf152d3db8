from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands, frame
from pamqp.commands import Basic, Connection, Queue
from pamqp.commands import Channel as Ch

from compute_nb.service.broker.faults import Code, Fault
from compute_nb.service.broker.frames import (
    HEARTBEAT_FRAME,
    METHOD,
    PROTOCOL_HEADER,
    Splitter,
    write_content,
    write_method,
)
from compute_nb.service.broker.hub import Hub
from compute_nb.service.broker.limits import Limits
from compute_nb.service.broker.peer import Peer
from compute_nb.service.broker.protocol import OVER, Phase
from compute_nb.service.broker.vhost import Vhost

LIMITS = Limits(max_body_bytes=1000, max_properties_bytes=100, max_channels=3)
LOGIN = Connection.StartOk(
    {"capabilities": {"authentication_failure_close": True}}, "PLAIN", "\0ada\0s3cret", "en_US"
)
TUNING = Connection.TuneOk(3, 4096, 60)
STEPS = [LOGIN, TUNING, Connection.Open("/")]


class OpenGuard:
    def authenticate(self, username, password):
        return password == "s3cret"

    def allowed(self, username, operation, name, routing_key):
        return True


class Wire:
    """The bytes side of a peer: says methods, hears methods."""

    def __init__(self, steps: int = 3, channels: int = 1) -> None:
        vhost = Vhost(lambda: 0.0, lambda: None)
        vhost.declare_queue("q", None, None)
        self.peer = Peer(Hub(OpenGuard(), LIMITS, vhost), lambda: None)
        self.vhost = vhost
        self.splitter = Splitter(131_072)
        self.feed(PROTOCOL_HEADER)
        for method in STEPS[:steps]:
            self.say(method, channel=0)
        for number in range(1, channels + 1):
            self.say(Ch.Open(), channel=number)

    @property
    def phase(self) -> Phase:
        return self.peer.connection.phase

    def feed(self, data: bytes) -> list:
        self.peer.receive(data)
        return self.hear()

    def hear(self) -> list:
        """The methods, and the contents of messages as their payloads."""
        heard = []
        for kind, channel, payload in self.splitter.split(self.peer.flush()):
            if kind == METHOD:
                framed = kind.to_bytes(1, "big") + channel.to_bytes(2, "big")
                framed += len(payload).to_bytes(4, "big") + payload + b"\xce"
                heard.append(frame.unmarshal(framed)[2])
            else:
                heard.append(payload)
        return heard

    def say(self, method, channel: int = 1) -> list:
        return self.feed(write_method(channel, method))

    def closes_with(self, answers: list) -> Code:
        (close,) = answers
        assert isinstance(close, Connection.Close)
        assert self.phase is Phase.CLOSING
        assert close.reply_text.startswith(Code(close.reply_code).name)
        return Code(close.reply_code)


def message(body: bytes, properties: bytes = b"\0\0", key: str = "q", channel: int = 1) -> bytes:
    method = write_method(channel, Basic.Publish(exchange="", routing_key=key))
    return method + write_content(channel, properties, body, 4096)


def test_the_handshake():
    peer = Wire(steps=0, channels=0).peer
    assert peer.connection.phase is Phase.START
    wire = Wire(steps=0, channels=0)
    (tune,) = wire.say(LOGIN, channel=0)
    assert (tune.channel_max, tune.frame_max, tune.heartbeat) == (3, 131_072, 60)
    assert wire.say(TUNING, channel=0) == []
    (open_ok,) = wire.say(Connection.Open("/"), channel=0)
    assert isinstance(open_ok, Connection.OpenOk)
    assert wire.phase is Phase.RUNNING
    assert wire.peer.username == "ada"


def test_the_handshake_may_come_byte_by_byte():
    wire = Wire(steps=0, channels=0)
    data = b"".join(write_method(0, method) for method in STEPS)
    for n in range(len(data)):
        wire.feed(data[n : n + 1])
    assert wire.phase is Phase.RUNNING


@pytest.mark.parametrize("start", [b"HTTP/1.1", b"AMQP\x01\x01\x00\x0a", b"AMQP\0\0\x09\x02", b"\x16\x03"])
def test_another_protocol_is_told_ours_and_cut_off(start):
    peer = Peer(Hub(OpenGuard(), LIMITS, Vhost(lambda: 0.0, lambda: None)), lambda: None)
    peer.receive(start)
    assert peer.flush() == PROTOCOL_HEADER
    assert peer.connection.phase is Phase.CLOSED


def test_a_wrong_password_closes_with_403():
    wire = Wire(steps=0, channels=0)
    method = Connection.StartOk(LOGIN.client_properties, "PLAIN", "\0ada\0wrong", "en_US")
    assert wire.closes_with(wire.say(method, channel=0)) == Code.ACCESS_REFUSED


def test_a_wrong_password_of_an_old_client_cuts_it_off():
    wire = Wire(steps=0, channels=0)
    assert wire.say(Connection.StartOk({}, "PLAIN", "\0ada\0wrong", "en_US"), channel=0) == []
    assert wire.phase is Phase.CLOSED


@pytest.mark.parametrize(
    ("steps", "method", "code"),
    [
        (0, Connection.StartOk({}, "AMQPLAIN", "x", "en_US"), Code.COMMAND_INVALID),
        (0, Connection.StartOk({}, "PLAIN", "no zeros", "en_US"), Code.SYNTAX_ERROR),
        (0, Connection.Open("/"), Code.COMMAND_INVALID),
        (0, Ch.Open(), Code.COMMAND_INVALID),
        (1, Connection.TuneOk(4, 4096, 0), Code.NOT_ALLOWED),
        (1, Connection.TuneOk(0, 4096, 0), Code.NOT_ALLOWED),
        (1, Connection.TuneOk(3, 4095, 0), Code.NOT_ALLOWED),
        (1, Connection.TuneOk(3, 131_073, 0), Code.NOT_ALLOWED),
        (1, LOGIN, Code.COMMAND_INVALID),
        (2, Connection.Open("/other"), Code.NOT_ALLOWED),
        (3, Connection.Open("/"), Code.COMMAND_INVALID),
        (3, Connection.UpdateSecret("a", "b"), Code.NOT_IMPLEMENTED),
        (3, Basic.Qos(), Code.COMMAND_INVALID),
    ],
)
def test_the_connection_channel_has_its_order(steps, method, code):
    wire = Wire(steps, channels=0)
    assert wire.closes_with(wire.say(method, channel=0)) == code


HEADER_OF_QUEUE_CLASS = b"\x02\0\x01\0\0\0\x0e\0\x32\0\0\0\0\0\0\0\0\0\0\0\0\xce"
BODY_FRAME = b"\x03\0\x01\0\0\0\x01a\xce"
PUBLISH = write_method(1, Basic.Publish(exchange="", routing_key="q"))
CONTENT_HEADER = write_content(1, b"\0\0", b"", 4096)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x01\0\x01\0\0\0\0x", Code.FRAME_ERROR),
        (b"\x09\0\x01\0\0\0\0\xce", Code.FRAME_ERROR),
        (b"\x03\0\x01\0\0\x10\0", Code.FRAME_ERROR),
        (b"\x08\0\x01\0\0\0\0\xce", Code.FRAME_ERROR),
        (b"\x08\0\0\0\0\0\x01a\xce", Code.FRAME_ERROR),
        (b"\x01\0\x01\0\0\0\x02ab\xce", Code.SYNTAX_ERROR),
        (b"\x01\0\x01\0\0\0\x06\0\x3c\0\x14\0\0\xce", Code.SYNTAX_ERROR),
        (b"\x01\0\x01\0\0\0\x04\0\x63\0\x0a\xce", Code.COMMAND_INVALID),
        (write_method(1, Queue.DeclareOk("q", 0, 0)), Code.COMMAND_INVALID),
        (write_method(1, Connection.Open("/")), Code.COMMAND_INVALID),
        (write_method(1, Ch.Open()), Code.CHANNEL_ERROR),
        (write_method(2, Basic.Qos()), Code.CHANNEL_ERROR),
        (write_method(4, Ch.Open()), Code.CHANNEL_ERROR),
        (BODY_FRAME, Code.UNEXPECTED_FRAME),
        (b"\x03\0\0\0\0\0\x01a\xce", Code.UNEXPECTED_FRAME),
        (PUBLISH + PUBLISH, Code.UNEXPECTED_FRAME),
        (PUBLISH + BODY_FRAME, Code.UNEXPECTED_FRAME),
        (PUBLISH + HEADER_OF_QUEUE_CLASS, Code.UNEXPECTED_FRAME),
        (PUBLISH + write_content(1, b"\0\0", b"ab", 4096)[:22] * 2, Code.UNEXPECTED_FRAME),
        (
            PUBLISH + write_content(1, b"\0\0", b"a", 4096)[:22] + b"\x03\0\x01\0\0\0\x02ab\xce",
            Code.UNEXPECTED_FRAME,
        ),
        (message(b"a", properties=b"\x20\0\xff\xff\xff\xff"), Code.SYNTAX_ERROR),
        (PUBLISH[:-2] + b"\x02\xce" + CONTENT_HEADER, Code.NOT_IMPLEMENTED),
        (write_method(1, commands.Tx.Select()), Code.NOT_IMPLEMENTED),
        (write_method(1, commands.Exchange.Bind(destination="a", source="b")), Code.NOT_IMPLEMENTED),
        (write_method(1, Basic.Qos(prefetch_size=1)), Code.NOT_IMPLEMENTED),
        (write_method(1, Basic.Recover(requeue=False)), Code.NOT_IMPLEMENTED),
    ],
)
def test_broken_rules_close_the_connection_with_their_code(data, code):
    wire = Wire()
    assert wire.closes_with(wire.feed(data)) == code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (PUBLISH + write_content(1, b"\0\0", b"a" * 1001, 4096), Code.PRECONDITION_FAILED),
        (message(b"", properties=b"\0\0" * 51), Code.PRECONDITION_FAILED),
        (message(b"", properties=b"\0\x10\x03eve"), Code.PRECONDITION_FAILED),
        (write_method(1, Basic.Ack(1)), Code.PRECONDITION_FAILED),
        (write_method(1, Basic.Nack(1)), Code.PRECONDITION_FAILED),
        (write_method(1, Basic.Ack(7, multiple=True)), Code.PRECONDITION_FAILED),
        (write_method(1, Queue.Declare(queue="gone", passive=True)), Code.NOT_FOUND),
        (write_method(1, Queue.Declare(queue="", passive=True)), Code.NOT_FOUND),
        (write_method(1, commands.Exchange.Declare(exchange="", passive=True)), Code.ACCESS_REFUSED),
        (write_method(1, commands.Exchange.Declare(exchange="amq.x")), Code.ACCESS_REFUSED),
        (write_method(1, Queue.Declare(queue="amq.x")), Code.ACCESS_REFUSED),
    ],
)
def test_softer_faults_close_the_channel_only(data, code):
    wire = Wire(channels=2)
    (close,) = wire.feed(data)
    assert isinstance(close, Ch.Close)
    assert close.reply_code == code
    assert wire.phase is Phase.RUNNING
    (flow_ok,) = wire.say(Ch.Flow(active=True), channel=2)
    assert flow_ok.active


def test_a_closing_channel_is_deaf_until_close_ok_and_may_then_open_again():
    wire = Wire()
    bad = message(b"a" * 1001) + write_method(1, Queue.Declare(queue="q", passive=True))
    assert [type(answer) for answer in wire.feed(bad)] == [Ch.Close]
    assert wire.feed(message(b"a")) == []
    assert wire.say(Ch.CloseOk()) == []
    (open_ok,) = wire.say(Ch.Open())
    assert isinstance(open_ok, Ch.OpenOk)
    assert wire.vhost.queue("q").ready_count == 0


def test_both_sides_may_close_a_channel_at_once():
    wire = Wire()
    wire.say(Basic.Ack(1))
    (close_ok,) = wire.say(Ch.Close(200, "done", 0, 0))
    assert isinstance(close_ok, Ch.CloseOk)
    assert wire.say(Ch.CloseOk()) == []
    assert wire.phase is Phase.RUNNING


def test_answers_keep_the_order_of_the_questions():
    wire = Wire()
    asked = [
        (1, Queue.Declare(queue="q", passive=True)),
        (2, Ch.Open()),
        (1, Ch.Close(200, "", 0, 0)),
        (2, Basic.Qos()),
        (0, Connection.Close(200, "", 0, 0)),
    ]
    answers = wire.feed(b"".join(write_method(channel, method) for channel, method in asked))
    kinds = [Queue.DeclareOk, Ch.OpenOk, Ch.CloseOk, Basic.QosOk, Connection.CloseOk]
    assert [type(answer) for answer in answers] == kinds
    assert wire.phase is Phase.CLOSED


def test_a_closing_connection_hears_the_end_only():
    wire = Wire()
    wire.say(commands.Tx.Select())
    assert wire.feed(message(b"a") + HEARTBEAT_FRAME) == []
    assert wire.say(Connection.CloseOk(), channel=0) == []
    assert wire.phase is Phase.CLOSED
    wire = Wire()
    wire.say(commands.Tx.Select())
    (close_ok,) = wire.say(Connection.Close(200, "", 0, 0), channel=0)
    assert isinstance(close_ok, Connection.CloseOk)


def test_a_frame_that_was_not_agreed_is_refused_before_it_arrives():
    wire = Wire()
    assert wire.closes_with(wire.feed(b"\x03\0\x01\0\0\x0f\xf9")) == Code.FRAME_ERROR
    assert wire.feed(message(b"ignored")) == []


def test_large_bodies_are_cut_to_what_the_reader_agreed_to():
    wire = Wire()
    body = bytes(n % 251 for n in range(1000))
    wire.feed(message(body))
    get_ok, _, *parts = wire.say(Basic.Get(queue="q"))
    assert get_ok.message_count == 0
    assert b"".join(parts) == body


def test_properties_beyond_the_readers_frames_end_its_connection():
    wire = Wire()
    wire.peer.connection.send_content(1, b"", bytes(5000), b"")
    assert wire.closes_with(wire.hear()) == Code.FRAME_ERROR


def test_confirms_of_one_chunk_are_one_ack():
    wire = Wire()
    wire.say(commands.Confirm.Select())
    (ack,) = wire.feed(message(b"a") * 5)
    assert (type(ack), ack.delivery_tag, ack.multiple) == (Basic.Ack, 5, True)


def test_a_full_reader_is_delivered_no_more_until_it_has_read():
    wire = Wire()
    wire.say(Basic.Consume(queue="q", consumer_tag="t", no_ack=True))
    wire.peer.reading = False
    assert wire.feed(message(b"a") * 3) == []
    wire.peer.resume()
    assert wire.hear() == []
    wire.peer.reading = True
    wire.peer.resume()
    assert wire.hear().count(b"a") == 3


def test_pausing_a_channel_by_flow():
    wire = Wire()
    wire.say(Basic.Consume(queue="q", consumer_tag="t", no_ack=True))
    wire.say(Ch.Flow(active=False))
    assert wire.feed(message(b"a")) == []
    flow_ok, deliver, _, body = wire.say(Ch.Flow(active=True))
    assert (type(flow_ok), deliver.consumer_tag, body) == (Ch.FlowOk, "t", b"a")


def test_the_reply_text_fits_the_wire():
    fault = Fault(Code.NOT_FOUND, "é" * 300)
    assert len(fault.reply_text.encode()) <= 255


FRAMES = st.builds(
    lambda kind, channel, payload, end: (
        bytes((kind,)) + channel.to_bytes(2, "big") + len(payload).to_bytes(4, "big") + payload + end
    ),
    st.sampled_from([1, 1, 1, 2, 3, 8]),
    st.integers(0, 3),
    st.one_of(
        st.binary(max_size=60),
        st.builds(
            lambda index, rest: index.to_bytes(4, "big") + rest,
            st.sampled_from(sorted(commands.INDEX_MAPPING)),
            st.binary(max_size=40),
        ),
    ),
    st.sampled_from([b"\xce"] * 9 + [b"\0"]),
)
VALID = st.sampled_from(
    [
        message(b"body"),
        PUBLISH,
        CONTENT_HEADER,
        BODY_FRAME,
        HEARTBEAT_FRAME,
        write_method(1, Basic.Consume(queue="q")),
        write_method(1, Basic.Get(queue="q")),
        write_method(1, Basic.Ack(0, multiple=True)),
        write_method(1, Basic.Nack(1)),
        write_method(1, Basic.Recover(requeue=True)),
        write_method(1, commands.Confirm.Select()),
        write_method(1, Queue.Delete(queue="q")),
        write_method(1, Queue.Declare(queue="q")),
        write_method(1, Ch.Close(200, "", 0, 0)),
        write_method(1, Ch.CloseOk()),
        write_method(1, Ch.Open()),
        write_method(0, Connection.CloseOk()),
    ]
)
CODES = {
    Code.FRAME_ERROR,
    Code.SYNTAX_ERROR,
    Code.COMMAND_INVALID,
    Code.CHANNEL_ERROR,
    Code.UNEXPECTED_FRAME,
    Code.NOT_ALLOWED,
    Code.NOT_IMPLEMENTED,
}


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 3), st.lists(st.one_of(FRAMES, VALID, st.binary(max_size=30)), max_size=12))
def test_garbage_never_breaks_the_core(steps, pieces):
    wire = Wire(steps, channels=1 if steps == 3 else 0)
    for piece in pieces:
        for answer in wire.feed(piece):
            if isinstance(answer, Connection.Close):
                assert answer.reply_code in CODES
                assert wire.phase in OVER
    wire.peer.end()
    assert wire.phase in OVER or wire.peer.connection.unsent_bytes == 0


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=64))
def test_any_first_bytes_are_awaited_or_answered(data):
    peer = Peer(Hub(OpenGuard(), LIMITS, Vhost(lambda: 0.0, lambda: None)), lambda: None)
    peer.receive(data)
    if peer.connection.phase is Phase.HEADER:
        assert PROTOCOL_HEADER.startswith(data)
