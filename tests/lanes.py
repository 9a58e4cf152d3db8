"""This program runs the whole suite in two lanes side by side: most tests wait, and leave a processor free.

    python tests/lanes.py [pytest options]

The first lane is shown as it goes, the second one after it. The exit status is 0 if both are green.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

PYTEST = (sys.executable, "-m", "pytest", "--nbval-lax")
# What waits most, and measures no time.
SECOND = (
    "tests/browser",
    "tests/chaos",
    "tests/cli",
    "tests/conformance",
    "tests/endpoint/engines",
    "tests/serialize",
)


def main(options: list[str]) -> int:
    """Runs both lanes; returns the exit status."""
    others = [f"--ignore={folder}" for folder in SECOND]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as shown_later:
        with subprocess.Popen([*PYTEST, *options, *SECOND], stdout=shown_later, stderr=shown_later) as second:
            first = subprocess.run([*PYTEST, *options, *others, "tests", "notebooks"], check=False).returncode
        shown_later.seek(0)
        for line in shown_later:
            sys.stdout.write(line)
    return first or second.returncode


if __name__ == "__main__":
    repository = Path(__file__).resolve().parent.parent
    if Path.cwd() != repository:
        sys.exit(f"run it in {repository}")
    sys.exit(main(sys.argv[1:]))
