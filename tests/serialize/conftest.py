"""The published package, in an environment of its own: it pins an older dill than ours."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PUBLISHED = "globus-compute-sdk==4.19.0"
HERE = Path(__file__).parent


class Published:
    """A process that answers by the published package."""

    def __init__(self, python: str) -> None:
        self._process = subprocess.Popen(
            [python, str(HERE / "published.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, **request):
        """The answer, or the text of an error as a RuntimeError."""
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        reply = json.loads(self._process.stdout.readline())
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply["ok"]

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture(scope="session")
def published_python(pytestconfig) -> str:
    """An interpreter that has the published package; made once and kept in pytest's cache."""
    if given := os.environ.get("COMPUTE_NB_PUBLISHED_PYTHON"):
        return given
    folder = Path(pytestconfig.cache.mkdir("published-{}.{}".format(*sys.version_info)))
    python, done = folder / "bin" / "python", folder / "done"
    if not (done.exists() and done.read_text() == PUBLISHED):
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", PUBLISHED]
        for command in ([sys.executable, "-m", "venv", "--clear", str(folder)], install):
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            if made.returncode:
                pytest.skip(f"the published package can't be installed: {made.stderr[-300:]}")
        done.write_text(PUBLISHED)
    return str(python)


@pytest.fixture(scope="session")
def published(published_python):
    process = Published(published_python)
    yield process
    process.stop()
