"""What can't travel, and what has no place where it arrives."""

import base64

import pytest

from compute_nb.errors import DeserializationError, SerializationError


def test_value_that_cannot_travel_costs_only_itself(shell):
    result = shell.there("import threading\nok = [1]\nprint('done')\nthreading.Lock()", ("ok",))
    assert "Lock" in result.display[0]["text/plain"] or "lock" in result.display[0]["text/plain"]
    with pytest.raises(SerializationError, match=r"lock"):
        result.value(shell.notebook.home)
    assert result.output("ok", shell.notebook.home) == [1]


def test_class_missing_after_a_restart_names_the_cell(shell):
    shell.here("class Cfg:\n    def f(self):\n        return 1")
    result = shell.there("Cfg()")
    del shell.names["Cfg"]
    with pytest.raises(DeserializationError, match=r"`Cfg`.*run the cell.*Cell In\[1\]"):
        result.value(shell.notebook.home)
    shell.here("class Cfg:\n    def f(self):\n        return 2")
    assert result.value(shell.notebook.home).f() == 2


def test_a_longer_cell_of_the_same_number_leaves_no_lines_behind(shell):
    shell.there("def g():\n    return 2\nif True:\n    z = 3\n    y = 4\n    (lambda: 3)()")
    result = shell.there("def f():\n    return 41 + 1\nf()", ("f",))
    assert b"return 41 + 1" in base64.b64decode(result._packed)  # as source, for any Python
