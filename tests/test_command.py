"""What a shell command does and what comes back of it: real bash, real processes, real files."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import psutil
import pytest

from compute_nb import command
from compute_nb.shell import ShellFunction

WAIT_S = 60


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("GC_TASK_UUID", "GC_TASK_SANDBOX_DIR", "COMPUTE_NB_TASK_DIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def shell(cmd: str, *, given: dict[str, object] | None = None, **options):
    return ShellFunction(cmd, **options)(**(given or {}))


def gone(pids: list[int], within_s: float = WAIT_S) -> bool:
    """True once none of the processes runs: the system takes its time with what was told to end."""
    processes = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(pid))
    psutil.wait_procs(processes, timeout=within_s)
    return not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes)


# -- what comes back


def test_output_and_code_come_back(folder):
    result = shell("echo out {word}; echo err >&2; exit 3", given={"word": "x"})
    assert (result.cmd, result.returncode) == ("echo out x; echo err >&2; exit 3", 3)
    assert (result.stdout, result.stderr) == ("out x\n", "err\n")
    assert result.exception_name == "subprocess.CalledProcessError"
    assert shell("true").exception_name is None


def test_a_signal_is_a_negative_code():
    assert shell("kill -9 $$").returncode == -9


def test_a_dict_if_wanted():
    assert shell("echo 1", return_dict=True) == {
        "cmd": "echo 1",
        "stdout": "1\n",
        "stderr": "",
        "returncode": 0,
        "exception_name": None,
    }


def test_it_is_bash_and_the_environment_is_there(monkeypatch):
    monkeypatch.setenv("GREETING", "hello")
    assert shell("[[ $GREETING == hel* ]] && echo ${{GREETING}} {{1..3}}").stdout == "hello 1 2 3\n"


def test_standard_input_is_at_its_end():
    assert shell("cat; read -r line || echo end").stdout == "end\n"


def test_files_are_named_after_the_task(folder, monkeypatch):
    monkeypatch.setenv("GC_TASK_UUID", "the-task")
    shell("echo 1")
    out, err = sorted(path.name for path in folder.iterdir())[::-1]
    assert out.startswith("the-task.")
    assert (Path(out).suffix, Path(err).suffix) == (".stdout", ".stderr")
    assert Path(out).stem == Path(err).stem
    assert Path(out).read_text() == "1\n"


def test_named_files_are_appended_to_and_folders_made(folder):
    for word in ("one", "two"):
        result = shell(
            "echo {w}; echo no {w} >&2", stdout="a/b/out", stderr=folder / "c" / "err", given={"w": word}
        )
    assert (folder / "a" / "b" / "out").read_text() == "one\ntwo\n"
    assert (folder / "c" / "err").read_text() == "no one\nno two\n"
    assert result.stdout == "one\ntwo\n"


def test_the_sandbox_is_made_and_entered(folder, monkeypatch):
    monkeypatch.setenv("GC_TASK_SANDBOX_DIR", str(folder / "deep" / "box"))
    result = shell("pwd -P; touch here", stdout="log")
    assert result.stdout == f"{(folder / 'deep' / 'box').resolve()}\n"
    assert sorted(path.name for path in (folder / "deep" / "box").iterdir())[-2:] == ["here", "log"]
    assert result.stderr == ""
    assert Path.cwd() == folder.resolve()


def test_files_that_nobody_named_go_to_the_folder_of_the_task(folder, monkeypatch):
    monkeypatch.setenv("COMPUTE_NB_TASK_DIR", str(folder / "own"))
    assert shell("pwd -P").stdout == f"{folder.resolve()}\n"
    shell("echo 1", stdout="named")
    assert sorted(path.name for path in folder.iterdir()) == ["named", "own"]
    assert len(list((folder / "own").iterdir())) == 3


# -- snippets


def test_the_last_lines_come_back():
    assert shell("seq 5000").stdout.splitlines() == [str(n) for n in range(4001, 5001)]
    assert shell("seq 5; printf 6", snippet_lines=2).stdout == "5\n6"
    assert shell("seq 5", snippet_lines=2).stdout == "4\n5\n"
    assert shell("seq 5", snippet_lines=0).stdout == ""
    assert shell("printf '\\n\\n\\n'", snippet_lines=2).stdout == "\n\n"


def test_unicode_and_binary():
    assert shell("printf 'é漢🙂'").stdout == "é漢🙂"
    assert shell("printf 'a\\xff\\x00b\\r\\n'").stdout == "a\ufffd\x00b\r\n"


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 200_000])
def test_lines_across_blocks(folder, size):
    path = folder / "lines"
    path.write_text("x" * size + "\n" + "y" * size + "\n")
    assert command.tail(str(path), 1) == "y" * size + "\n"
    assert command.tail(str(path), 2) == path.read_text()


def test_one_endless_line_is_cut_with_a_mark(folder):
    path = folder / "line"
    path.write_text("é" * command.MAX_SNIPPET_BYTES)
    snippet = command.tail(str(path), 1000)
    assert snippet.startswith(command.CUT + "é")
    assert set(snippet.removeprefix(command.CUT)) == {"é"}
    assert len(snippet.encode()) <= command.MAX_SNIPPET_BYTES + len(command.CUT)


def test_a_huge_file_is_read_from_its_end_only(folder):
    path = folder / "huge"
    with path.open("wb") as file:
        file.truncate(10 * 1024**3)  # one line of 10 GiB that takes no room on the disk
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast\n")
    began = time.thread_time()
    assert command.tail(str(path), 1) == "last\n"
    assert len(command.tail(str(path), 2)) <= command.MAX_SNIPPET_BYTES + len(command.CUT)
    assert time.thread_time() - began < 1


def test_100_mb_of_output_in_little_memory():
    tracemalloc.start()
    try:
        result = shell("yes 0123456789 | head -c 104857600; head -c 104857600 /dev/zero >&2")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(result.stdout) == 999 * 11 + 1
    assert len(result.stderr) == command.MAX_SNIPPET_BYTES + len(command.CUT)
    assert peak_bytes < 20_000_000


# -- ends


def test_walltime_ends_all_of_the_group(folder):
    began = time.monotonic()
    result = shell(
        "sleep 600 & echo $! > pids; (trap '' TERM; echo $BASHPID >> pids; while true; do sleep 0.1; done) &"
        " echo $$ >> pids; echo said; wait",
        walltime=2,
    )
    assert (result.returncode, result.exception_name) == (124, "subprocess.TimeoutExpired")
    assert result.stdout == "said\n"
    assert gone([int(pid) for pid in (folder / "pids").read_text().split()])
    assert 2 <= time.monotonic() - began < 120


def test_walltime_lets_a_command_put_things_in_order():
    result = shell("trap 'echo tidy; exit 5' TERM; while true; do sleep 0.05; done", walltime=2)
    assert (result.stdout, result.returncode) == ("tidy\n", 124)


def test_a_command_within_its_walltime():
    assert shell("echo 1", walltime=60).returncode == 0


def test_what_stays_in_the_background_is_not_waited_for_and_runs_on(folder):
    began = time.monotonic()
    result = shell("sleep 600 & echo $!", walltime=60)
    assert time.monotonic() - began < 60
    assert result.returncode == 0
    pid = int(result.stdout)
    try:
        assert not gone([pid], within_s=0.0)
    finally:
        os.kill(pid, 9)


CALLER = """
import sys
from compute_nb.shell import ShellFunction
try:
    ShellFunction("sleep 600 & sleep 0.2; echo $! $$ > pids; wait")()
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("number", [2, 9])
def test_an_interrupt_or_the_death_of_the_caller_ends_the_group(folder, number):
    os.mkfifo(folder / "pids")
    caller = subprocess.Popen([sys.executable, "-c", CALLER], stdout=subprocess.PIPE, text=True)
    pids = [int(pid) for pid in (folder / "pids").read_text().split()]
    caller.send_signal(number)
    said, _ = caller.communicate(timeout=WAIT_S)
    assert said == ("interrupted\n" if number == 2 else "")
    assert gone(pids)


