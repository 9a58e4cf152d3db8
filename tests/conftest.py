"""Under CI=true a skip is a failure: all that a test needs can be installed there."""

import os
from collections.abc import Iterator

import pytest


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
