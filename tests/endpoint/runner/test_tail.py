"""What a task prints is read while it runs, whole or with gaps, and never as another task's."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compute_nb.endpoint.runner.live import Live
from compute_nb.endpoint.runner.tail import RING_BYTES, Tail

PLENTY = 10 * RING_BYTES


class Pair:
    """A tail and the worker's side of it, on one log."""

    def __init__(self, folder) -> None:
        self.log = folder / "worker-0.log"
        self.log.touch()
        self.tail = Tail(self.log)
        self.task = SimpleNamespace(serial=1, index=0)
        self.live = Live(os.dup(self.tail.file), self.task)

    def news(self, limit=PLENTY, log_start=0):
        piece = self.tail.news(self.task.serial, self.task.index, log_start, limit)
        return None if piece is None else tuple(piece)

    def program(self, text: str) -> None:
        with self.log.open("a") as log:
            log.write(text)

    def size(self) -> int:
        return self.log.stat().st_size


@pytest.fixture
def pair(tmp_path):
    made = Pair(tmp_path)
    yield made
    made.tail.close()


def test_text_comes_once_and_counts_on(pair):
    assert pair.news() is None
    pair.live.write("Käse\n", None)
    assert pair.news() == (0, "Käse\n")
    assert pair.news() is None
    pair.live.write("a", None)
    pair.live.write("b", None)
    assert pair.news() == (5, "ab")


def test_the_text_of_programs_stands_where_it_came(pair):
    pair.live.write("one\n", 0)
    pair.program("two\n")
    pair.live.write("three\n", pair.size())
    pair.program("four\n")
    assert pair.news() == (0, "one\ntwo\nthree\nfour\n")
    assert pair.news() is None


def test_another_task_begins_anew_and_sees_nothing_of_the_last(pair):
    pair.live.write("first\n", 0)
    pair.program("its program\n")
    pair.task.index = 1
    assert pair.news(log_start=pair.size()) is None
    pair.live.write("second\n", pair.size())
    assert pair.news(log_start=pair.size()) == (0, "second\n")


def test_a_log_that_began_anew_is_read_from_its_beginning(pair):
    pair.program("x" * 100)
    assert pair.news() == (0, "x" * 100)
    pair.log.write_text("")
    assert pair.news() is None
    pair.program("y")
    assert pair.news() == (100, "y")


def test_of_much_text_the_end_is_told_and_the_rest_counted(pair):
    for number in range(20_000):
        pair.live.write(f"line {number}\n", None)
    start, text = pair.news(limit=1_000)
    whole = "".join(f"line {number}\n" for number in range(20_000))
    assert len(text) == 1_000
    assert whole.endswith(text)
    assert start == len(whole) - 1_000
    assert pair.news() is None


def test_one_text_larger_than_the_ring_leaves_its_end(pair):
    pair.live.write("x" * (3 * RING_BYTES) + "\nend", None)
    start, text = pair.news()
    assert text.endswith("x\nend")
    assert len(text) == RING_BYTES
    assert start == 2 * RING_BYTES + 4


def test_lone_surrogates_and_stray_bytes_do_no_harm(pair):
    pair.live.write("\udcff!", None)
    with pair.log.open("ab") as log:
        log.write(b"\xff\xfe\n")
    start, text = pair.news()
    assert start == 0
    assert text.startswith("?!")
    assert text.endswith("\n")


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(
        st.tuples(st.booleans(), st.text(st.characters(codec="utf-8"), max_size=40), st.booleans())
    )
)
def test_whatever_is_printed_comes_in_order_with_its_place(tmp_path_factory, texts):
    pair = Pair(tmp_path_factory.mktemp("tail"))
    heard, printed = "", ""
    for by_program, text, is_heard in texts:
        if by_program:
            with pair.log.open("ab") as log:
                log.write(text.encode())
        else:
            pair.live.write(text, pair.size())
        printed += text
        piece = pair.news() if is_heard else None
        if piece is not None:
            assert piece[0] == len(heard)
            heard += piece[1]
    piece = pair.news()
    heard += piece[1] if piece else ""
    pair.tail.close()
    assert heard == printed
