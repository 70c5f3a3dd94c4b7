"""The counter charm that ships with the service."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bg_charm_service.workers.runtime.charm_binding import changes, describe, load_class

SOURCE = Path(__file__).parents[2] / "charms" / "counter.py"


@pytest.fixture
def counter() -> type[Any]:
    """Load the charm as a worker does."""
    return load_class(SOURCE.read_text(), SOURCE.name)


def test_poll_counts_one(counter: type[Any]) -> None:
    """A poll adds one and writes nothing else."""
    charm = counter(counter=41)

    asyncio.run(charm.bg_updater({}))

    assert {"counter": b"42"} == changes(charm).writes


def test_event_may_say_how_much(counter: type[Any]) -> None:
    """An event's delta is added instead of one."""
    charm = counter()

    asyncio.run(charm.bg_updater({"delta": -3}))

    assert charm.counter == -3


def test_fails_on_request(counter: type[Any]) -> None:
    """With `error` set it raises that text and counts nothing."""
    charm = counter(error="out of paper")

    with pytest.raises(ValueError, match="out of paper"):
        asyncio.run(charm.bg_updater({}))

    assert {} == changes(charm).writes


def test_can_be_polled(counter: type[Any]) -> None:
    """The service finds its updater stream."""
    assert describe(counter).updater == "bgUpdater"
