"""Shell cells (semantics 21): what of the text is replaced, what is refused, how a command's end is told."""

import os
import re
import threading
import time

import pytest

from compute_nb import ShellResult
from compute_nb.errors import TaskExecutionFailed
from compute_nb.notebook.cargo.commandline import fields, filled
from compute_nb.notebook.refusal import CellRefused
from compute_nb.notebook.runs.results import facts, printed

pytestmark = pytest.mark.usefixtures("home")


VALUES = {"name": "a b", "n": 3.14159, "k": 7, "ünï": "ö"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("echo {name}", "echo a b"),
        ("echo {name!q}", "echo 'a b'"),
        ("echo {n:.2f}{k:03d}", "echo 3.14007"),
        ("echo {name!q:>6}", "echo '   a b'"),
        ("echo {ünï}", "echo ö"),
        ("echo ${HOME} ${name} ${k:-x}", "echo ${HOME} ${name} ${k:-x}"),
        ("echo {1..5} {a,b} {} { k; }", "echo {1..5} {a,b} {} { k; }"),
        ("awk '{print $1}' | sed 's/x{2}/y/'", "awk '{print $1}' | sed 's/x{2}/y/'"),
        ("echo {{k}} {{name!q}} {{n:.2f}}", "echo {k} {name!q} {n:.2f}"),
        ("echo {{{k}}}", "echo {{k}}"),
        ("f() { echo {k}; }", "f() { echo 7; }"),
        ('{"k": {k}}', '{"k": 7}'),
        ("echo {k\n}", "echo {k\n}"),
        ("echo {k.real} {k[0]} {k!r}", "echo {k.real} {k[0]} {k!r}"),
    ],
)
def test_what_is_replaced(text, expected):
    assert filled(text, VALUES) == expected


def test_names_in_the_order_of_the_text():
    assert fields("{b} {a!q} {{c}} ${d} {b:>3}") == ["b", "a"]


@pytest.mark.parametrize("bad", ["{name:d}", "{k:zz}"])
def test_a_value_that_does_not_fit(bad):
    with pytest.raises(CellRefused, match=re.escape(f"`{bad}`: ValueError")):
        filled(bad, VALUES)


def test_what_is_no_character():
    with pytest.raises(CellRefused, match="null character"):
        filled("echo {x}", {"x": "\0"})
    with pytest.raises(CellRefused, match="half a character"):
        filled("echo {x}", {"x": "\ud800"})
    assert filled("rm {x}", {"x": os.fsdecode(b"\xff")}) == "rm \udcff"  # a file's name may be that


# -- through a worker


def test_the_value_is_a_shell_result_and_its_output_is_shown(nb, capsys):
    nb.here("who = 'a b'")
    result = nb.here("%%compute --shell -w\necho hello {who!q} {1..3}; echo oh >&2; pwd")
    assert isinstance(result, ShellResult)
    assert (result.returncode, result.exception_name) == (0, None)
    assert result.stdout == f"hello a b 1 2 3\n{os.getcwd()}\n"
    assert result.cmd == "echo hello 'a b' {1..3}; echo oh >&2; pwd"
    shown = capsys.readouterr()
    assert "hello a b 1 2 3\n" in shown.out
    assert "oh\n" in shown.err


def test_its_output_is_seen_while_it_runs(nb, tmp_path):
    os.mkfifo(tmp_path / "gate")
    nb.here(f"gate = {str(tmp_path / 'gate')!r}")
    nb.here("%%compute --shell -n one\necho first; echo wrong >&2; read line < {gate}; echo second $line")
    one = nb.names["one"]
    heard = threading.Event()
    run = nb.ip.magics_manager.registry["ComputeMagics"]._desk._runs.all[-1]
    one.terms.ledger.listeners.append(lambda _: "first" in run.live(0) and heard.set())
    assert "first" in run.live(0) or heard.wait(60)
    (tmp_path / "gate").write_text("ä\n")
    result = one.result(60)
    assert (result.stdout, result.stderr) == ("first\nsecond ä\n", "wrong\n")
    assert [text for _, text in printed(facts(one)["items"])][-1] == "second ä\n"


def test_very_much_output_is_cut_in_the_middle(nb):
    nb.here("%%compute --shell -n one\nyes 0123456789 | head -c 4999995; echo end")
    assert nb.names["one"].result(60).stdout.endswith("\nend\n")
    text = "".join(text for _, text in printed(facts(nb.names["one"])["items"]))
    assert text.startswith("0123456789\n0123456789\n")
    assert text.endswith("\nend\n")
    assert "left out ...]" in text
    assert len(text) < 2_500_000


def test_another_exit_code_is_no_failure(nb, capsys):
    nb.here("%%compute --shell -n one\nexit 3")
    assert nb.names["one"].result(60).returncode == 3
    nb.here("%compute tasks")
    assert "1 of 1 done, exit 3" in capsys.readouterr().out


