from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from compute_nb.service.broker.confirms import Confirm, Confirms, Receipt


def settled(*outcomes: tuple[int, bool], drawn: int = 5) -> list[Confirm]:
    confirms = Confirms(lambda: None)
    for _ in range(drawn):
        confirms.draw()
    for number, ok in outcomes:
        confirms.settle(number, ok)
    return confirms.drain()


def test_a_run_from_the_front_is_one_ack():
    assert settled((2, True), (1, True), (3, True)) == [(3, True, True)]


def test_one_alone_is_not_multiple():
    assert settled((1, True)) == [(1, False, True)]


def test_what_is_ahead_of_an_open_one_is_told_alone():
    assert settled((1, True), (3, True), (4, True)) == [
        (1, False, True),
        (3, False, True),
        (4, False, True),
    ]


def test_nacks_come_before_the_ack_that_would_cover_them():
    assert settled((1, True), (2, False), (3, True)) == [(2, False, False), (3, True, True)]


def test_wakes_once_until_drained():
    woken = []
    confirms = Confirms(lambda: woken.append(1))
    for number in (confirms.draw(), confirms.draw()):
        confirms.settle(number, True)
    assert woken == [1]
    confirms.drain()
    confirms.settle(confirms.draw(), False)
    assert woken == [1, 1]


@given(st.data())
def test_every_publish_is_told_once_and_rightly(data):
    count = data.draw(st.integers(1, 12))
    order = data.draw(st.permutations(range(1, count + 1)))
    outcomes = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    confirms, told = Confirms(lambda: None), {}
    for _ in range(count):
        confirms.draw()
    for number in order:
        confirms.settle(number, outcomes[number - 1])
        if data.draw(st.booleans()) or number == order[-1]:
            for confirm in confirms.drain():
                covered = range(1, confirm.number + 1) if confirm.multiple else [confirm.number]
                for n in covered:
                    told.setdefault(n, confirm.ok)
    assert told == dict(enumerate(outcomes, 1))


def test_a_receipt_waits_for_all_and_is_ok_if_all_are():
    confirms = Confirms(lambda: None)
    receipt = Receipt(confirms)
    receipt.hold()
    receipt.hold()
    receipt.settle(True)
    receipt.settle(False)
    assert confirms.drain() == []
    receipt.settle(True)
    assert confirms.drain() == [(1, False, False)]
