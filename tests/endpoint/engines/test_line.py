"""The line between a Parsl worker and the agent: both ends, in one process."""

import queue
import threading

import pytest
import zmq

from compute_nb.endpoint.engines.line import Lines
from compute_nb.endpoint.runner import line

WAIT_S = 60
PORTS = (54000, 55000)


class Ends:
    """The agent's end, and what has come to it."""

    def __init__(self):
        self.told, self.absent = queue.Queue(), queue.Queue()
        self.lines = Lines(
            ["127.0.0.1"], PORTS, self.told.put, lambda name, asked: self.absent.put((name, asked))
        )


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    monkeypatch.setattr(line, "WELCOME_MS", 1_000 * WAIT_S)


@pytest.fixture
def agent():
    one = Ends()
    yield one
    one.lines.close()


def called(agent, has=()):
    """A worker's end, which has some tasks; returns it and a queue of what it was asked for."""
    asked = queue.Queue()

    def stop(name):
        asked.put(name)
        return name in has

    one = line.opened(agent.lines.facts, stop)
    assert one is not None
    return one, asked


def test_a_worker_tells_ends_and_is_asked_for_tasks(agent):
    one, asked = called(agent, has=("mine",))
    one.tell([["mine", "success"]])
    assert agent.told.get(timeout=WAIT_S) == [["mine", "success"]]
    assert agent.lines.count == 1
    agent.lines.end("mine")
    assert asked.get(timeout=WAIT_S) == "mine"
    agent.lines.end("other")
    assert agent.absent.get(timeout=WAIT_S) == ("other", 1)
    assert agent.absent.empty()  # of the first one nothing is said: its end comes by itself


def test_who_calls_later_hears_what_is_not_to_begin(agent):
    agent.lines.end("gone")
    assert agent.absent.get(timeout=WAIT_S) == ("gone", 0)
    _, asked = called(agent)
    assert asked.get(timeout=WAIT_S) == "gone"


def test_what_can_not_be_read_stops_nothing(agent, caplog):
    one, _ = called(agent)
    for content in (None, [1, 2, 3], {}):
        one.outside.send(line.said(agent.lines.facts["token"], "asked", content))
    agent.lines.end("other")
    assert agent.absent.get(timeout=WAIT_S) == ("other", 1)
    assert caplog.text.count("can't be read") == 3


def test_a_process_has_one_line_to_an_agent(agent):
    stop = threading.Event().is_set
    assert line.line(agent.lines.facts, stop) is line.line(agent.lines.facts, stop)


def test_whoever_was_not_sent_by_the_agent_is_not_heard(agent, caplog):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line, "WELCOME_MS", 200)
        assert line.opened({**agent.lines.facts, "token": "guessed"}, lambda name: False) is None
        other = zmq.curve_keypair()[0].decode()
        assert line.opened({**agent.lines.facts, "server": other}, lambda name: False) is None
    assert agent.lines.count == 0
