"""The pace: small requests wait their share of the window, large ones don't count."""

from compute_nb.pace import Pace


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_the_fifth_small_request_waits_a_quarter_of_the_window():
    clock = Clock()
    pace = Pace(clock)
    for _ in range(4):
        assert pace.pause_s(4, 16.0) == 0
        pace.sent(1, 4)
        clock.now_s += 0.5
    assert pace.pause_s(4, 16.0) == 3.5
    clock.now_s += 3.5
    assert pace.pause_s(4, 16.0) == 0


def test_large_requests_do_not_count():
    pace = Pace(Clock())
    for _ in range(20):
        pace.sent(4, 4)
    assert pace.pause_s(4, 16.0) == 0


def test_the_window_moves_on():
    clock = Clock()
    pace = Pace(clock)
    for _ in range(4):
        pace.sent(1, 4)
    clock.now_s += 16.0
    assert pace.pause_s(4, 16.0) == 0
