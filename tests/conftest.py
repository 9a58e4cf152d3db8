"""What every test shares: under CI=true a skip is a failure, and no test touches the user's own home."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _no_home_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    before = os.environ.get("COMPUTE_NB_HOME")
    os.environ["COMPUTE_NB_HOME"] = str(home)
    yield home
    if before is None:
        del os.environ["COMPUTE_NB_HOME"]
    else:
        os.environ["COMPUTE_NB_HOME"] = before


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