LEFT_BEHIND = """
import psutil
from compute_nb.shell import ShellFunction
this = psutil.Process()
shell = ShellFunction("true")
shell()
before = this.children(), this.num_fds()
for _ in range(5):
    shell()
print(before == (this.children(), this.num_fds()) or (before, this.children(), this.num_fds()))
"""


def test_no_process_and_no_descriptor_is_left():
    # In a process of its own: the services of other tests open and close sockets in this one.
    done = subprocess.run([sys.executable, "-c", LEFT_BEHIND], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("True\n", "")


# -- what can't work


def travelled(function: ShellFunction, old: str = "", new: str = ""):
    """The function as a worker makes it of the buffer, in a namespace of its own."""
    name, source = function.source_buffer().removeprefix("st\n").split(":", 1)
    namespace: dict[str, object] = {}
    exec(source.replace(old, new) if old else source, namespace)
    assert set(namespace) <= {name, "__builtins__"}
    return namespace[name]


def test_a_missing_bash(monkeypatch):
    function = travelled(ShellFunction("echo 1"), '"/bin/bash"', '"/nowhere/bash"')
    assert function()["stdout"] == "1\n"  # there is one in PATH
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(FileNotFoundError, match="a shell command needs bash"):
        function()


def test_a_big_environment(monkeypatch):
    for number in range(12):
        monkeypatch.setenv(f"BIG_{number}", "x" * 100_000)
    assert shell("echo ${{#BIG_11}}").stdout == "100000\n"
    monkeypatch.setenv("BIG_12", "x" * 200_000)
    with pytest.raises(OSError, match="more than a process can be started with"):
        shell("true")


def test_a_file_that_cannot_be_made(folder):
    (folder / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        shell("true", stdout="file/out")


def test_a_field_without_a_value_on_the_worker():
    function = travelled(ShellFunction("echo {word}"))
    with pytest.raises(TypeError, match="no keyword argument 'word' was given"):
        function()


# -- what travels


@pytest.mark.parametrize("name", ["os", "run", "command", "tail", "time", "kwargs"])
def test_no_name_of_it_meets_the_users(name):
    assert travelled(ShellFunction("echo {x}", name=name))(x=1)["stdout"] == "1\n"


def test_quotes_braces_and_lines_travel():
    function = ShellFunction("cat <<'EOF'\n\"\"\"é\\n{{}}'\nEOF\n", stdout="o'\"ut")
    assert travelled(function)() == {**shell(function.cmd, return_dict=True), "compute_nb_shell": 1}


def pythons() -> list[str]:
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    paths = [str(p) for m in range(8, 15) for p in root.glob(f"versions/3.{m}.*/bin/python")]
    return [path for path in (*paths[:1], *paths[-1:]) if os.access(path, os.X_OK)]


@pytest.mark.parametrize("python", pythons() or [sys.executable])
def test_any_python_runs_it_with_its_standard_library(python, folder):
    _, source = ShellFunction("echo {x}; exit 4", walltime=20, name="go").source_buffer()[3:].split(":", 1)
    (folder / "source").write_text(source)
    code = "import json; names = {}; exec(open('source').read(), names); print(json.dumps(names['go'](x=5)))"
    words = [python, "-I", "-S", "-W", "error", "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"stdout": "5\\n"' in done.stdout
    assert '"returncode": 4' in done.stdout
