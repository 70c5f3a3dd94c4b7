"""Runs each test of the contract on every storage engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bg_charm_service.storage.contract import JobQueue, Store
from tests.contract.engine import ENGINES, Engine
from tests.contract.postgres_engine import DATABASES


@pytest.fixture(scope="session", autouse=True)
def server() -> Iterator[None]:
    """End the server, where a test has started one."""
    yield
    DATABASES.stop()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An empty engine."""
    opened = ENGINES[request.param]()
    yield opened
    opened.close()


@pytest.fixture
def queue(engine: Engine) -> JobQueue:
    """The queue of an engine that stays open."""
    return engine.queue


@pytest.fixture
def store(engine: Engine) -> Store:
    """The store of an engine that stays open."""
    return engine.store
