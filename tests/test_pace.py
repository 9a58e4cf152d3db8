"""The pace: small requests wait their share of the window, large ones don't count."""

from concurrent.futures import ThreadPoolExecutor

from compute_nb.pace import Pace


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_the_fifth_small_request_waits_a_quarter_of_the_window():
    clock = Clock()
    pace = Pace(clock)
    for _ in range(4):
        assert pace.take_turn(1, 4, 16.0) == 0
        clock.now_s += 0.5
    assert pace.take_turn(1, 4, 16.0) == 3.5
    clock.now_s += 3.5  # its turn
    assert pace.take_turn(1, 4, 16.0) == 4
    clock.now_s += 16.0
    assert pace.take_turn(1, 4, 16.0) == 0


def test_large_requests_do_not_count():
    pace = Pace(Clock())
    assert [pace.take_turn(4, 4, 16.0) for _ in range(20)] == [0] * 20


def test_the_window_moves_on():
    clock = Clock()
    pace = Pace(clock)
    for _ in range(4):
        pace.take_turn(1, 4, 16.0)
    clock.now_s += 16.0
    assert pace.take_turn(1, 4, 16.0) == 0


def test_threads_that_ask_at_once_get_turns_one_after_the_other():
    pace = Pace(Clock())
    with ThreadPoolExecutor(8) as pool:
        turns = sorted(pool.map(lambda _: pace.take_turn(1, 4, 16.0), range(8)))
    assert turns == [0, 0, 0, 0, 4, 8, 12, 16]


def test_it_is_one_for_all_who_speak_as_the_same_user():
    assert Pace.of(("here", "me")) is Pace.of(("here", "me"))
    assert Pace.of(("here", "me")) is not Pace.of(("here", "you"))
