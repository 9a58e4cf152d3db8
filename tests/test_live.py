"""Live text of a task: head and tail, gaps counted, doubles harmless."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from compute_nb.live import KEPT, KEPT_ENDED, LiveText


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


def test_of_a_task_that_has_ended_beginning_and_end_stay():
    live = LiveText(1).more(0, "begin" + "x" * 100_000 + "end").ended()
    assert live.text.startswith("begin")
    assert live.text.endswith("end")
    assert len(live.text) < 2 * KEPT_ENDED + 100
    assert live.left_out == 100_008 - 2 * KEPT_ENDED
    assert LiveText(0).more(0, "all of it").ended().text == "all of it"
    across = "".join(map(str, range(12_000)))  # longer than the beginning of an open task
    assert len(across) > KEPT
    ended = LiveText(0).more(0, across).ended()
    assert (ended.head, ended.tail) == (across[:KEPT_ENDED], across[-KEPT_ENDED:])
    late = LiveText(0).more(50_000, "late").ended()
    assert late.text == "\n[... 50,000 characters left out ...]\nlate"
