"""Under CI=true a skip is a failure: all that a test needs can be installed there."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from own_postgresql import PostgresqlServer, programs
from rabbit import RabbitMQ, Vhost
from rabbit import missing as no_rabbit
from small_server import SmallServer, small_server

# As Hypothesis itself does under CI: a busy machine is no fault of what is tested, and what one run finds all
# find. `DRAW_ANEW=1 pytest` looks for more.
settings.register_profile(
    "busy",
    settings.default,
    deadline=None,
    derandomize="DRAW_ANEW" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("busy")

FAILED_TESTS_FILE = os.environ.pop("FAILED_TESTS_FILE", "")  # not for the pytest that a test starts
PUBLISHED = "globus-compute-endpoint==4.19.0"  # needs, and so installs, the SDK of the same version


@pytest.fixture(scope="session")
def published_python(pytestconfig) -> str:
    """An interpreter that has the published agent and SDK; made once and kept in pytest's cache."""
    if given := os.environ.get("COMPUTE_NB_PUBLISHED_PYTHON"):
        return given
    folder = Path(pytestconfig.cache.mkdir("published-{}.{}".format(*sys.version_info)))
    with FileLock(folder.parent / "published.lock"):  # `lanes.py` runs several of us
        _install_published(folder)
    return str(folder / "bin" / "python")


def _install_published(folder: Path) -> None:
    python, done = folder / "bin" / "python", folder / "done"
    if done.exists() and done.read_text() == PUBLISHED:
        return
    pip = [str(python), "-m", "pip", "install", "-q", "--no-compile", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", "--clear", str(folder)], [*pip, PUBLISHED]):
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"the published package can't be installed: {made.stderr[-300:]}")
    done.write_text(PUBLISHED)


@pytest.fixture
def server() -> Iterator[SmallServer]:
    """Answers REST as a test has it."""
    with small_server() as one:
        yield one


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory) -> Iterator[RabbitMQ]:
    """The tests' own RabbitMQ, started at its first use. Who stops, kills or wipes it starts it again."""
    if why := no_rabbit():
        pytest.skip(why)
    one = RabbitMQ(tmp_path_factory.mktemp("rabbit"))
    try:
        one.start()
        yield one
    finally:
        one.close()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """The tests' own PostgreSQL, started at its first use; nobody stops it."""
    if programs() is None:
        pytest.skip("PostgreSQL is not installed: `make system` does it")
    server = PostgresqlServer()
    yield server
    server.stop()


@pytest.fixture
def vhost(rabbit) -> Iterator[Vhost]:
    """An empty virtual host on it, for one test."""
    with rabbit.vhost() as one:
        yield one


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if (
        report.skipped
        and os.environ.get("CI") == "true"
        and "not on this platform" not in str(report.longrepr)
    ):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI, where all that it needs can be installed: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tells `lanes.py` which tests failed."""
    if FAILED_TESTS_FILE:
        stats = terminalreporter.stats
        reports = [*stats.get("failed", []), *stats.get("error", [])]
        Path(FAILED_TESTS_FILE).write_text("\0".join(report.nodeid for report in reports), "utf-8")
