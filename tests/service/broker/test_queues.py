from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from compute_nb.service.broker import properties
from compute_nb.service.broker.confirms import Confirms, Receipt
from compute_nb.service.broker.queues import Entry, Message, Queue
from compute_nb.service.broker.vhost import Vhost


class Reader:
    """A consumer that holds at most `room` messages."""

    exclusive = False

    def __init__(self, username: str = "ada", room: int = 1000) -> None:
        self.username = username
        self.room = room
        self.got: list[Entry] = []

    def able(self) -> bool:
        return len(self.got) < self.room

    def deliver(self, queue: Queue, entry: Entry) -> None:
        self.got.append(entry)

    def cancelled(self) -> None:
        raise AssertionError("nobody deletes the queue here")

    def texts(self) -> list[bytes]:
        return [entry.message.body for entry in self.got]


def message(body: bytes) -> Message:
    return Message("", "q", properties.write({"n": 1}, 5.0), body, "eve")


def filled(*bodies: bytes) -> Queue:
    queue = Queue("q", lambda: 0.0)
    for body in bodies:
        queue.put(message(body))
    return queue


def read(queue: Queue, reader: Reader) -> None:
    queue.add(reader)
    queue.pump()


def test_consumers_take_turns_and_full_ones_are_passed_over():
    queue, one, two, three = filled(), Reader(), Reader(room=1), Reader()
    for reader in (one, two, three):
        read(queue, reader)
    for body in (b"1", b"2", b"3", b"4", b"5"):
        queue.put(message(body))
    assert [one.texts(), two.texts(), three.texts()] == [[b"1", b"4"], [b"2"], [b"3", b"5"]]


def test_messages_wait_while_nobody_is_able():
    queue, reader = filled(b"1", b"2"), Reader(room=1)
    read(queue, reader)
    assert (queue.ready_count, reader.texts()) == (1, [b"1"])
    reader.room = 2
    queue.pump()
    assert reader.texts() == [b"1", b"2"]


@given(st.permutations(range(6)), st.integers(1, 6))
def test_what_comes_back_finds_its_place(order, split):
    queue, reader = filled(*(b"%d" % n for n in range(6))), Reader()
    read(queue, reader)
    queue.remove(reader)
    queue.put(message(b"6"))
    queue.put_back([reader.got[n] for n in order[:split]])
    queue.put_back([reader.got[n] for n in order[split:]])
    again = Reader()
    read(queue, again)
    assert again.texts() == [b"%d" % n for n in range(7)]
    assert [entry.redelivered for entry in again.got] == [True] * 6 + [False]


def test_get_and_purge():
    queue = filled(b"1", b"2", b"3")
    entry = queue.get()
    assert entry is not None
    assert entry.message.body == b"1"
    assert queue.purge() == 2
    assert queue.get() is None


def test_presence_is_told_per_user():
    queue, one, two, other = Queue("q", lambda: 0.0), Reader(), Reader(), Reader("eve")
    assert [queue.add(reader) for reader in (one, two, other)] == [True, False, True]
    assert [queue.remove(reader) for reader in (one, other, two)] == [False, True, True]


def test_the_time_of_a_queue_runs_only_without_consumers():
    now_s = [100.0]
    queue, reader = Queue("q", lambda: now_s[0], expires_s=10), Reader()
    assert queue.deadline_s == 110
    queue.add(reader)
    assert queue.deadline_s is None
    now_s[0] = 200
    queue.remove(reader)
    assert queue.deadline_s == 210
    now_s[0] = 205
    queue.get()
    assert queue.deadline_s == 215


def test_the_service_gets_what_waits_and_what_comes():
    queue, got = filled(b"1"), []
    queue.serve(got.append)
    queue.put(message(b"2"))
    assert queue.exclusive
    assert [(d.queue, d.body, d.username, dict(d.headers), d.timestamp_s) for d in got] == [
        ("q", b"1", "eve", {"n": 1}, 5.0),
        ("q", b"2", "eve", {"n": 1}, 5.0),
    ]


def test_a_publisher_hears_only_when_the_service_has_settled_and_once():
    confirms, queue, got = Confirms(lambda: None), filled(), []
    queue.serve(got.append)
    receipt = Receipt(confirms)
    queue.put(message(b"1"), receipt)
    receipt.settle(True)
    assert confirms.drain() == []
    got[0].reject()
    got[0].ack()
    assert confirms.drain() == [(1, False, False)]


def test_a_consumer_that_publishes_to_its_own_queue_is_served_in_order():
    class Echo(Reader):
        def deliver(self, queue, entry):
            super().deliver(queue, entry)
            if len(self.got) < 4:
                queue.put(message(b"echo"))

    queue, reader = filled(b"1", b"2"), Echo()
    read(queue, reader)
    assert reader.texts() == [b"1", b"2", b"echo", b"echo", b"echo"]


def test_a_queue_knows_the_bytes_that_are_not_acknowledged():
    vhost = Vhost(lambda: 0.0, lambda: None)
    queue = vhost.declare_queue("q", None, None)
    assert vhost.held_bytes("nowhere") == 0
    for size in (5, 7):
        vhost.publish(Message("", "q", b"\0\0", b"x" * size, None))
    first = queue.get()
    assert vhost.held_bytes("q") == 12
    queue.put_back([first])
    assert vhost.held_bytes("q") == 12
    queue.settled(queue.get())
    assert vhost.held_bytes("q") == 7
    queue.purge()
    assert vhost.held_bytes("q") == 0
