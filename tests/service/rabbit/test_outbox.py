"""What is on its way to RabbitMQ: nothing is lost, nothing overtakes, not too much is out."""

from hypothesis import given
from hypothesis import strategies as st

from compute_nb.service.rabbit.outbox import WINDOW_BYTES, Letter, Outbox


def letter(body):
    return Letter("", "q", body, None, None)


def send_all(outbox, sent, number):
    while (one := outbox.next()) is not None:
        number += 1
        outbox.sent(number, one)
        sent.append(one.body)
    return number


def test_what_was_not_confirmed_is_sent_again_first_and_in_order():
    outbox, sent = Outbox(), []
    for body in (b"1", b"2", b"3"):
        outbox.add(letter(body))
    number = send_all(outbox, sent, 0)
    outbox.confirmed(1, multiple=False, ok=True)
    outbox.add(letter(b"4"))
    outbox.lost()
    send_all(outbox, sent, number)
    assert sent == [b"1", b"2", b"3", b"2", b"3", b"4"]


def test_one_that_was_refused_goes_again():
    outbox, sent = Outbox(), []
    outbox.add(letter(b"1"))
    outbox.add(letter(b"2"))
    number = send_all(outbox, sent, 0)
    outbox.confirmed(2, multiple=True, ok=False)
    outbox.confirmed(7, multiple=False, ok=True)  # never sent: nothing happens
    send_all(outbox, sent, number)
    assert sent == [b"1", b"2"] * 2
    assert len(outbox) == 2


def test_who_waits_for_letters_waits_for_those_and_not_for_later_ones():
    outbox = Outbox()
    outbox.add(letter(b"1"))
    outbox.add(letter(b"2"))
    mine = outbox.last_place
    outbox.add(letter(b"3"))
    send_all(outbox, [], 0)
    assert outbox.holds(mine)
    outbox.confirmed(2, multiple=True, ok=True)
    assert not outbox.holds(mine)
    assert outbox.holds(outbox.last_place)
    outbox.lost()
    assert outbox.holds(outbox.last_place)


def test_a_window_of_bytes_is_out():
    outbox, sent = Outbox(), []
    for _ in range(4):
        outbox.add(letter(b"x" * (WINDOW_BYTES // 2)))
    send_all(outbox, sent, 0)
    assert len(sent) == 2
    outbox.confirmed(0, multiple=True, ok=True)
    send_all(outbox, sent, 2)
    assert len(sent) == 4
    assert outbox.held_bytes == WINDOW_BYTES


@given(st.lists(st.sampled_from(["add", "send", "ack", "ack all", "nack", "lost"]), max_size=60))
def test_in_the_end_each_was_confirmed_once_and_none_is_held(steps):
    outbox, out, number, added, confirmed = Outbox(), {}, 0, 0, []

    def send():
        nonlocal number
        while (one := outbox.next()) is not None:
            number += 1
            outbox.sent(number, one)
            out[number] = one.body

    def confirm(upto, multiple, ok):
        for n in [n for n in out if (n <= upto if multiple else n == upto)]:
            body = out.pop(n)
            if ok:
                confirmed.append(body)
        outbox.confirmed(upto, multiple, ok)

    for step in steps:
        if step == "add":
            outbox.add(letter(b"%d" % added))
            added += 1
        elif step == "send":
            send()
        elif step == "lost":
            out.clear()
            outbox.lost()
        elif out:
            confirm(max(out) if step == "ack all" else min(out), step == "ack all", step != "nack")
    outbox.lost()
    out.clear()
    send()
    if out:
        confirm(max(out), True, True)
    assert sorted(confirmed) == sorted(b"%d" % n for n in range(added))
    assert (len(outbox), outbox.held_bytes) == (0, 0)
