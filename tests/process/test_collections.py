"""Collections in a running service: what runs read and write of them, and when a run is stale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.process.running import CHARMS, RunningCharm, Service

COLLECTED = (CHARMS / "collected.py").read_text()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that polls nothing by itself."""
    flags = ("--interval=3600", "--max-retries=0", "--max-concurrent=3", "--run-log=1K")
    with Service(tmp_path_factory.mktemp("collections") / "data", *flags) as running:
        yield running


@pytest.fixture
def charm(service: Service) -> RunningCharm:
    """A charm with collections that are empty."""
    return service.add(COLLECTED)


def seen(charm: RunningCharm, *deeds: Any, **event: Any) -> list[Any]:
    """Have a charm do something with its collections; gives what it saw."""
    run = charm.perform(do=list(deeds), **event)
    assert "success" == run["status"], run
    found: list[Any] = charm.get("seen")
    return found


def test_items_are_kept(charm: RunningCharm) -> None:
    """What a run writes is there for the next one: values, lengths, order; what it removes is not."""
    ada, bob = {"name": "Ada", "tags": []}, {"name": "Bob", "tags": ["x"]}
    seen(charm, ("put", "people", {"b": bob, "a": ada, "ä": ada}))
    looked = [("get", "people", "b"), ("get", "people", "c"), ("in", "people", "a")]
    assert [bob, None, True] == seen(charm, *looked)
    assert [3, ["a", "b"]] == seen(charm, ("len", "people"), ("first", "people", 2))
    assert [[["a", "b"], ["ä"]]] == seen(charm, ("pages", "people", 2))
    assert [None, None, 2] == seen(
        charm, ("del", "people", "b"), ("remove", "people", ["x"]), ("len", "people")
    )
    assert [[["a", "ä"]]] == seen(charm, ("pages", "people", 5))


def test_failed_run_writes_no_items(charm: RunningCharm) -> None:
    """What a failed run wrote to a collection did not happen."""
    seen(charm, ("add", "wanted", ["a"]))
    failed = charm.perform(do=[("add", "wanted", ["b"]), ("remove", "wanted", ["a"])], fail=True)
    assert "failure" == failed["status"]
    assert [["a"]] == seen(charm, ("first", "wanted", 10))


def test_changes_in_place_are_written(charm: RunningCharm) -> None:
    """An item that is changed in place counts as written, by itself and page by page."""
    people = {str(number): {"name": str(number)} for number in range(5)}
    seen(charm, ("put", "people", people), ("tag", "people", ("1", "new")))
    seen(charm, ("tag", "people", ("2", "later")))
    seen(charm, ("tag all", "people", "all"))
    tags = [seen(charm, ("get", "people", key))[0]["tags"] for key in ("0", "1", "2")]
    assert [["all"], ["new", "all"], ["later", "all"]] == tags


def test_more_looks_than_the_log_has_bytes(charm: RunningCharm) -> None:
    """A run may look into its collections as often as it has time for."""
    keys = [f"{number:05}" for number in range(3000)]
    seen(charm, ("add", "wanted", keys))
    assert [True] * 3000 == seen(charm, *(("in", "wanted", key) for key in keys))
