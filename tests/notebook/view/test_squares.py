"""Squares: every state by colour, shape and letter, at most 400 of them."""

import re

import pytest

from compute_nb.notebook.runs.census import STATES
from compute_nb.notebook.view.squares import compact, markup, squares
from compute_nb.tasks import TaskState

DONE, FAILED, WAITING = map(STATES.index, (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.WAITING))


def name(place: int) -> str:
    return f"task {place} (s=<{place}>)"


@pytest.mark.parametrize("count", [1, 2, 399, 400, 401, 500, 100_000])
def test_they_cover_all_tasks_with_400_at_most(count):
    found = squares(bytes([DONE]) * count)
    assert len(found) <= 400
    assert [one.start for one in found[1:]] == [one.stop for one in found[:-1]]
    assert (found[0].start, found[-1].stop) == (0, count)
    assert sum(one.counts[TaskState.SUCCEEDED] for one in found) == count


def test_one_failure_of_250_is_seen():
    codes = bytearray([DONE]) * 100_000
    codes[777] = FAILED
    codes[778:900] = bytes([WAITING]) * 122
    found = squares(bytes(codes))[3]
    assert found.worst is TaskState.FAILED
    assert found.ended == 128 / 250
    shown = markup(bytes(codes), name)
    (mark,) = re.findall(r'<i class="f[^>]*>[^<]*', shown)
    assert "tasks 750 to 999: 1 failed, 122 waiting, 127 done" in mark
    assert mark.endswith(">✕")
    assert "--p:51%" in mark
    assert "each square stands for 250 tasks" in shown


def test_each_state_has_its_own_letter_and_a_title_that_is_no_markup():
    shown = markup(bytes(range(len(STATES))), name)
    assert len(set(re.findall(r'<i class="(\w)"', shown))) == len(STATES)
    assert 'title="task 4 (s=&lt;4&gt;): failed"' in shown
    assert shown.startswith('<div class="cnb-squares cnb-big" aria-hidden="true">')


def test_a_screen_reader_is_told_which_failed_not_400_marks():
    shown = markup(bytes([DONE, FAILED, DONE]), str)
    hidden, told = shown.split("</div>", 1)
    assert 'aria-hidden="true"' in hidden
    assert re.sub("<[^>]*>", "", told) == "failed or lost: 1"


def test_programs_get_a_letter_for_each():
    assert compact(bytes([DONE, FAILED, WAITING])) == {"tasks_each": 1, "states": "sfw"}
    assert compact(b"") == {"tasks_each": 1, "states": ""}
    assert len(compact(bytes(100_000))["states"]) == 400
