"""Real sessions, ruined at random: no crash, no hang, nothing left, nobody else touched, the right code.

`FUZZ_ROUNDS=100000 pytest tests/service/broker/test_fuzz.py` tries so many; a failure names its number.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import resource
import socket
import struct
from collections import Counter
from pathlib import Path

import pytest

from compute_nb.service.broker import Limits
from compute_nb.service.broker.frames import Splitter
from compute_nb.service.broker.hub import Hub
from compute_nb.service.broker.peer import Peer
from compute_nb.service.broker.protocol import Phase
from compute_nb.service.broker.vhost import Vhost

from .conftest import PASSWORD, TIMEOUT_S, RuleGuard
from .recorded import as_root, frames_of, recording, ruin, with_pika, with_py_amqp

ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "1500"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
QUEUE = "q.fuzz"
CLOSE, CHANNEL_CLOSE = (10, 50), (20, 40)
OF_CONNECTIONS = {200, 403, 501, 502, 503, 504, 505, 530, 540}
OF_CHANNELS = {403, 404, 405, 406}
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def sessions(running):
    """What pika and py-amqp send, frame by frame."""
    running.call(running.broker.declare_queue, QUEUE)
    with recording(running.port) as (port, by_pika):
        with_pika(running.url().replace(f":{running.port}", f":{port}"), QUEUE)
    with recording(running.port) as (port, by_py_amqp):
        with_py_amqp(port, PASSWORD, QUEUE)
    return [frames_of(bytes(sent)) for sent in (by_pika, by_py_amqp)]


class Table:
    """A broker without sockets, on which one ruined session after the other is played."""

    def __init__(self) -> None:
        self.vhost = Vhost(lambda: 0.0, lambda: None)
        self.hub = Hub(RuleGuard(), Limits(), self.vhost)
        self.queue = self.vhost.declare_queue(QUEUE, None, None)
        self.fixed = self._names()
        self.codes: Counter[int] = Counter()

    def play(self, data: bytes, dice: random.Random, may_declare: bool = False) -> None:
        peer = Peer(self.hub, lambda: None)
        said = bytearray()
        while data and peer.connection.phase is not Phase.CLOSED:
            size = dice.choice((1, 7, 100, 4_000, 100_000))
            peer.receive(data[:size])
            data = data[size:]
            said += peer.flush()
            peer.resume()
        peer.end()
        said += peer.flush()
        self._check_said(bytes(said))
        if may_declare:
            self._delete_new()
        assert self._names() == self.fixed
        assert not self.hub.count("ada")
        assert not self.hub.count("root")
        assert not self.queue.consumer_count
        self.queue.purge()
        assert not self.queue.held_bytes

    def _delete_new(self) -> None:
        """What somebody may make stays; what was his alone does not."""
        for name in self._names()[0] - self.fixed[0]:
            assert self.vhost.queue(name).holder is None
            assert not self.vhost.queue(name).consumer_count
            self.vhost.delete_queue(name)
        for name in self._names()[1] - self.fixed[1]:
            assert self.vhost.delete_exchange(name, if_unused=True)

    def _names(self):
        return set(self.vhost._queues), set(self.vhost._exchanges)

    def _check_said(self, said: bytes) -> None:
        """What it said are whole frames, and each close in it has one of the right codes."""
        if said.startswith(b"AMQP"):
            return
        frames = list(Splitter(MIB).split(said))
        assert len(said) == sum(len(payload) + 8 for _, _, payload in frames)
        for kind, channel, payload in frames:
            if kind != 1:
                continue
            method = struct.unpack_from(">HH", payload)
            if method in {CLOSE, CHANNEL_CLOSE}:
                code = struct.unpack_from(">H", payload, 4)[0]
                self.codes[code] += 1
                assert code in (OF_CONNECTIONS if method == CLOSE else OF_CHANNELS), (code, payload)
                assert (channel == 0) == (method == CLOSE)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_session_unharmed_is_no_fault(sessions):
    table = Table()
    for frames in sessions:
        table.play(b"".join(frames), random.Random(1))
    assert set(table.codes) <= {404, 406}  # what these sessions ask for alone may find less than with others


def test_ruined_sessions_leave_nothing_and_get_the_right_code(sessions):
    table = Table()
    for number in range(SEED, SEED + 200):
        _play(table, sessions, number)
    gc.collect()
    before = resident_bytes()
    for number in range(SEED + 200, SEED + ROUNDS):
        _play(table, sessions, number)
    gc.collect()
    grown = resident_bytes() - before
    print(f"{ROUNDS} sessions, {grown / MIB:.1f} MiB more, codes {dict(sorted(table.codes.items()))}")
    assert grown < 32 * MIB
    assert {501, 502, 503, 504, 505} <= set(table.codes)


def test_ruined_sessions_of_somebody_who_may_declare(running, sessions):
    with recording(running.port) as (port, sent):
        as_root(running.url("root").replace(f":{running.port}", f":{port}"))
    table = Table()
    for number in range(SEED, SEED + ROUNDS // 3):
        _play(table, [frames_of(bytes(sent))], number, may_declare=True)


def _play(table: Table, sessions, number: int, may_declare: bool = False) -> None:
    dice = random.Random(number)
    data = ruin(dice, sessions)
    try:
        table.play(data, dice, may_declare)
    except Exception as error:
        raise AssertionError(f"session {number}: {error!r}") from error


def test_sockets_end_and_the_others_go_on(running, sessions, connect, caplog):
    """The same on sockets: each ends, and a connection beside them is served all the time."""
    mine = connect("ada").channel()
    mine.confirm_delivery()
    quiet = running.queue()
    for number in range(SEED, SEED + ROUNDS // 20):
        data = ruin(random.Random(number), sessions)
        with (
            socket.create_connection(("127.0.0.1", running.port), timeout=TIMEOUT_S) as sock,
            contextlib.suppress(ConnectionError),
        ):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65_536):
                pass
        mine.basic_publish("", quiet, b"%d" % number)
        assert mine.basic_get(quiet, auto_ack=True)[2] == b"%d" % number
    assert "the broker failed" not in caplog.text


def test_the_guard_of_growth_is_no_empty_word(sessions):
    """The checks above see what they look for: a queue that stays, a consumer that stays."""
    table = Table()
    table.vhost.declare_queue("left", None, None)
    with pytest.raises(AssertionError):
        table.play(b"".join(sessions[0]), random.Random(1))
