"""One home with its service and local endpoint for all trips; it ends with the session."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from others import other_pythons

RunScript = Callable[..., str]


@pytest.fixture(scope="session", autouse=True)
def _service_ends() -> Iterator[None]:
    yield
    stop = [sys.executable, "-m", "compute_nb.cli", "service", "stop"]
    subprocess.run(stop, check=False, capture_output=True)


@pytest.fixture
def run_script(tmp_path: Path) -> RunScript:
    """Runs a script in a process of its own, as a user does, and returns what it printed."""

    def run(source: str, *arguments: str, status: int = 0) -> str:
        path = tmp_path / "script.py"
        path.write_text(source)
        command = [sys.executable, "-W", "error", str(path), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == status, done.stdout + done.stderr
        assert not done.stderr, done.stderr
        return done.stdout

    return run


@pytest.fixture(
    params=other_pythons() or [None], ids=lambda python: Path(python).parents[1].name if python else ""
)
def other_python(request: pytest.FixtureRequest) -> str:
    """An interpreter of another minor version; tests/test_executor.py does without one."""
    if request.param is None:
        pytest.skip("no other Python is installed here")
    return request.param
