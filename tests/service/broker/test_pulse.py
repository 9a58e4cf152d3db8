from __future__ import annotations

from compute_nb.service.broker.pulse import Pulse


def test_two_missed_ones_end_it_and_any_byte_counts():
    pulse = Pulse(10, 0)
    assert pulse.period_s == 5
    pulse.received(4)
    assert not pulse.gone(23.9)
    assert pulse.gone(24)
