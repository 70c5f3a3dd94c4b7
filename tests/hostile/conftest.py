"""The yards that hostile charms are let loose in, one for each user that the service runs as."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile.runners import ordinary_user
from tests.hostile.yard import Yard, YardKeeper
from tests.process.running import Runner


@pytest.fixture(scope="session")
def sandbox(request: pytest.FixtureRequest) -> str:
    """What the service is told about walls: `require`, or `off` to see that they hold the rest."""
    return str(request.config.getoption("--sandbox"))


@pytest.fixture(scope="session")
def ordinary() -> Iterator[Runner | str]:
    """An ordinary user to run the service, or why there is none."""
    with ordinary_user() as found:
        yield found


@pytest.fixture(scope="session", params=["tester", "ordinary"])
def runner(request: pytest.FixtureRequest) -> Runner:
    """Who runs the service: whoever runs the tests, root in most places, and an ordinary user."""
    if request.param == "tester":
        return Runner()
    found: Runner | str = request.getfixturevalue("ordinary")
    if isinstance(found, str):
        pytest.skip(f"not run as an ordinary user: {found}")
    return found


@pytest.fixture(scope="session")
def keeper(runner: Runner, sandbox: str) -> Iterator[YardKeeper]:
    """Whoever opens the yard, and a new one after a charm has laid it waste."""
    with YardKeeper(runner, sandbox) as found:
        yield found


@pytest.fixture
def yard(keeper: YardKeeper, request: pytest.FixtureRequest) -> Iterator[Yard]:
    """A yard in which every charm but its neighbours is hostile."""
    failed = request.session.testsfailed
    yield keeper.yard()
    if request.session.testsfailed > failed:
        keeper.close()


@pytest.fixture(scope="session")
def private_keeper(sandbox: str) -> Iterator[YardKeeper]:
    """Whoever opens a yard in which each run has a process of its own."""
    with YardKeeper(Runner(), sandbox, "--isolation=run") as found:
        yield found


@pytest.fixture
def private_yard(private_keeper: YardKeeper, request: pytest.FixtureRequest) -> Iterator[Yard]:
    """A yard in which each run has a process of its own."""
    failed = request.session.testsfailed
    yield private_keeper.yard()
    if request.session.testsfailed > failed:
        private_keeper.close()
