"""The lanes: what failed stands at the end, whole but for the middle of what is long."""

from __future__ import annotations

import lanes

GREEN = ["=== test session starts ===\n", "tests/a.py ...\n", "=== 3 passed in 1.0s ===\n"]
RED = [
    "=== test session starts ===\n",
    "tests/a.py .F\n",
    "=== FAILURES ===\n",
    "___ test_one ___\n",
    *(f"line {number}\n" for number in range(500)),
    "___ test_two ___\n",
    "assert 1 == 2\n",
    "\x1b[33m=== slowest 10 durations ===\x1b[0m\n",
    "1.00s call a.py\n",
    "=== short test summary info ===\n",
    "FAILED tests/a.py::test_one\n",
    "\x1b[31m=== 2 failed in 1.0s ===\x1b[0m\n",
]


def test_failures_are_told_without_what_passed_and_what_took_long():
    told = "".join(lanes.Lane(1, RED).failures())
    assert told.startswith("=== FAILURES ===\n___ test_one ___\nline 0\n")
    assert "line 499\n___ test_two ___\nassert 1 == 2\n=== short" in told.replace("\x1b[33m", "")
    assert told.endswith("FAILED tests/a.py::test_one\n\x1b[31m=== 2 failed in 1.0s ===\x1b[0m\n")
    assert "lines are left out here and stand above" in told
    assert len(told.splitlines()) < 90
    assert "1.00s call" not in told


def test_a_lane_that_ended_otherwise_is_told_by_its_last_lines():
    crashed = [*(f"{number}\n" for number in range(1000)), "Killed\n"]
    assert lanes.Lane(137, crashed).failures()[-1] == "Killed\n"
    assert len(lanes.Lane(137, crashed).failures()) == lanes.HEAD
    assert lanes.Lane(2, GREEN).failures() == GREEN[-1:]
