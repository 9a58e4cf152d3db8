"""A ShellResult: its text, and how a reader makes one of a worker's dict."""

from __future__ import annotations

import pickle

import pytest

from compute_nb import ShellResult
from compute_nb.serialize import ComputeSerializer, DillCode, DillDataBase64, JSONData
from compute_nb.shell_result import revived

FIELDS = {"cmd": "ls", "stdout": "a\n", "stderr": "", "returncode": 0, "exception_name": None}


def test_its_text_is_for_people():
    good = ShellResult("ls", "a\nb\n", "not shown\n", 0)
    assert str(good) == "exit code: 0\n   stdout:\na\nb"
    bad = ShellResult("ls", "a\n", "no\n", 2, "subprocess.CalledProcessError")
    assert str(bad) == (
        "exit code: 2\n   stdout:\na\n\n   stderr:\nno\n\nexception: subprocess.CalledProcessError"
    )
    assert str(ShellResult("ls", "", "", 1)) == "exit code: 1\n   stdout:\n\n\n   stderr:\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("".join(f"{n}\n" for n in range(10)), None),
        ("".join(f"{n}\n" for n in range(11)), "".join(f"{n}\n" for n in range(1, 11))),
        ("x" * 1024, None),
        ("y" + "x" * 1024, "x" * 1024),
    ],
)
def test_its_text_is_cut_with_a_mark(text, shown):
    cut = text if shown is None else "[... truncated ...]\n" + shown
    assert str(ShellResult("c", text, "", 0)) == f"exit code: 0\n   stdout:\n{cut}".rstrip("\n")


def test_it_is_a_value():
    one = ShellResult(**FIELDS)
    assert one == ShellResult(**FIELDS) != ShellResult(**{**FIELDS, "returncode": 1})
    assert pickle.loads(pickle.dumps(one)) == one
    assert repr(one) == "ShellResult(cmd='ls', stdout='a\\n', stderr='', returncode=0, exception_name=None)"
    assert len(repr(ShellResult("ls", "x" * 10_000, "", 0))) < 300
    assert not hasattr(one, "_repr_html_")


@pytest.mark.parametrize("strategy", [JSONData(), DillDataBase64()])
def test_any_data_strategy_brings_it(strategy):
    reader = ComputeSerializer(allowed_deserializer_types=[type(strategy), DillCode])
    assert reader.deserialize(strategy.serialize({**FIELDS, "compute_nb_shell": 1})) == ShellResult(**FIELDS)


@pytest.mark.parametrize(
    "value",
    [
        FIELDS,
        {"compute_nb_shell": 1},
        {**FIELDS, "compute_nb_shell": 2},
        {**FIELDS, "compute_nb_shell": 1, "x": 1},
        7,
    ],
)
def test_other_values_stay_what_they_are(value):
    assert revived(value) is value


def test_a_notebook_shows_it_in_short():
    from IPython.lib.pretty import pretty

    assert pretty(ShellResult("wc", "42 data.csv\n", "", 0)) == "<ShellResult: exit code 0, '42 data.csv'>"
    assert pretty(ShellResult("x", "y" * 100, "", 0)) == "<ShellResult: exit code 0, 1 line of output>"
    assert pretty(ShellResult("ls", "a\nb\n", "", 3)) == "<ShellResult: exit code 3, 2 lines of output>"
    assert "stdout='a" in repr(ShellResult("ls", "a\n", "", 0))
