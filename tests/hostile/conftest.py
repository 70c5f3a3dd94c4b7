"""The rigs that hostile charms are let loose in.

Where a wall cannot be had, nothing here is run, and the reason is told.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bg_charm_service.workers import sandbox
from tests.hostile.rig import Rig, Rigs
from tests.hostile.runners import ordinary_user
from tests.process.running import Runner


@pytest.fixture(scope="session")
def mode(request: pytest.FixtureRequest) -> str:
    """What the service is told about walls: `require`, or `off` to see that they hold the rest."""
    told = str(request.config.getoption("--sandbox"))
    missing = sandbox.probe() if told == "require" else {}
    if missing:
        reasons = ", ".join(f"{wall} ({why})" for wall, why in missing.items())
        pytest.skip(f"this machine lacks walls: {reasons}")
    return told


@pytest.fixture(scope="session")
def ordinary() -> Iterator[Runner | str]:
    """An ordinary user to run the service, or why there is none."""
    with ordinary_user() as found:
        yield found


@pytest.fixture(scope="session")
def rigs(mode: str) -> Iterator[Rigs]:
    """All rigs that are open."""
    with Rigs(mode) as opened:
        yield opened


@pytest.fixture(autouse=True)
def tidy(rigs: Rigs, request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test that failed, close the rigs that its charm has laid waste."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        rigs.close_those_laid_waste()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Function, nextitem: pytest.Item | None) -> Iterator[None]:
    """Close all rigs after the last of these tests: the others are to have the machine."""
    yield
    is_last = nextitem is None or nextitem.path.parent != item.path.parent
    rigs = item.funcargs.get("rigs")
    if is_last and isinstance(rigs, Rigs):
        rigs.close()


@pytest.fixture(params=["tester", "ordinary-user"])
def each_yard(request: pytest.FixtureRequest, rigs: Rigs) -> Rig:
    """A rig for each kind of user: whoever runs the tests, and one who is nobody."""
    if request.param == "tester":
        return rigs.get(Runner())
    found: Runner | str = request.getfixturevalue("ordinary")
    if isinstance(found, str):
        pytest.skip(f"not run as an ordinary user: {found}")
    return rigs.get(found)


@pytest.fixture
def private_yard(rigs: Rigs) -> Rig:
    """A rig in which each run has a process of its own."""
    return rigs.get(Runner(), "--isolation=run")
