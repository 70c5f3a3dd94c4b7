"""Links between charms: what may be read, written and sent through them, and when it counts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.process.running import CHARMS, RunningCharm, Service

LINKED = (CHARMS / "linked.py").read_text()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that polls nothing by itself."""
    flags = ("--interval=3600", "--max-retries=0", "--max-concurrent=3")
    with Service(tmp_path_factory.mktemp("links") / "data", *flags) as running:
        yield running


@pytest.fixture
def target(service: Service) -> RunningCharm:
    """A charm that others link to."""
    return service.add(values={"counter": 7})


def link(
    service: Service, to: RunningCharm, *, space: str = "test", writable: bool = False
) -> RunningCharm:
    """Add a charm that links to the counter and the updater of another."""
    links = {"number": f"{to.ref}/counter", "out": f"{to.ref}/bgUpdater"}
    return service.add(LINKED, space=space, **{"writable_links" if writable else "links": links})


def test_link_within_a_space(service: Service, target: RunningCharm) -> None:
    """Inside its space a charm reads and writes through a link, in the settlement of its run."""
    linked = link(service, target)
    run = linked.perform(write=20)
    assert ("success", 7, 20) == (run["status"], linked.get("seen"), target.get("counter"))
    target.perform()
    linked.perform()
    assert 21 == linked.get("seen")


def test_failed_run_writes_nothing_through_links(service: Service, target: RunningCharm) -> None:
    """What a failed run wrote and sent through its links does not happen."""
    linked = link(service, target)
    assert "failure" == linked.perform(write=20, send=[{}], fail=True)["status"]
    assert 7 == target.get("counter")
    assert (0, []) == (target.show()["waiting_jobs"], target.runs())


def test_link_into_another_space_only_reads(service: Service, target: RunningCharm) -> None:
    """Into another space a link is for reading, however the charm tries."""
    linked = link(service, target, space="elsewhere")
    assert "success" == linked.perform()["status"]
    assert 7 == linked.get("seen")
    for run in (linked.perform(write=20), linked.perform(send=[{}])):
        assert ("failure", "state") == (run["status"], run["cause"])
        assert "only be read" in run["error"]
    assert (7, []) == (target.get("counter"), target.runs())


def test_writable_link_into_another_space(service: Service, target: RunningCharm) -> None:
    """A link that a person made writable writes and sends into another space."""
    linked = link(service, target, space="elsewhere", writable=True)
    run = linked.perform(write=20, send=[{"number": 1}])
    assert "success" == run["status"]
    target.wait_for("run.succeeded")
    assert (21, [1]) == (target.get("counter"), target.get("numbers"))


def test_sends_arrive_in_order(service: Service, target: RunningCharm) -> None:
    """What a run sends through a stream link arrives once each, in order, with other events."""
    linked = link(service, target)
    first = [{"number": number} for number in range(10)]
    linked.perform(send=first)
    linked.perform(send=[{"number": 10}])
    last = target.send(number=11)
    target.wait_until_settled(last)
    assert list(range(12)) == target.get("numbers")


def test_change_of_a_linked_value_makes_the_run_stale(
    service: Service, target: RunningCharm
) -> None:
    """A linked value that moves under a run that used it: the run is repeated on the new value."""
    gate = service.gate()
    source = LINKED.replace(
        "        if self.words is not None:\n",
        f'        open("{gate.folder}/began", "w").write("{{}}\\n")\n'
        f'        open("{gate.folder}/go", "rb", buffering=0).read(1)\n'
        "        if self.words is not None:\n",
    )
    linked = service.add(source, links={"number": f"{target.ref}/counter"})
    job = linked.send()
    gate.wait_for_run()
    target.perform()
    gate.let_go(2)
    linked.wait_until_settled(job)
    assert ["success", "stale"] == [run["status"] for run in linked.runs()]
    assert 8 == linked.get("seen")


def test_linked_charm_that_was_removed(service: Service, target: RunningCharm) -> None:
    """A run whose link leads to a removed charm fails, and names the field."""
    linked = link(service, target)
    target.remove()
    run = linked.perform()
    assert ("failure", "state") == (run["status"], run["cause"])
    assert "number" in run["error"]


def test_large_linked_value(service: Service) -> None:
    """A linked value over 64 kB is fetched when it is touched."""
    target = service.add(values={"text": "x" * 200_000})
    linked = service.add(LINKED, links={"words": f"{target.ref}/text"})
    assert "success" == linked.perform()["status"]
    assert 200_000 == linked.get("length")
