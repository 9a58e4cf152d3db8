"""This program runs the whole suite in lanes side by side: most tests wait, and leave processors free.

    python tests/lanes.py [pytest options]

The first lane is shown as it goes, the others after it. What failed, in whichever lane, stands once more at
the end, where it is seen. The exit status is 0 if all are green.

Under `CI=true` a lane with failed tests in one to three files runs those again, by themselves and in a new
process: a test that is green then is unsteady. It is named at the end with what it said at first, and is to
be mended; it does not stop a landing. Elsewhere each failure is one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PYTEST = (sys.executable, "-m", "pytest", "--nbval-lax", "--durations=10")
# About as long as each other; the first one has all that is in no other.
LATER = (
    ("tests/browser", "tests/chaos", "tests/conformance", "tests/serialize"),
    ("tests/notebook", "tests/trip", "tests/cli", "notebooks"),
)
FIRST = ("tests", *(f"--ignore={folder}" for lane in LATER for folder in lane))

HEADING = re.compile(r"=+ (.+?) =+")
TEST = re.compile(r"_+ .+ _+")
COLOR = re.compile(r"\x1b\[[0-9;]*m")
HEAD, TAIL = 50, 25  # of one failed test's lines
TESTS_FAILED = 1  # a status of pytest
FEW = 3  # files; more than these are no chance


@dataclass(frozen=True, slots=True)
class Lane:
    """One that has ended.

    Attributes:
        status: Of pytest.
        lines: All that it printed.
        failed: What tests failed, as pytest is asked for them.
    """

    status: int
    lines: list[str]
    failed: tuple[str, ...] = ()

    def failures(self) -> list[str]:
        """The parts of what it printed that tell what failed, the middle of long ones left out."""
        found, wanted = list[str](), False
        for line in self.lines:
            if heading := HEADING.fullmatch(COLOR.sub("", line).rstrip()):
                title = heading[1]
                wanted = title in ("FAILURES", "ERRORS", "short test summary info") or " in " in title
            if wanted:
                found.append(line)
        return [line for part in _tests(found) for line in _shortened(part)] or self.lines[-HEAD:]


def _tests(lines: list[str]) -> Iterator[list[str]]:
    """Parts the lines at each test's title and each heading."""
    part = list[str]()
    for line in lines:
        plain = COLOR.sub("", line).rstrip()
        if part and (TEST.fullmatch(plain) or HEADING.fullmatch(plain)):
            yield part
            part = []
        part.append(line)
    yield part


def _shortened(lines: list[str]) -> list[str]:
    left_out = len(lines) - HEAD - TAIL
    if left_out < 2:
        return lines
    return [*lines[:HEAD], f"[... {left_out} lines are left out here and stand above ...]\n", *lines[-TAIL:]]


def main(options: list[str]) -> int:
    """Runs all lanes; returns the exit status."""
    folder = tempfile.mkdtemp(prefix="cnb")  # what a test or a killed process leaves is left in there
    options = [*options, f"--color={'yes' if sys.stdout.isatty() else 'no'}"]
    lanes = _run(options, folder)
    red = [lane for lane in lanes if lane.status]
    unsteady = [lane for lane in red if os.environ.get("CI") == "true" and _passes(lane, options, folder)]
    for lane in red:
        told = (
            "what failed, and was green by itself: unsteady" if lane in unsteady else "what failed, once more"
        )
        sys.stdout.write("\n".join(["", "#" * 40 + " " + told, ""]))
        sys.stdout.writelines(lane.failures())
    if not red:
        shutil.rmtree(folder, ignore_errors=True)
    return next((lane.status for lane in red if lane not in unsteady), 0)


def _passes(lane: Lane, options: list[str], folder: str) -> bool:
    """Runs the few that failed in a lane again, and returns whether all were green."""
    files = {one.partition("::")[0] for one in lane.failed}  # of a start that many share all fail
    if lane.status != TESTS_FAILED or not 0 < len(files) <= FEW:
        return False
    sys.stdout.write("\n".join(["", "#" * 40 + " what failed, by itself", ""]))
    with _begin(subprocess.PIPE, [*options, *lane.failed], folder) as process:
        assert process.stdout is not None
        for _ in _shown(process.stdout):
            pass
    return process.returncode == 0


def _begin(
    output: IO[str] | int, words: Sequence[str], folder: str, failed: str = ""
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PYTEST, *words],
        stdout=output,
        stderr=subprocess.STDOUT,
        env=os.environ | {"TMPDIR": folder, "FAILED_TESTS_FILE": failed},
        encoding="utf-8",
        errors="replace",
    )


def _run(options: list[str], folder: str) -> list[Lane]:
    failed = [os.path.join(folder, f"failed-{number}") for number in range(1 + len(LATER))]
    with ExitStack() as open_files:
        shown_later = [
            open_files.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
            for _ in LATER
        ]
        others = [
            _begin(output, [*options, *words], folder, file)
            for output, words, file in zip(shown_later, LATER, failed[1:], strict=True)
        ]
        first = open_files.enter_context(_begin(subprocess.PIPE, [*options, *FIRST], folder, failed[0]))
        assert first.stdout is not None
        shown = [list(_shown(first.stdout))]
        statuses = [one.wait() for one in (first, *others)]
        for output in shown_later:
            output.seek(0)
            shown.append(list(_shown(output)))
        return [Lane(*one) for one in zip(statuses, shown, map(_failed, failed), strict=True)]


def _failed(file: str) -> tuple[str, ...]:
    """Returns what is to run again: a cell of a notebook needs those before it."""
    path = Path(file)
    ids = path.read_text("utf-8").split("\0") if path.exists() else []
    return tuple(dict.fromkeys(re.sub(r"(\.ipynb)::.*", r"\1", one) for one in ids if one))


def _shown(lines: IO[str]) -> Iterator[str]:
    for line in lines:
        sys.stdout.write(line)
        sys.stdout.flush()
        yield line


if __name__ == "__main__":
    repository = Path(__file__).resolve().parent.parent
    if Path.cwd() != repository:
        sys.exit(f"run it in {repository}")
    sys.exit(main(sys.argv[1:]))
