"""The line of the magic."""

import pytest

from compute_nb.notebook.line.options import points, split_map, words
from compute_nb.notebook.refusal import CellRefused


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("local -m n=range(1, 8) -w", ["local", "-m", "n=range(1, 8)", "-w"]),
        ('--config {"a": 1} x', ["--config", '{"a": 1}', "x"]),
        ("-m 'n=[1, 2]' -n s", ["-m", "n=[1, 2]", "-n", "s"]),
        ("-o x, y local", ["-o", "x,y", "local"]),
        ("local  # here", ["local"]),
        ("-m s=['a b', \"c#d\"]", ["-m", "s=['a b', \"c#d\"]"]),
        ('--label "two words"', ["--label", "two words"]),
        ("", []),
    ],
)
def test_words(line, expected):
    assert words(line) == expected


def test_quotes_for_a_shell_are_taken_off_an_expression():
    assert split_map('n="[1, 2]"') == (("n",), "[1, 2]")
    assert split_map("n='abc'") == (("n",), "'abc'")
    assert split_map("n='a'+'b(c'") == (("n",), "'a'+'b(c'")


def test_a_name_twice_in_one_map_is_refused():
    with pytest.raises(CellRefused, match="stands twice"):
        split_map("a,a=[(1, 2)]")


def test_an_open_bracket_is_refused():
    with pytest.raises(CellRefused, match="bracket is not closed"):
        words("-m n=range(1")


def test_points_are_the_product_with_the_last_name_fastest():
    maps = [split_map("a=[1, 2]"), split_map("b,c=[(3, 4), (5, 6)]")]
    made = points(maps, eval, 100)
    assert made == [
        {"a": 1, "b": 3, "c": 4},
        {"a": 1, "b": 5, "c": 6},
        {"a": 2, "b": 3, "c": 4},
        {"a": 2, "b": 5, "c": 6},
    ]


def test_generators_and_arrays_are_read_once():
    import numpy as np

    assert points([split_map("a=(i * i for i in range(3))")], eval, 100) == [{"a": 0}, {"a": 1}, {"a": 4}]
    rows = points([split_map("a=grid")], lambda _: np.arange(4).reshape(2, 2), 100)
    assert [row["a"].tolist() for row in rows] == [[0, 1], [2, 3]]


def test_too_many_tasks_are_refused():
    with pytest.raises(CellRefused, match="at most 10"):
        points([split_map("a=range(4)"), split_map("b=range(4)")], eval, 10)
    with pytest.raises(CellRefused, match="more than 10"):
        points([split_map("a=iter(int, 1)")], eval, 10)
