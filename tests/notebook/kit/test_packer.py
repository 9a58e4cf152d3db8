"""What can't travel, and what has no place where it arrives."""

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
