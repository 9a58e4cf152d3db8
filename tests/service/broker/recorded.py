"""Real sessions of pika and py-amqp with the embedded broker, as the bytes that were sent, and their ruin."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import amqp
import pika

from compute_nb.service.broker.frames import END, PROTOCOL_HEADER, Splitter

KINDS = (1, 2, 3, 8)
Frame = bytes


@contextmanager
def recording(port: int) -> Iterator[tuple[int, bytearray]]:
    """A port that passes one connection on to `port`, and what the client has sent there."""
    sent = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as door:

        def pass_on() -> None:
            client, _ = door.accept()
            with client, socket.create_connection(("127.0.0.1", port)) as broker:
                back = threading.Thread(target=copy, args=(broker, client, bytearray()))
                back.start()
                copy(client, broker, sent)
                back.join()

        thread = threading.Thread(target=pass_on)
        thread.start()
        yield door.getsockname()[1], sent
        thread.join()


def copy(source: socket.socket, target: socket.socket, copied: bytearray) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            copied += data
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


def with_pika(url: str, queue: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel, other = connection.channel(), connection.channel()
    channel.confirm_delivery()
    channel.basic_qos(prefetch_count=10)
    channel.queue_declare(queue, passive=True)
    channel.exchange_declare("amq.topic", passive=True)
    for number in range(8):
        properties = pika.BasicProperties(headers={"n": number, "list": ["a", {"b": None}]}, timestamp=number)
        channel.basic_publish("", queue, b"x" * 50 * number, properties, mandatory=True)
    channel.queue_bind(queue, "amq.topic", "a.#")
    with suppress(pika.exceptions.UnroutableError):
        channel.basic_publish("amq.topic", "b", b"lost", mandatory=True)
    got = []
    tag = other.basic_consume(queue, lambda _, method, __, ___: got.append(method.delivery_tag))
    while len(got) < 8:
        connection.process_data_events(time_limit=1)
    other.basic_ack(got[2], multiple=True)
    other.basic_nack(got[3], requeue=True)
    other.basic_reject(got[4], requeue=False)
    other.basic_cancel(tag)
    other.basic_recover(requeue=True)
    other.basic_get(queue, auto_ack=True)
    channel.queue_unbind(queue, "amq.topic", "a.#")
    channel.queue_purge(queue)
    other.close()
    connection.close()


def as_root(url: str) -> None:
    """What only somebody may do who is allowed to declare."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_declare("q.fleeting", auto_delete=True, arguments={"x-expires": 60_000, "other": [1, "a"]})
    channel.exchange_declare("all", "fanout")
    channel.exchange_declare("some", "topic")
    channel.queue_bind(queue, "all")
    channel.queue_bind("q.fleeting", "some", "#.x.*")
    channel.basic_publish("all", "", b"1")
    channel.basic_publish("some", "a.x.b", b"2")
    tag = channel.basic_consume("q.fleeting", print, auto_ack=True, exclusive=True)
    channel.basic_cancel(tag)
    channel.queue_delete(queue, if_empty=False)
    channel.exchange_delete("all")
    channel.exchange_delete("some", if_unused=True)
    connection.close()


def with_py_amqp(port: int, password: str, queue: str) -> None:
    connection = amqp.Connection(
        host=f"127.0.0.1:{port}", userid="ada", password=password, login_method="PLAIN", heartbeat=60
    )
    connection.connect()
    channel = connection.channel()
    channel.basic_qos(0, 3, True)
    for number in range(4):
        message = amqp.Message(b"%d" % number, application_headers={"n": number}, priority=3)
        channel.basic_publish_confirm(message, "", queue)
    message = channel.basic_get(queue)
    channel.basic_ack(message.delivery_tag)
    channel.flow(False)
    channel.flow(True)
    channel.queue_purge(queue)
    channel.close()
    connection.send_heartbeat()
    connection.close()


def frames_of(sent: bytes) -> list[Frame]:
    """Returns a session's protocol header and its frames, each whole."""
    assert sent.startswith(PROTOCOL_HEADER)
    split = Splitter(131_072).split(bytes(sent[len(PROTOCOL_HEADER) :]))
    return [PROTOCOL_HEADER, *(framed(*parts) for parts in split)]


