"""Live text of a task: head and tail, gaps counted, doubles harmless."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from compute_nb.live import KEPT, LAST_WORDS, LiveText


@given(st.lists(st.text(max_size=30)))
def test_pieces_in_order_make_the_whole(pieces):
    live, whole = LiveText(0), ""
    for piece in pieces:
        live = live.more(len(whole), piece)
        whole += piece
    assert live.text == whole


def test_pieces_that_came_before_add_nothing():
    live = LiveText(0).more(0, "abc").more(0, "abc").more(1, "bcd")
    assert live.text == "abcd"
    assert live.end == 4


def test_a_gap_is_counted():
    live = LiveText(0).more(0, "abc").more(10, "xyz")
    assert live.text == "abc\n[... 7 characters left out ...]\nxyz"
    assert live.more(13, "!").text.endswith("xyz!")


def test_who_comes_late_is_told_what_is_missing():
    assert LiveText(2).more(5, "late").text == "\n[... 5 characters left out ...]\nlate"


def test_of_much_text_head_and_tail_are_kept():
    live = LiveText(0)
    for number in range(1_000):
        live = live.more(1_000 * number, f"{number:999}\n")
    assert len(live.text) < 2 * KEPT + 100
    assert live.text.startswith(f"{0:999}\n")
    assert live.text.endswith(f"{999:999}\n")
    assert live.left_out == 1_000_000 - 2 * KEPT


def test_last_words_are_few():
    live = LiveText(1).more(0, "x" * 100_000 + "end").last_words()
    assert live.text.endswith("end")
    assert len(live.text) < LAST_WORDS + 100
