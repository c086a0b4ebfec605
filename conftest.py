"""Threads are pinned: one a process, two processes (`make test`). Under TUTI_NO_SKIPS=1 a skip fails."""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # `make test &` in a script: what the tests start would ignore Ctrl-C, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("TUTI_NO_SKIPS") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under TUTI_NO_SKIPS: {report.longrepr}"
