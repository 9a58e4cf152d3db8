"""Why tasks failed, in one line."""

import pytest

from compute_nb.notebook.runs.failures import reason_in

FRAMES = "Traceback (most recent call last):\n  Cell In[2], line 5\n    assert s\n           ^\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ""),
        ("lost: the agent was killed\nwhile it ran", "lost: the agent was killed"),
        (f"{FRAMES}ValueError: one", "ValueError: one"),
        (f"{FRAMES}ValueError: one\n\n    two\nthree", "ValueError: one"),
        (f"{FRAMES}ValueError: one\na note", "ValueError: one"),
        (
            f"{FRAMES}KeyError: 1\n\nDuring handling of it:\n\n{FRAMES}ValueError: two\nmore",
            "ValueError: two",
        ),
        ("Traceback (most recent call last):\n  only frames", "  only frames"),
    ],
)
def test_the_line_that_says_most(text: str, reason: str) -> None:
    assert reason_in(text) == reason
