"""What a pool engine has handed over: taken back, landed, settled, and what is heard of it meanwhile."""

import json
import socket
from uuid import UUID

import pytest

from compute_nb.endpoint.custody import Custody, read_custody
from compute_nb.endpoint.engine import EngineBatch, EngineTask
from compute_nb.endpoint.engines.ear import Ear
from compute_nb.endpoint.engines.flights import Flights
from compute_nb.endpoint.engines.hearsay import Hearsay
from compute_nb.endpoint.engines.newsbox import NewsBox
from compute_nb.tasks import Run

JOURNAL, PLACES = UUID(int=3), 4


def batch_of(numbers):
    tasks = tuple(EngineTask(number, Run(UUID(int=number), 1), "args") for number in numbers)
    return EngineBatch(
        UUID(int=1), UUID(int=2), "code", {"walltime_s": 1.0, "user_endpoint_config": {}}, tasks
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "custody"


@pytest.fixture
def flights(path):
    one = Flights(lambda places: Custody(path, JOURNAL, places))
    one.open(PLACES)
    yield one
    one.close()


def begin(flights, *numbers):
    batch = batch_of(numbers)
    return flights.begin(batch, batch.tasks)


def in_custody(path):
    return sorted(entry.number for entry in read_custody(path, JOURNAL))


def test_what_is_handed_over_is_found_until_it_leaves(flights, path):
    first, second = begin(flights, 7, 8)
    assert first.call.options == {"walltime_s": 1.0}
    assert flights.find(7) is first
    assert flights.of_task(second.call.task_id) is second
    assert (len(flights), flights.chunks, flights.room) == (2, 1, PLACES - 2)
    flights.land(first)
    assert flights.find(7) is None
    assert flights.of_task(first.call.task_id) is None
    assert (len(flights), flights.chunks) == (1, 1)
    flights.land(second)
    assert (len(flights), flights.chunks) == (0, 0)
    assert in_custody(path) == [7, 8]


def test_what_has_landed_is_in_custody_until_its_end_is_settled(flights, path):
    landed = begin(flights, 1, 2, 3, 4)
    assert flights.is_full
    for serial, flight in enumerate(landed, 1):
        flights.land(flight)
        flight.last_news = serial
    assert flights.is_full
    flights.settle(2)
    assert in_custody(path) == [3, 4]
    assert not flights.is_full
    flights.settle(4)
    assert in_custody(path) == []


def test_what_comes_back_unbegun_lines_up_as_it_was_handed_over(flights, path):
    first, second, third = begin(flights, 1, 2, 3)
    (other,) = begin(flights, 4)
    for flight in (first, other, third):
        flights.take_back(flight)
    assert in_custody(path) == [2]
    assert [(batch, tasks) for batch, tasks in flights.returned()] == [
        (first.chunk.batch, [first.task, third.task]),
        (other.chunk.batch, [other.task]),
    ]
    assert list(flights.returned()) == []
    flights.take_back(second)
    assert [tasks for _, tasks in flights.returned()] == [[second.task]]


def test_nothing_is_full_before_it_is_open(path):
    flights = Flights(lambda places: Custody(path, JOURNAL, places))
    assert not flights.is_full
    assert not flights
    flights.close()
    assert not path.exists()


@pytest.fixture
def hearsay(flights):
    one = Hearsay(Ear(), flights)
    yield one
    one.close()


@pytest.fixture
def say(hearsay):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as voice:
        voice.connect(hearsay._ear.path)
        yield lambda flight, *said: voice.send(json.dumps([flight.call.task_id, *said]).encode())


def test_what_is_heard_is_told_in_one_piece_once_there_is_room(flights, hearsay, say):
    news = NewsBox(lambda: None)
    (flight,) = begin(flights, 7)
    say(flight, 0, "one ")
    hearsay.hear()
    hearsay.tell_all(news)
    say(flight, 4, "two ")
    say(flight, 8, "three")
    hearsay.hear()
    hearsay.tell_all(news)
    assert [printed.text for printed in news.take().printed] == ["one "]
    hearsay.tell_all(news)
    assert [(printed.start, printed.text) for printed in news.take().printed] == [(4, "two three")]


def test_what_is_left_is_told_as_a_task_leaves_and_nothing_of_one_that_is_over(flights, hearsay, say):
    news = NewsBox(lambda: None)
    first, second = begin(flights, 7, 8)
    say(first, 0, "last words")
    say(second, 0, "of a cancelled task")
    hearsay.hear()
    second.over = True
    for flight in (first, second):
        hearsay.tell(flight, news)
        flights.land(flight)
    say(first, 10, "too late")
    hearsay.hear()
    hearsay.tell_all(news)
    assert [printed.text for printed in news.take().printed] == ["last words"]
