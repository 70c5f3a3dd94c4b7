"""Charms that fail again and again: retried, disabled, and brought back by a person."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.process.running import Refused, RunningCharm, Service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that gives a charm up after one poll that fails twice."""
    flags = ("--interval=3600", "--failures=1", "--max-retries=1", "--max-concurrent=2")
    with Service(tmp_path_factory.mktemp("failing") / "data", *flags) as running:
        yield running


@pytest.fixture
def disabled(service: Service) -> RunningCharm:
    """A charm whose poll failed with its retry, and that is disabled."""
    charm = service.add(values={"mode": "until_set"}, register=True)
    charm.wait_for("charm.disabled")
    return charm


def test_default_is_five_polls_that_fail(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With the default a charm is disabled by five polls that fail; runs by hand do not count."""
    flags = ("--interval=1", "--max-retries=0")
    with Service(tmp_path_factory.mktemp("defaults") / "data", *flags) as service:
        charm = service.add(values={"mode": "fail"}, register=True)
        charm.wait_for("charm.disabled")
        polls = [run["job_id"] for run in charm.runs() if run["origin"] == "poll"]
        assert 5 == len(set(polls))
        view = charm.view()
        assert (False, "failures") == (view["enabled"], view["disabled_by"])
        assert (5, 5) == (view["consecutive_failures"], view["disabled_after"])


def test_events_that_fail_are_each_kept(service: Service) -> None:
    """They disable nobody, no success removes them, and a person requeues or drops each."""
    charm = service.add()
    for number in (1, 2):
        charm.wait_until_settled(charm.send(mode="fail", number=number), attempt=2)
    assert "success" == charm.run()["status"]
    detail = charm.show()
    assert (True, 2) == (detail["charm"]["enabled"], detail["dead_letter_count"])
    first, second = (letter["job_id"] for letter in detail["dead_letters"])
    dropped = service.request("POST", "/api/dead-letters/drop", {"job": first})
    assert (1, []) == (dropped["dropped"], dropped["requeued"])
    again = service.request("POST", "/api/dead-letters/requeue", {"charm": str(charm.ref)})
    assert (1, 0) == (len(again["requeued"]), again["left"])
    charm.wait_until_settled(again["requeued"][0], attempt=2)
    assert 1 == charm.show()["dead_letter_count"]
    with pytest.raises(Refused, match=f"Job {second} is no dead letter"):
        service.request("POST", "/api/dead-letters/drop", {"job": second})
    for body in ({}, {"all": True, "job": 1}):
        with pytest.raises(Refused, match="one of job, charm and all"):
            service.request("POST", "/api/dead-letters/drop", body)


def test_disabled_charm_is_shown_with_its_reason(disabled: RunningCharm) -> None:
    """A charm disabled by failures says so, keeps a dead letter, and is not polled."""
    detail = disabled.show()
    view = detail["charm"]
    assert (False, "failures", 1) == (
        view["enabled"],
        view["disabled_by"],
        view["consecutive_failures"],
    )
    assert "nobody has set the note" in view["last_error"]
    assert "error" == view["last_error_cause"]
    assert ["failed"] == [letter["status"] for letter in detail["dead_letters"]]
    assert (None, 0) == (view["next_due"], detail["waiting_jobs"])


def test_requeue_runs_a_dead_letter_again(disabled: RunningCharm) -> None:
    """A dead letter that is requeued runs, and its success removes it."""
    disabled.set("note", "set")
    disabled.post("requeue")
    disabled.wait_for("run.succeeded")
    assert (0, 1) == (disabled.show()["dead_letter_count"], disabled.get("counter"))
    with pytest.raises(Refused, match="has no dead letter"):
        disabled.post("requeue")


def test_registering_again_enables(disabled: RunningCharm) -> None:
    """A charm that is registered again is enabled with no failures, and polled at once."""
    disabled.set("note", "set")
    disabled.register("another")
    disabled.wait_for("run.succeeded")
    view = disabled.view()
    assert (True, 0, "another") == (
        view["enabled"],
        view["consecutive_failures"],
        view["integration"],
    )
    assert 0 == disabled.show()["dead_letter_count"]


def test_disabled_charm_stays_disabled_over_a_restart(
    service: Service, disabled: RunningCharm
) -> None:
    """A disabled charm is still disabled, with its dead letter, after KILL and a new start."""
    service.kill()
    service.start()
    assert not disabled.view()["enabled"]
    assert 1 == disabled.show()["dead_letter_count"]
    assert 2 == disabled.view()["executions"]


def test_failures_come_back_after_a_while(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A charm disabled by failures is enabled again by time; one disabled by hand is not."""
    flags = ("--interval=1", "--failures=1", "--max-retries=0", "--disabled-retry=1")
    with Service(tmp_path_factory.mktemp("time") / "data", *flags) as service:
        by_hand = service.add(register=True)
        by_hand.wait_for("run.succeeded")
        by_hand.post("disable")
        executions = by_hand.view()["executions"]
        charm = service.add(values={"mode": "fail"}, register=True)
        charm.wait_for("charm.disabled", times=2)
        assert "hand" == by_hand.view()["disabled_by"]
        assert executions == by_hand.view()["executions"]
