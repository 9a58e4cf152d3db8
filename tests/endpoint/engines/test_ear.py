"""The ear of an engine, and the voice that speaks to it."""

import json
import os
import socket

import pytest

from compute_nb.endpoint.engines.ear import Ear
from compute_nb.endpoint.runner.voice import LAST_CHARS, Voice, joined


@pytest.fixture
def ear():
    one = Ear()
    yield one
    one.close()


@pytest.fixture
def voices():
    made = []

    def make(path):
        made.append(Voice(path))
        return made[-1]

    yield make
    for voice in made:
        voice.close()


def test_what_is_said_is_heard_in_order(ear, voices):
    voice = voices(ear.path)
    voice.say("a", 0, "é\n")
    voice.say("b", 7, "x", is_last=True)
    assert ear.take() == [("a", 0, "é\n"), ("b", 7, "x")]
    assert ear.take() == []


def test_the_most_that_is_said_at_once_fits(ear, voices):
    text = "\N{GRINNING FACE}\0" * (LAST_CHARS // 2)
    voices(ear.path).say("a" * 36, 0, text)
    assert ear.take() == [("a" * 36, 0, text)]


def test_what_nobody_has_room_for_is_said_later(ear, voices):
    voice = voices(ear.path)
    sent = 0
    while not voice.unsaid:
        voice.say("a", sent, "x")
        sent += 1
    assert len(ear.take()) == sent - 1
    voice.say("a", sent, "y")
    assert ear.take() == [("a", sent - 1, "xy")]


def test_nonsense_is_dropped(ear):
    speaker = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    wrong = json.dumps([1, 2, 3]).encode(), json.dumps(["a", 1]).encode()
    for body in (b"[" * 100_000, b"\xff", b"{}", *wrong, b""):
        speaker.sendto(body, ear.path)
    speaker.close()
    assert ear.take() == []


def test_half_a_pair_of_surrogates_is_said_too(ear, voices):
    voices(ear.path).say("a", 0, "x\ud800y")
    assert ear.take() == [("a", 0, "x\ud800y")]


def test_a_voice_that_nobody_hears_goes_on(ear, voices):
    voice = voices(ear.path)
    ear.close()
    assert not os.path.exists(ear.path)
    voice.say("a", 0, "x", is_last=True)
    voices(None).say("a", 0, "x")


def test_pieces_are_joined_if_nothing_is_missing_between_them():
    assert joined(None, (3, "c")) == (3, "c")
    assert joined((0, "ab"), (2, "c")) == (0, "abc")
    assert joined((0, "ab"), (9, "c")) == (9, "c")
    start, text = joined((0, "a" * LAST_CHARS), (LAST_CHARS, "b"))
    assert (start, len(text), text[-1]) == (1, LAST_CHARS, "b")
