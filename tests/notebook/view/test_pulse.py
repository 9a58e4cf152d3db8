"""The pulse: who is drawn when, by one thread that ends when nothing moves."""

import threading
import time

from compute_nb.notebook.view.pulse import MESSAGES, Pulse

WAIT_S = 60


class Counted:
    """Counts its drawings; the last says so."""

    def __init__(self, wanted: int, messages: int = 1) -> None:
        self.times: list[float] = []
        self.wanted, self.messages = wanted, messages
        self.done = threading.Event()

    def draw(self) -> int:
        self.times.append(time.monotonic())
        if len(self.times) == self.wanted:
            self.done.set()
        return self.messages

    def weight(self) -> int:
        return self.messages

    def next_draw_s(self) -> float | None:
        return None if self.done.is_set() else 0.0


def test_all_together_send_ten_messages_in_any_second_and_take_turns():
    for _ in range(10):  # on a busy machine it may take a few times until all ten come within a second
        pulse, drawn = Pulse(), [Counted(4, messages=2) for _ in range(2)]
        with pulse._changed:  # both at once, before the first is drawn a second time
            for one in drawn:
                pulse.ask(one)
        for one in drawn:
            assert one.done.wait(WAIT_S)
        sent = sorted((at, who) for who in (0, 1) for at in drawn[who].times)
        assert [who for _, who in sent] == [0, 1] * 4
        assert drawn[0].times[-1] - drawn[0].times[0] >= 0.75
        most = max(sum(2 * (at <= other < at + 1) for other, _ in sent) for at, _ in sent)
        assert most <= MESSAGES
        if most == MESSAGES:
            return
    raise AssertionError("there is room for more")


def test_the_thread_ends_when_nothing_moves_and_starts_again():
    pulse = Pulse()
    for _ in range(2):
        one = Counted(1, messages=0)
        pulse.ask(one)
        assert one.done.wait(WAIT_S)
        thread = pulse._thread
        if thread is not None:
            thread.join(WAIT_S)
        assert pulse._thread is None


def test_one_that_can_not_be_drawn_leaves_the_others_alone():
    class Broken(Counted):
        def draw(self) -> int:
            super().draw()
            raise RuntimeError

    pulse, broken, sound = Pulse(), Broken(1), Counted(1)
    pulse.ask(broken)
    pulse.ask(sound)
    assert broken.done.wait(WAIT_S)
    assert sound.done.wait(WAIT_S)


def test_what_a_cell_has_just_made_waits_for_the_prompt_and_is_not_put_off():
    pulse, one, other = Pulse(), Counted(1, messages=0), Counted(1, messages=0)
    began = time.monotonic()
    pulse.ask_soon(one)
    pulse.ask(other)
    assert other.done.wait(WAIT_S)
    while (
        not one.done.is_set() and time.monotonic() < began + WAIT_S
    ):  # as cells do that run one after the other
        pulse.ask_soon(one)
        one.done.wait(0.01)
    assert one.times[0] - began >= 0.05
    assert other.times[0] < one.times[0]


def test_what_may_wait_is_drawn_at_its_time_and_at_once_when_that_is_over():
    pulse, later, now = Pulse(), Counted(1, messages=0), Counted(1, messages=0)
    at = time.monotonic() + 0.2
    pulse.ask_soon(later, at)
    pulse.ask(now, time.monotonic() + 3600)
    assert later.done.wait(WAIT_S)
    assert later.times[0] >= at
    assert not now.times
    pulse.ask(now)
    assert now.done.wait(WAIT_S)
