"""What holds for all tests: how much hypothesis tries, and the switch of the hostile charms.

A file of tests that leaves a database open fails: see tests/open_databases.py.

It shows which turns of the event loop of a service were slow: see tests/process/loop_watch.py.
"""

import os
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.open_databases import OpenDatabases
from tests.process.loop_watch import SLOW_SECONDS, SLOW_TURNS, summary

# Tests have the settings that they name, whatever this machine is configured to.
os.environ["BG_CHARM_CONFIG"] = os.devnull

#: A property of a test's report, which comes along from other processes too.
SLOW_TURN = "slow turn of the loop"

_DATABASES = OpenDatabases()

settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile(
    "ci",
    deadline=None,
    max_examples=100,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let tests/hostile run without walls: whatever only the walls hold fails then."""
    parser.addoption(
        "--sandbox",
        choices=("require", "off"),
        default="require",
        help="walls around the charms of tests/hostile (require, or off to see what they hold)",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Test in half as many processes more as there are processors.

    A third of the time of tests is waiting for a process that does something.
    """
    return len(os.sched_getaffinity(0)) * 3 // 2 or 1


def pytest_configure() -> None:
    """Watch databases and the loops of services; only where tests are run, not what measures."""
    SLOW_TURNS.open()
    _DATABASES.watch()


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    _DATABASES.stop()
    SLOW_TURNS.close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Fail the last test of a file that has left databases open: by then all fixtures are over."""
    yield
    if nextitem is None or nextitem.path != item.path:
        left = _DATABASES.left_open()
        assert not left, "tests of this file left databases open, opened in " + ", ".join(left)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note which turns of its services were slow during a test."""
    report = yield
    report.user_properties += [(SLOW_TURN, told) for told in SLOW_TURNS.news()]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show every slow turn behind the results; none of them fails anything."""
    turns = [
        (report.nodeid, told)
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, told in getattr(report, "user_properties", ())
        if name == SLOW_TURN
    ]
    if turns:
        terminalreporter.section(f"turns of the loop over {SLOW_SECONDS * 1000:.0f} ms")
        for line in summary(turns):
            terminalreporter.write_line(line)
