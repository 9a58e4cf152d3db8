"""The environment of workers: what differs is named, with what it may break and the mend."""

import platform

import dill
import pytest

from compute_nb.environment import suspicion_of, warning_of

SAME = {"python": platform.python_version(), "dill": dill.__version__, "platform": platform.platform()}
MAJOR, MINOR, MICRO = map(int, platform.python_version_tuple())


@pytest.mark.parametrize("agent", [{}, SAME, {"python": None, "dill": None, "hostname": "h"}])
def test_what_is_the_same_or_unknown_is_not_told(agent):
    assert warning_of("e", agent) is None


@pytest.mark.parametrize(
    ("differing", "told", "risk"),
    [
        ({"python": f"{MAJOR}.{MINOR + 1}.0"}, f"Python {MAJOR}.{MINOR + 1}.0", "bytecode"),
        ({"python": f"{MAJOR}.{MINOR}.{MICRO + 1}"}, f"Python {MAJOR}.{MINOR}.{MICRO + 1}", "usually safe"),
        ({"dill": "0.0.1"}, "dill 0.0.1", "usually safe"),
        ({"platform": "Windows-11-AMD64"}, "Windows-11-AMD64", "usually safe"),
        ({"platform": f"{platform.system()}-5-sparc"}, "sparc", "usually safe"),
    ],
)
def test_what_differs_is_told(differing, told, risk):
    text = warning_of("4f3c", SAME | differing)
    assert text.startswith(f"endpoint 4f3c runs tasks by {told}" if told != "sparc" else "endpoint 4f3c")
    assert told in text
    assert risk in text
    assert "--python PATH" in text
    assert "DillCodeSource" in text


def test_only_another_minor_version_is_under_suspicion():
    for agent in ({}, SAME, {"python": f"{MAJOR}.{MINOR}.{MICRO + 1}"}, {"dill": "0.0.1"}):
        assert suspicion_of(agent) is None
    note = suspicion_of({"python": f"{MAJOR}.{MINOR + 1}.0"})
    assert note.startswith(f"the function went as bytecode of Python {MAJOR}.{MINOR}.{MICRO} and ran by")
    assert "DillCodeSource" in note
