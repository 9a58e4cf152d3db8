"""What a shell or MPI function refuses before anything is sent, and how it is sent."""

from __future__ import annotations

import pytest

from compute_nb import MPIFunction, ShellFunction
from compute_nb.serialize import ComputeSerializer, JSONData

# -- making one


def test_the_published_arguments_are_taken_in_order():
    one = ShellFunction("echo {a}", "out", "err", 3, 7, "count", True)
    assert (one.cmd, one.stdout, one.stderr, one.walltime) == ("echo {a}", "out", "err", 3)
    assert (one.snippet_lines, one.__name__, one.return_dict) == (7, "count", True)
    assert repr(one) == "ShellFunction('echo {a}', name='count')"
    assert (ShellFunction("ls").__name__, MPIFunction("ls").__name__) == ("ShellFunction", "MPIFunction")


@pytest.mark.parametrize("name", ["", "two words", "1st", "class", "a-b"])
def test_a_bad_name_is_refused(name):
    with pytest.raises(ValueError, match="must be an identifier"):
        ShellFunction("ls", name=name)


@pytest.mark.parametrize(
    "options",
    [
        {"walltime": -1},
        {"walltime": float("nan")},
        {"walltime": float("inf")},
        {"walltime": "3"},
        {"snippet_lines": -1},
        {"snippet_lines": 1.5},
        {"snippet_lines": True},
        {"cmd": " "},
        {"cmd": ["ls"]},
    ],
)
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ShellFunction(**{"cmd": "ls", **options})


@pytest.mark.parametrize(
    "cmd", ["echo {", "echo }", "echo {}", "echo {0}", "echo {1..5}", "awk '{print $1}'", "{x!q}", "{x:{}}"]
)
def test_a_field_that_nothing_can_fill_is_refused_with_the_mend(cmd):
    with pytest.raises(ValueError, match="braces that mean themselves are doubled"):
        ShellFunction(cmd)


# -- its arguments


def test_arguments_are_checked():
    one = ShellFunction("cut -f {columns} {path.name:>{width}} {{x}} {path!r}")

    class Path:
        name = "a"

    one.check((), {"columns": 1, "path": Path(), "width": 3, "more": 1})
    with pytest.raises(TypeError, match=r"needs a keyword argument for \{columns\}, \{width\}"):
        one.check((), {"path": Path()})
    with pytest.raises(TypeError, match="keyword arguments only"):
        one.check((1,), {})
    with pytest.raises(ValueError, match="AttributeError"):
        one.check((), {"columns": 1, "path": "text", "width": 3})
    with pytest.raises(ValueError, match="ValueError"):
        ShellFunction("{n:d}").check((), {"n": "text"})
    with pytest.raises(ValueError, match="null character"):
        ShellFunction("echo {x}").check((), {"x": "\0"})


def test_self_is_an_argument_like_any_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ShellFunction("echo {self}")(self=1).stdout == "1\n"


# -- how it travels


@pytest.mark.parametrize("serializer", [ComputeSerializer(), ComputeSerializer(strategy_data=JSONData())])
def test_it_travels_as_plain_source(serializer):
    buffer = serializer.serialize(ShellFunction("echo {x}", name="go", walltime=2))
    assert buffer.startswith("st\ngo:def go(**kwargs):\n")
    assert "import compute_nb" not in buffer
    assert "from compute_nb" not in buffer
    assert serializer.deserialize(buffer).__name__ == "go"


def test_numbers_of_other_kinds_become_plain_source():
    from fractions import Fraction

    class Lines(int):
        def __repr__(self) -> str:
            return "Lines()"

    source = ShellFunction("ls", walltime=Fraction(1, 2), snippet_lines=Lines(3)).source_buffer()
    assert "walltime=0.5, snippet_lines=3" in source


# -- MPI


@pytest.mark.parametrize(
    ("given", "sizes"),
    [
        ({"num_nodes": 2, "ranks_per_node": 4}, (2, 4, 8)),
        ({"num_nodes": 2, "num_ranks": 8}, (2, 4, 8)),
        ({"num_ranks": 8, "ranks_per_node": 4}, (2, 4, 8)),
        ({"num_nodes": 2, "ranks_per_node": 4, "num_ranks": 7}, (2, 4, 7)),
        ({"num_nodes": 2, "num_ranks": 7}, (2, 4, 7)),
        ({"num_nodes": 3}, (3, 1, 3)),
        ({"ranks_per_node": 3}, (1, 3, 3)),
        ({"num_ranks": 3, "num_nodes": None}, (1, 3, 3)),
    ],
)
def test_what_is_left_out_of_a_specification_is_computed(given, sizes):
    names = ("num_nodes", "ranks_per_node", "num_ranks")
    made = MPIFunction("ls").specification({**given, "launcher_options": "--oversubscribe"})
    assert made == {**dict(zip(names, sizes, strict=True)), "launcher_options": "--oversubscribe"}
    assert "launcher_options" not in MPIFunction("ls").specification(given)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, "needs a resource_specification"),
        ({}, "needs a resource_specification"),
        ({"launcher_options": "-v"}, "needs a resource_specification"),
        ({"num_nodes": 1, "nodes": 2, 3: 4}, r"unknown keys \['3', 'nodes'\]"),
        ({"num_nodes": 0}, "num_nodes in resource_specification is a count from 1"),
        ({"num_ranks": "2"}, "num_ranks in"),
        ({"num_ranks": True}, "num_ranks in"),
        ({"num_nodes": 1, "launcher_options": 3}, "launcher_options in"),
        ({"num_nodes": 2, "ranks_per_node": 2, "num_ranks": 5}, "more ranks than its nodes can take"),
    ],
)
def test_a_specification_that_cannot_work_is_refused(given, text):
    with pytest.raises(ValueError, match=text):
        MPIFunction("ls").specification(given)


def test_an_mpi_command_starts_with_the_launcher(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARSL_MPI_PREFIX", "echo mpiexec -n 2")
    result = MPIFunction("./solve {x}")(x=1)
    assert (result.cmd, result.stdout) == ("$PARSL_MPI_PREFIX ./solve 1", "mpiexec -n 2 ./solve 1\n")
    monkeypatch.delenv("PARSL_MPI_PREFIX")
    with pytest.raises(RuntimeError, match="no MPI engine"):
        MPIFunction("ls")()
