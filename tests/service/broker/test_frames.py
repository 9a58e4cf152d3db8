from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body, commands, frame, header

from compute_nb.service.broker import frames
from compute_nb.service.broker.faults import Code, Fault

NAMES = st.text(alphabet="abc.-é", max_size=40)
TAGS = st.integers(0, 2**63 - 1)
CHANNELS = st.integers(0, 65_535)


def payload(method) -> bytes:
    return frame.marshal(method, 1)[7:-1]


@given(CHANNELS, st.text("ab", max_size=9), TAGS, st.booleans(), st.text("xy.", max_size=9), NAMES)
def test_deliver_is_spelled_as_pamqp_spells_it(channel, tag, number, redelivered, exchange, key):
    ours = frames.write_deliver(channel, tag, number, redelivered=redelivered, exchange=exchange, key=key)
    assert ours == frame.marshal(commands.Basic.Deliver(tag, number, redelivered, exchange, key), channel)


@given(TAGS, st.booleans(), st.booleans())
def test_confirms_are_spelled_as_pamqp_spells_them(number, multiple, ok):
    theirs = (
        commands.Basic.Ack(number, multiple) if ok else commands.Basic.Nack(number, multiple, requeue=False)
    )
    assert frames.write_confirm(7, number, multiple, ok) == frame.marshal(theirs, 7)


@given(st.text("ab.-", max_size=40), NAMES, st.booleans())
def test_publish_is_read_as_pamqp_writes_it(exchange, key, mandatory):
    method = commands.Basic.Publish(0, exchange, key, mandatory)
    assert frames.read_publish(payload(method)) == (exchange, key, mandatory, False)


@given(TAGS, st.booleans())
def test_ack_is_read_as_pamqp_writes_it(tag, multiple):
    assert frames.read_ack(payload(commands.Basic.Ack(tag, multiple))) == (tag, multiple)


@pytest.mark.parametrize("size", [0, 1, 92, 93, 184, 185, 1000])
def test_a_body_is_cut_to_the_frame_size(size):
    text = bytes(i % 251 for i in range(size))
    data = frames.write_content(3, b"\0\0", text, 100)
    parts = []
    for kind, channel, content in frames.Splitter(100).split(data):
        assert channel == 3
        parts.append((kind, content))
    head = header.ContentHeader(body_size=size)
    assert parts[0] == (frames.HEADER, head.marshal())
    assert b"".join(content for _, content in parts[1:]) == text
    assert {kind for kind, _ in parts[1:]} <= {frames.BODY}


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 50))
def test_frames_come_out_whole_however_they_arrive(bodies, step):
    data = b"".join(frame.marshal(body.ContentBody(text), 1) for text in bodies)
    splitter, found = frames.Splitter(4096), []
    for start in range(0, len(data), step):
        found += [text for _, _, text in splitter.split(data[start : start + step])]
    assert found == bodies


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x05\0\0\0\0\0\0", "type 5"),
        (b"\x01\0\0\0\0\x10\x00", "at most 4096"),
        (b"\x03\0\0\0\0\0\x01ab", "end octet"),
    ],
)
def test_a_broken_frame_is_a_frame_error(data, text):
    with pytest.raises(Fault, match=text) as error:
        list(frames.Splitter(4096).split(data))
    assert error.value.reply_code == Code.FRAME_ERROR


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\0", Code.SYNTAX_ERROR),
        (b"\0\x3c\0\x14" + bytes(16_384), Code.SYNTAX_ERROR),
        (b"\0\x63\0\x63", Code.COMMAND_INVALID),
        (b"\0\x3c\0\x14\0\0", Code.SYNTAX_ERROR),
    ],
)
def test_a_method_that_cannot_be_read_is_refused(data, code):
    with pytest.raises(Fault) as error:
        frames.read_method(data)
    assert error.value.reply_code == code


@pytest.mark.parametrize(
    "data", [b"\0\x3c\0\x28", b"\0\x3c\0\x28\0\0\x02\xff\xff\0\0", b"\0\x3c\0\x28\0\0\0\0\0\0"]
)
def test_a_publish_that_cannot_be_read_is_a_syntax_error(data):
    with pytest.raises(Fault) as error:
        frames.read_publish(data)
    assert error.value.reply_code == Code.SYNTAX_ERROR


def test_short_acks_and_headers_are_syntax_errors():
    for read in (frames.read_ack, frames.read_content_header):
        with pytest.raises(Fault, match=r"SYNTAX_ERROR"):
            read(b"\0\x3c\0\x50\0")