def test_a_sweep_of_commands(nb, capsys):
    nb.here("%%compute --shell -m code=[0,3,3] -m word=['x y'] -n g\necho {word!q}; exit {code}")
    values = nb.names["g"].result(60)
    assert [one.returncode for one in values] == [0, 3, 3]
    assert {one.stdout for one in values} == {"x y\n"}
    assert nb.names["g"].points[1] == {"code": 3, "word": "x y"}
    nb.here("%compute tasks")
    assert "3 of 3 done, 2 with exit 3" in capsys.readouterr().out
    nb.here(f"%compute reload {nb.names['g'].task_group_id} -n again")
    assert [one.returncode for one in nb.names["again"].result(60)] == [0, 3, 3]
    assert nb.names["again"].points[1] == {"code": 3, "word": "x y"}


def test_check_makes_it_a_failure_with_its_output(nb, capsys):
    nb.here("%%compute --shell --check -n one\necho before; echo why >&2; exit 4")
    error = nb.names["one"].exception(60)
    assert isinstance(error, TaskExecutionFailed)
    assert type(error).__name__ == "CalledProcessError"
    assert (error.returncode, error.stdout, error.stderr) == (4, "before\n", "why\n")
    assert "Command of" not in str(error)
    nb.here("%compute tb one\n%compute logs one")
    assert "before\nwhy" in capsys.readouterr().out
    nb.here("%%compute --shell --check -w\ntrue")


def test_a_walltime_ends_all_of_the_command(nb, tmp_path):
    nb.here(f"pid = {str(tmp_path / 'pid')!r}")
    nb.here("%%compute --shell --walltime 2 -n one\nsh -c 'echo $$ > {pid}; exec sleep 300' & wait")
    with pytest.raises(TaskExecutionFailed, match=r"walltime of 2 s"):
        nb.names["one"].result(60)
    pid = int((tmp_path / "pid").read_text())
    until = time.monotonic() + 60
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < until


@pytest.mark.parametrize(
    ("line", "body", "told"),
    [
        ("--shell", "echo {nmae}", "there is no `nmae` here, did you mean `name`"),
        ("--shell", "echo {zzz}", r"`{{zzz}}` gives the shell `{zzz}`"),
        ("--shell -m k=[1]", "echo k", r"the command never reads `{k}`, so all tasks would be the same"),
        (
            "--shell -m k=[1] -m j=[1]",
            "echo {j}",
            r"never reads `{k}`, so tasks that differ in `k` alone would be the same",
        ),
        ("--shell -o x", "true", "`-o x`: a command has no names of Python"),
        ("--mpi -i x", "true", "`-i x`: a command has no names of Python"),
        ("--shell --mpi", "true", "not allowed with argument"),
        ("--check", "1", "is for `--shell` and `--mpi`"),
        ("--mpi", "true", "needs to know how many ranks"),
        ('--mpi --resources {"nodes": 1}', "true", "unknown keys"),
        ("--shell --seed 1", "true", "a command has neither"),
        ("--shell", " ", "no command"),
    ],
)
def test_refused_with_the_mend(nb, line, body, told):
    nb.here("name = 1")
    with pytest.raises(CellRefused, match=re.escape(told).replace(r"\ ", " ")):
        nb.here(f"%%compute {line}\n{body}")


def test_a_pending_output_is_not_filled_in(nb, tmp_path):
    os.mkfifo(tmp_path / "gate")
    nb.here(f"gate = {str(tmp_path / 'gate')!r}")
    nb.here("%%compute -o later\nlater = open(gate).read()")
    with pytest.raises(CellRefused, match=r"is being computed"):
        nb.here("%%compute --shell\necho {later}")
    (tmp_path / "gate").write_text("x")
    nb.here("%compute wait")
    assert nb.here("%%compute --shell -w\necho {later}").stdout == "x\n"


def test_an_engine_without_mpi_says_so(nb):
    nb.here('%%compute --mpi --resources {"num_nodes": 1} -n one\nhostname')
    with pytest.raises(TaskExecutionFailed, match="MPI functions need an endpoint with an MPI engine"):
        nb.names["one"].result(60)


def test_parts_of_a_name_are_left_to_the_shell_and_told(nb, capsys):
    nb.here("import types\ncfg = types.SimpleNamespace(n=3)\nrows = [1]")
    nb.here(
        "%%compute --shell --dry-run\necho {cfg.n} {rows[0]} {other.n} {{cfg.n}} ${cfg.n} {1..5} {print.x}"
    )
    told = capsys.readouterr().out
    assert "`{cfg.n}` goes to the shell as it is, only names are replaced: bind `cfg.n` to a name" in told
    assert "`{rows[0]}` goes to the shell as it is" in told
    assert told.count("goes to the shell") == 2
    done = nb.here("%%compute --shell -w\necho {cfg.n}")
    assert done.stdout.strip() == "{cfg.n}"
    assert "`{cfg.n}` goes to the shell" in "".join(capsys.readouterr())
