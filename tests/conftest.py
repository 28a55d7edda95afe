"""Rules for every test: long suites by command only, and no skip in continuous integration.

The tests run alike wherever they are started from: signals have their usual meaning.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

# Before Hypothesis is imported by any test: its examples belong under build/.
os.environ.setdefault(
    "HYPOTHESIS_STORAGE_DIRECTORY", str(Path(__file__).parent.parent / "build" / "hypothesis")
)

import pytest

# What is ignored or blocked here would be in every child, too: a shell without job control ignores
# SIGINT in what it starts with `&`, and `nohup` SIGHUP.
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, usual)
signal.pthread_sigmask(signal.SIG_SETMASK, [])

TOGETHER = {
    "tests/artifact/test_build.py",
    "tests/artifact/test_pythons.py",
    "tests/integration/test_ceph.py",
    "tests/integration/test_damage.py",
    "tests/integration/test_real_stores.py",
    "tests/stores/test_contract.py",
}
"""Files whose tests share a server or a folder that is dear to make: one process runs them all.

(pytest-xdist's own groups have no effect with pytest 9.2, which lets no plugin rename a test.)
"""

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--suite",
        action="append",
        default=[],
        metavar="NAME",
        help="also run the tests marked by_command(NAME); may be given more than once",
    )


def pytest_configure(config: pytest.Config) -> None:
    if IN_CI and not hasattr(config, "workerinput"):
        config.pluginmanager.register(NoSkips(), "no-skips")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the long suites nobody asked for: not skipped, but not part of this run."""
    asked = set(config.getoption("--suite"))
    chosen: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        suites = {mark.args[0] for mark in item.iter_markers("by_command")}
        (chosen if suites <= asked else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = chosen


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute single tests, and whole files first: those of `TOGETHER`, and of short tests."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            is_one = path in TOGETHER or path.startswith("tests/unit/")
            return path if is_one else nodeid

    return Scheduling(config, log)


@pytest.fixture(scope="module", autouse=True)
def one_process(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Fail where several processes run the tests of one of those files."""
    path = request.node.nodeid
    if path in TOGETHER and "PYTEST_XDIST_WORKER" in os.environ:
        of_all = tmp_path_factory.getbasetemp().parent
        (of_all / path.replace("/", "-")).mkdir()  # there already: another process made it


class NoSkips:
    """Fails a session under CI that skipped anything: there, every test has what it needs."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.append(f"{report.nodeid}: {reason(report)}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.skipped.append(f"{report.nodeid}: {reason(report)}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.skipped:
            terminalreporter.section("skipped, which fails the run under CI", red=True)
            for line in dict.fromkeys(self.skipped):
                terminalreporter.write_line(line)


def reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return why a test was skipped."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    return str(report.longrepr)
