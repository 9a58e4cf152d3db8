"""The lanes: what failed stands at the end, the middle of what is long left out; CI runs a few once more."""

from __future__ import annotations

from pathlib import Path

import lanes
import pytest

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


UNSTEADY = """
import pathlib, pytest

@pytest.mark.parametrize("word", ["a - b", "c"])
def test_once(word):
    seen = pathlib.Path("seen")
    first = word != "c" and not seen.exists()
    seen.touch()
    assert not first
"""
BROKEN = "def test_never(): assert False"


@pytest.mark.parametrize(
    ("ci", "tests", "status", "told"),
    [
        ("true", {"once": UNSTEADY}, 0, "what failed, and was green by itself: unsteady"),
        ("", {"once": UNSTEADY}, 1, "what failed, once more"),
        ("true", {"once": UNSTEADY, "never": BROKEN}, 1, "what failed, once more"),
    ],
)
def test_a_few_that_failed_run_again_by_themselves_under_ci(
    ci: str,
    tests: dict[str, str],
    status: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, text in tests.items():
        (tmp_path / f"test_{name}.py").write_text(text)
    (tmp_path / "pytest.ini").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they take longer than this test
    monkeypatch.setattr(lanes, "PYTEST", lanes.PYTEST[:3])
    monkeypatch.setattr(lanes, "FIRST", (".",))
    monkeypatch.setattr(lanes, "LATER", ())
    assert lanes.main(["-p", "conftest"]) == status
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    "lane", [lanes.Lane(1, RED, tuple("abcd")), lanes.Lane(2, GREEN), lanes.Lane(137, GREEN)]
)
def test_many_failures_and_a_run_that_broke_are_no_chance(lane: lanes.Lane) -> None:
    assert not lanes._passes(lane, ["--no-such-option"], "/nowhere")
