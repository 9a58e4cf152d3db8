from __future__ import annotations

from compute_nb.service.broker.pulse import Beat, Pulse


def test_a_heartbeat_is_sent_only_if_nothing_else_was():
    pulse = Pulse(10, 0)
    assert pulse.period_s == 5
    assert pulse.tick(5) is Beat.SEND
    pulse.sent()
    assert pulse.tick(10) is Beat.NOTHING
    assert pulse.tick(15) is Beat.SEND


def test_two_missed_ones_end_it_and_any_byte_counts():
    pulse = Pulse(10, 0)
    pulse.received(4)
    assert pulse.tick(23.9) is Beat.SEND
    assert pulse.tick(24) is Beat.GIVE_UP
