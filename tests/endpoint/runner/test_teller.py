"""What the teller of threads keeps of a task's text."""

from compute_nb.endpoint.runner.teller import Talk, Teller
from compute_nb.endpoint.runner.voice import LAST_CHARS


def test_pieces_say_where_they_stand():
    talk = Talk("a")
    talk.add("one ")
    talk.add("two ")
    assert talk.take() == (0, "one two ")
    talk.add("three")
    assert talk.take() == (8, "three")


def test_much_text_keeps_its_end_and_its_place():
    talk = Talk("a")
    for _ in range(100):
        talk.add("x" * 1_000)
        assert talk.size <= 5 * LAST_CHARS
    talk.add("end")
    start, text = talk.take()
    assert (start + len(text), len(text), text[-3:]) == (100_003, LAST_CHARS, "end")


def test_text_of_other_threads_is_nobodys():
    teller = Teller(None)
    assert teller.hear("before")
    teller.begin("a")
    teller.hear("")
    assert teller.thread is None
    teller.end()
    assert teller.talks == {}
