"""This program runs the whole suite in lanes side by side: most tests wait, and leave processors free.

    python tests/lanes.py [pytest options]

The first lane is shown as it goes, the others after it. What failed, in whichever lane, stands once more at
the end, where it is seen. The exit status is 0 if all are green.
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


@dataclass(frozen=True, slots=True)
class Lane:
    """One that has ended."""

    status: int
    lines: list[str]

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
    lanes = _run([*options, f"--color={'yes' if sys.stdout.isatty() else 'no'}"], folder)
    if not any(lane.status for lane in lanes):
        shutil.rmtree(folder, ignore_errors=True)
    for lane in lanes:
        if lane.status:
            sys.stdout.write("\n".join(["", "#" * 40 + " what failed, once more", ""]))
            sys.stdout.writelines(lane.failures())
    return next((lane.status for lane in lanes if lane.status), 0)


def _run(options: list[str], folder: str) -> list[Lane]:
    def begin(output: IO[str] | int, words: Sequence[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*PYTEST, *options, *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TMPDIR": folder},
            encoding="utf-8",
            errors="replace",
        )

    with ExitStack() as open_files:
        shown_later = [
            open_files.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
            for _ in LATER
        ]
        others = [begin(output, words) for output, words in zip(shown_later, LATER, strict=True)]
        first = begin(subprocess.PIPE, FIRST)
        assert first.stdout is not None
        shown = [list(_shown(first.stdout))]
        statuses = [one.wait() for one in (first, *others)]
        for output in shown_later:
            output.seek(0)
            shown.append(list(_shown(output)))
        return [Lane(*one) for one in zip(statuses, shown, strict=True)]


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
