"""The published package, in an environment of its own: it pins an older dill than ours."""

import json
import subprocess
from pathlib import Path

import pytest

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
def published(published_python):
    process = Published(published_python)
    yield process
    process.stop()
