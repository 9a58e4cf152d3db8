"""This module is the command of a ShellFunction as it runs on a worker.

Its text travels, indented, as the body of one function: none of its names can meet the name that the user
gave that function. So it imports the standard library only, at its top, runs on every Python from 3.8, and
its annotations are quoted.
"""

import contextlib
import errno
import os
import platform
import shutil
import signal
import subprocess
import threading
import time
import uuid
from typing import Iterator  # noqa: UP035 - collections.abc has it for annotations from 3.9

BASH = "/bin/bash"
WALLTIME_CODE = 124
SLICE_S = 1.0  # a timeout that an agent raises in this thread is seen between two slices
BLOCK_BYTES = 65_536
# Both snippets of binary rubbish, six characters a byte as JSON, stay below the 10 MiB of a result.
MAX_SNIPPET_BYTES = 786_432
CUT = "[... truncated ...]\n"
MARK = "compute_nb_shell"
# Reads a process group's number and ends the group when its input ends, also because the worker was killed.
GUARD = """
read -r group || exit
read -r nothing
kill -s TERM -- "-$group"
for tenth in {1..20}; do kill -s 0 -- "-$group" || exit; sleep 0.1; done
kill -s KILL -- "-$group"
"""


def run(
    template: str,
    values: "dict[str, object]",
    *,
    stdout: "str | None" = None,
    stderr: "str | None" = None,
    walltime: "float | None" = None,
    snippet_lines: int = 1000,
    return_dict: bool = False,
    needs: "str | None" = None,
) -> "dict[str, object]":
    """Runs a command line in bash and returns how it ended; its exit code is never an error.

    Args:
        template: The command line, with the fields of `str.format`.
        values: What the fields are filled with.
        stdout, stderr: Files that the output is appended to; None: new ones, named after the task.
        walltime: Seconds after which the command and all of its process group are ended.
        snippet_lines: How many of the last lines of each file come back.
        return_dict: False: the answer is marked, so that its reader makes a ShellResult of it.
        needs: A variable of the environment without which the command means something else.

    Raises:
        TypeError: A field has no value.
        RuntimeError: The variable is not set.
        OSError: There is no bash, a file or folder can't be made, or the command is too long.
    """
    command = filled(template, values)
    if needs and needs not in os.environ:
        raise RuntimeError(
            f"{needs} is not set on {platform.node()}, so this is no MPI engine: submit it to an endpoint "
            "that has one (`--engine mpi`, or GlobusMPIEngine), with a resource_specification"
        )
    environ = os.environ.get
    folder = os.path.abspath(environ("GC_TASK_SANDBOX_DIR") or os.curdir)
    own = os.path.join(folder, environ("COMPUTE_NB_TASK_DIR") or "")
    stem = (environ("GC_TASK_UUID") or str(uuid.uuid4())[-10:]) + "." + uuid.uuid4().hex[:8]
    out = os.path.join(folder, stdout or os.path.join(own, stem + ".stdout"))
    err = os.path.join(folder, stderr or os.path.join(own, stem + ".stderr"))
    for needed in (folder, os.path.dirname(out), os.path.dirname(err)):
        os.makedirs(needed, exist_ok=True)
    with open(out, "ab") as out_file, open(err, "ab") as err_file:
        code = code_of(command, folder, (out_file.fileno(), err_file.fileno()), walltime)
    result = {
        "cmd": command,
        "stdout": tail(out, snippet_lines),
        "stderr": tail(err, snippet_lines),
        "returncode": WALLTIME_CODE if code is None else code,
        "exception_name": named(code),
    }
    return result if return_dict else {**result, MARK: 1}


def filled(template: str, values: "dict[str, object]") -> str:
    """Returns the command line with its fields replaced."""
    try:
        return template.format(**values)
    except KeyError as error:
        raise TypeError(
            f"no keyword argument {error} was given for the command {template!r}; "
            "braces that mean themselves are doubled"
        ) from None


def named(code: "int | None") -> "str | None":
    """Returns the published name for a code, None for success; a code of None is the walltime's."""
    if code is None:
        return "subprocess.TimeoutExpired"
    return "subprocess.CalledProcessError" if code else None


