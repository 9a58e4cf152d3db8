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


def back(shell, body, **swept):
    return shell.there(body, **swept).value(shell.notebook.home)


def test_functions_go_back_by_name_only_while_the_name_means_them(shell):
    shell.here("def f():\n    return 1\nold = f")
    shell.here("def f():\n    return 2\nfs = [lambda: 3, lambda: 4]")
    first, second, three, four = back(shell, "[old, f, *fs]")
    assert (first(), second(), three(), four()) == (1, 2, 3, 4)
    assert second is shell.names["f"]


def test_local_classes_go_back_by_value(shell):
    shell.here("def make():\n    class L:\n        x = 5\n    return L()\nlocal = make()")
    assert back(shell, "local").x == 5
    assert back(shell, "make()").x == 5


def test_classes_go_back_by_the_name_that_leads_to_them(shell):
    shell.here(
        "from collections import namedtuple\nXY = namedtuple('Point', 'x y')\np = XY(1, 2)\n"
        "class Point:\n    pass\nOther = type('T_other', (), {'v': 1})\nt = Other()\n"
        "class Outer:\n    class Inner:\n        pass\ni = Outer.Inner()\n"
        "nameless = type('Gone', (), {'v': 3})()"
    )
    point, other, inner, nameless = back(shell, "p, t, i, nameless")
    names = shell.names
    assert (type(point), type(other), type(inner)) == (names["XY"], names["Other"], names["Outer"].Inner)
    assert nameless.v == 3
    assert type(back(shell, "XY(3, 4)")) is names["XY"]


def test_a_class_that_was_defined_anew_is_the_present_one(shell):
    shell.here("class A:\n    v = 1\nold = A()")
    shell.here("class A:\n    v = 2")
    value, here = back(shell, "old.v, old")
    assert value == 1
    assert type(here) is shell.names["A"]


def test_what_a_task_was_given_never_hides_its_value(shell):
    import collections

    shell.names["row"] = collections.namedtuple("Pandas", "a", module="elsewhere")(7)
    result = shell.there("f(), row.a, row", f=eval("lambda: 1"), row=shell.names["row"])
    one, seven, row = result.value(shell.notebook.home)
    assert (one, seven, row.a) == (1, 7, 7)
    assert result.parameters(shell.notebook.home)["row"] == (7,)


def test_a_parameter_that_cannot_be_read_shows_its_text(shell):
    shell.here("class Cfg:\n    def __repr__(self):\n        return 'Cfg!'")
    result = shell.there("1", c=shell.names["Cfg"](), n=2)
    del shell.names["Cfg"]
    assert result.value(shell.notebook.home) == 1
    assert result.parameters(shell.notebook.home) == {"c": "Cfg!", "n": "2"}