def framed(kind: int, channel: int, payload: bytes) -> Frame:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + END


def ruin(dice: random.Random, sessions: list[list[Frame]]) -> bytes:
    """Returns a session with some harm done to it, most of it after the login."""
    frames = list(dice.choice(sessions))
    for _ in range(dice.choice((1, 1, 2, 3, 8))):
        first = 0 if dice.random() < 0.15 else min(5, len(frames) - 1)
        dice.choice(HARMS)(dice, frames, dice.randrange(first, len(frames)), sessions)
        if not frames:
            break
    data = b"".join(frames)
    if dice.random() < 0.1:
        data = data[: dice.randrange(len(data) + 1)]
    return data


Harm = Callable[[random.Random, list[Frame], int, list[list[Frame]]], None]


def _flip(dice, frames, at, _):
    data = bytearray(frames[at])
    for _ in range(dice.choice((1, 1, 1, 4))):
        data[dice.randrange(len(data))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
    frames[at] = bytes(data)


def _change_inside(dice, frames, at, _):
    """The frame stays a frame: what is in it is another."""
    payload = bytearray(frames[at][7:-1])
    where = dice.randrange(len(payload) + 1)
    if dice.random() < 0.5:
        payload[where : where + dice.randrange(6)] = dice.randbytes(dice.randrange(6))
    else:
        payload[where:where] = dice.choice((b"\xff" * 4, b"\0" * 8, b"F\xff\xff\xff\xff", dice.randbytes(12)))
    kind, channel = struct.unpack_from(">BH", frames[at].ljust(3, b"\0"))
    frames[at] = framed(kind, channel, bytes(payload))


def _rename(dice, frames, at, _):
    """Another kind or channel for the same payload."""
    kind = dice.choice((*KINDS, 4, 0, 255))
    frames[at] = framed(kind, dice.choice((0, 1, 2, 3, 9, 255, 65_535)), frames[at][7:-1])


def _other_method(dice, frames, at, _):
    number = dice.choice((10, 20, 40, 50, 60, 85, 90, 30, 0, 65_535)), dice.randrange(0, 130)
    payload = struct.pack(">HH", *number) + dice.randbytes(dice.choice((0, 1, 2, 4, 9, 30)))
    frames.insert(at, framed(1, dice.choice((0, 1, 2)), payload))


def _drop(_, frames, at, __):
    del frames[at]


def _repeat(dice, frames, at, _):
    frames[at:at] = [frames[at]] * dice.choice((1, 2, 50))


def _swap(dice, frames, at, _):
    other = dice.randrange(len(frames))
    frames[at], frames[other] = frames[other], frames[at]


def _borrow(dice, frames, at, sessions):
    other = dice.choice(sessions)
    start = dice.randrange(len(other))
    frames[at:at] = other[start : start + dice.choice((1, 2, 10))]


def _rubbish(dice, frames, at, _):
    frames.insert(at, dice.randbytes(dice.choice((1, 7, 8, 100, 5_000))))


def _huge(dice, frames, at, _):
    frames.insert(at, struct.pack(">BHI", dice.choice(KINDS), 1, dice.choice((131_073, 2**31, 2**32 - 1))))


def _deep(dice, frames, at, _):
    """Tables in tables, far down: the start-ok's, or a declare's arguments."""
    table = b""
    for _ in range(dice.choice((10, 200, 3_000))):
        table = b"\x01aF" + struct.pack(">I", len(table)) + table
    arguments = struct.pack(">I", len(table)) + table
    frames.insert(at, framed(1, 1, struct.pack(">HHH", 50, 10, 0) + b"\x01q\x00" + arguments))


HARMS: tuple[Harm, ...] = (
    _flip,
    _flip,
    _change_inside,
    _change_inside,
    _rename,
    _other_method,
    _drop,
    _repeat,
    _swap,
    _borrow,
    _rubbish,
    _huge,
    _deep,
)
