"""Under TUTI_NO_SKIPS=1 a skipped test fails: continuous integration installs what tests need."""

import os

import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("TUTI_NO_SKIPS") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under TUTI_NO_SKIPS: {report.longrepr}"