def code_of(command: str, folder: str, outputs: "tuple[int, int]", walltime: "float | None") -> "int | None":
    """Runs a command and returns its exit code, None if its walltime was over.

    Whatever else ends the wait, an Interrupt above all, ends the whole process group too; so does the
    death of this process.
    """
    process = guard = None
    is_over = False
    try:
        with interrupts_later():
            guard = started_guard()  # first: a worker may be killed at any moment
            process = started([bash(), "-c", command], folder, outputs)
            assert guard.stdin is not None
            os.write(guard.stdin.fileno(), b"%d\n" % process.pid)
        code = waited(process, walltime)
        is_over = True
        return code
    except subprocess.TimeoutExpired:
        return None
    finally:
        with interrupts_later():
            if guard is not None:
                end(process, guard, not is_over)


@contextlib.contextmanager
def interrupts_later() -> "Iterator[None]":
    """Lets an Interrupt wait while processes are started or ended, so that none is lost sight of."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    noted = []
    signal.signal(signal.SIGINT, lambda *event: noted.append(event))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if noted:
        handler(*noted[0])


def bash() -> str:
    """Returns the path of bash."""
    found = BASH if os.path.exists(BASH) else shutil.which("bash")
    if found is None:
        raise FileNotFoundError(
            errno.ENOENT, f"a shell command needs bash, and {platform.node()} has none in PATH", BASH
        )
    return found


def started(words: "list[str]", folder: str, outputs: "tuple[int, int]") -> "subprocess.Popen[bytes]":
    """Starts the command in a session, thus a process group, of its own."""
    try:
        return subprocess.Popen(
            words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=outputs[0],
            stderr=outputs[1],
            start_new_session=True,
        )
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise
        raise OSError(
            errno.E2BIG,
            f"a command of {len(words[-1]):,} characters with an environment of "
            f"{sum(map(len, os.environ.values())):,} is more than a process can be started with: "
            "put what is long into a file",
        ) from None


def started_guard() -> "subprocess.Popen[bytes]":
    """Starts what ends a process group once this process is gone or closes the guard's standard input."""
    return subprocess.Popen(
        [bash(), "-c", GUARD],
        cwd="/",
        env={"PATH": "/usr/bin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def waited(process: "subprocess.Popen[bytes]", walltime: "float | None") -> int:
    """Waits for the exit code; TimeoutExpired when the walltime is over."""
    until = float("inf") if walltime is None else time.monotonic() + walltime
    while True:
        left = min(SLICE_S, max(0.0, until - time.monotonic()))
        try:
            return process.wait(left)
        except subprocess.TimeoutExpired:
            if time.monotonic() >= until:
                raise


def end(process: "subprocess.Popen[bytes] | None", guard: "subprocess.Popen[bytes]", force: bool) -> None:
    """Ends the guard, with `force` the group of the process first; returns when that is done."""
    if process is None or not force:
        guard.kill()
    assert guard.stdin is not None
    guard.stdin.close()
    while guard.returncode is None:
        if process is not None:
            process.poll()  # a leader that nobody has waited for counts as alive
        with contextlib.suppress(subprocess.TimeoutExpired):
            guard.wait(0.05)
    if process is None:
        return
    if force:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tail(path: str, lines: int) -> str:
    """Returns the last lines of a file, whatever its size; bytes that are no UTF-8 are replaced."""
    try:
        with open(path, "rb") as file:
            start = file.seek(0, os.SEEK_END)
            floor = max(0, start - MAX_SNIPPET_BYTES)
            blocks, newlines = [], 0
            while start > floor and newlines <= lines:
                size = min(BLOCK_BYTES, start - floor)
                start -= size
                file.seek(start)
                blocks.append(file.read(size))
                newlines += blocks[-1].count(b"\n")
    except OSError:
        return ""
    raw = b"".join(reversed(blocks))
    pieces = raw.split(b"\n")
    keep = lines + (not pieces[-1])
    if len(pieces) > keep:
        return b"\n".join(pieces[len(pieces) - keep :]).decode("utf-8", "replace")
    if not start:
        return raw.decode("utf-8", "replace")
    while raw and raw[0] & 0xC0 == 0x80:  # the rest of a character that was cut
        raw = raw[1:]
    return CUT + raw.decode("utf-8", "replace")
