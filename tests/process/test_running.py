"""Runs on request, events, changes under a run: what counts, and in which order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.process.running import SCRIPTED, Refused, Service, wait_until_ended, watched


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that polls a charm once when it is registered, and then not for an hour."""
    flags = ("--interval=3600", "--max-concurrent=3")
    with Service(tmp_path_factory.mktemp("running") / "data", *flags) as running:
        yield running


def test_change_under_a_run_makes_it_run_again(service: Service) -> None:
    """A field that is set from outside while a run uses it: the run is repeated, not counted."""
    gate = service.gate()
    charm = service.add(values={"folder": str(gate.folder), "note": "old"})
    job = charm.send(mode="wait")
    first = gate.wait_for_run()
    done = service.cli("charm", "set", charm.ref, "note", '"new"')
    assert (0, "") == (done.returncode, done.stderr)
    gate.let_go()
    second = gate.wait_for_run()
    assert (first["run_id"], "old", "new") == (second["run_id"], first["note"], second["note"])
    gate.let_go()
    charm.wait_until_settled(job)
    assert ["success", "stale"] == [run["status"] for run in charm.runs()]
    view = charm.view()
    assert (1, 1, 0) == (charm.get("counter"), view["executions"], view["failures"])


def test_change_of_an_unused_field_does_not_disturb(service: Service) -> None:
    """A field that a run neither reads nor writes may be set under it: both changes stay."""
    gate = service.gate()
    charm = service.add(values={"folder": str(gate.folder)})
    job = charm.send(mode="wait")
    gate.wait_for_run()
    charm.set("anything", {"a": [1, 2]})
    gate.let_go()
    charm.wait_until_settled(job)
    assert ["success"] == [run["status"] for run in charm.runs()]
    assert ({"a": [1, 2]}, 1) == (charm.get("anything"), charm.get("counter"))


def test_change_that_goes_on_waits_for_the_run(service: Service) -> None:
    """After three stale runs in a row, a change from outside waits until the run is settled."""
    gate = service.gate()
    charm = service.add(values={"folder": str(gate.folder)})
    job = charm.send(mode="wait")
    for number in range(3):
        gate.wait_for_run()
        charm.set("note", f"change {number}")
        gate.let_go()
    assert "change 2" == gate.wait_for_run()["note"]
    change = service.later("PUT", f"{charm.path}/state/note", "the last")
    # Served behind the change, and in no time: the change had its chance to be too early.
    service.add()
    assert "change 2" == charm.get("note")
    gate.let_go()
    charm.wait_until_settled(job)
    change.result()
    assert "the last" == charm.get("note")
    assert ["success", "stale", "stale", "stale"] == [run["status"] for run in charm.runs()]


def test_events_run_in_order(service: Service) -> None:
    """Events run one after the other in the order in which they were sent, over both streams."""
    gate = service.gate()
    charm = service.add(values={"folder": str(gate.folder)})
    charm.send(mode="wait", number=0)
    gate.wait_for_run()
    jobs = [charm.send("sync" if number % 3 else None, number=number) for number in range(1, 20)]
    gate.let_go()
    charm.wait_until_settled(jobs[-1])
    assert list(range(20)) == charm.get("numbers")


def test_failing_event_is_retried_before_the_next(service: Service) -> None:
    """An event that fails keeps its place: later ones wait until it is done or given up."""
    charm = service.add()
    first = charm.send(mode="until_set", number=1)
    last = charm.send(number=2)
    charm.wait_until_settled(first)
    charm.set("note", "set")
    charm.wait_until_settled(last)
    assert [1, 2] == charm.get("numbers")
    assert 1 < charm.runs()[1]["attempt"]


def test_run_now_joins_a_live_poll(service: Service) -> None:
    """Asking for a run while a poll is under way waits for that one; there is no second run."""
    gate = service.gate()
    charm = service.add(values={"mode": "wait", "folder": str(gate.folder)}, register=True)
    gate.wait_for_run()
    answer = service.later("POST", f"{charm.path}/run")
    service.add()
    gate.let_go()
    report = answer.result()
    assert (True, "poll") == (report["attached"], report["run"]["origin"])
    assert 1 == charm.get("counter")
    assert gate.is_quiet()


def test_run_now_hastens_a_retry(service: Service) -> None:
    """Asking for a run while a poll waits for its next attempt makes that attempt now."""
    gate = service.gate()
    values = {"mode": "until_set", "folder": str(gate.folder)}
    charm = service.add(values=values, register=True)
    charm.wait_for("run.failed", attempt=1)
    charm.set("note", "set")
    report = service.request("POST", f"{charm.path}/run")
    assert ("success", "poll") == (report["run"]["status"], report["run"]["origin"])
    assert report["attached"]
    assert 1 == charm.get("counter")


def test_two_who_ask_share_one_run(service: Service) -> None:
    """Two who ask for a run of the same charm at the same time get the report of the same run."""
    gate = service.gate()
    charm = service.add(values={"mode": "wait", "folder": str(gate.folder)})
    first = service.later("POST", f"{charm.path}/run")
    gate.wait_for_run()
    second = service.later("POST", f"{charm.path}/run")
    service.add()
    gate.let_go()
    reports = [first.result(), second.result()]
    assert [False, True] == [report["attached"] for report in reports]
    assert reports[0]["run"] == reports[1]["run"]
    assert 1 == charm.get("counter")


def test_run_now_is_not_counted_as_a_failure(service: Service) -> None:
    """A run on request that fails is recorded, tried once, and brings the charm no nearer to 5."""
    charm = service.add(values={"mode": "fail"})
    assert "failure" == charm.run()["status"]
    assert [1] == [run["attempt"] for run in charm.runs()]
    assert (1, 0) == (charm.view()["failures"], charm.view()["consecutive_failures"])
    assert (0, 0) == (charm.show()["waiting_jobs"], charm.show()["dead_letter_count"])


def test_run_now_leaves_a_disabled_charm_disabled(service: Service) -> None:
    """A disabled charm can be run on request, and is still disabled after it."""
    charm = service.add(register=True)
    charm.wait_for("run.succeeded")
    charm.post("disable")
    assert "success" == charm.run()["status"]
    assert (False, "hand") == (charm.view()["enabled"], charm.view()["disabled_by"])


def test_events_wait_while_a_charm_is_disabled(service: Service) -> None:
    """Events for a disabled charm are kept, and run in order once it is enabled."""
    charm = service.add(register=True)
    charm.wait_for("run.succeeded")
    charm.post("disable")
    charm.send(number=1)
    last = charm.send(number=2)
    assert "success" == charm.run()["status"]
    assert [] == charm.get("numbers")
    charm.post("enable")
    charm.wait_until_settled(last)
    assert [1, 2] == charm.get("numbers")


def test_disabling_lets_the_run_finish(service: Service) -> None:
    """A charm that is disabled in mid-run ends that run, and is not polled any more."""
    gate = service.gate()
    charm = service.add(values={"mode": "wait", "folder": str(gate.folder)}, register=True)
    gate.wait_for_run()
    charm.post("disable")
    gate.let_go()
    charm.wait_for("run.succeeded")
    view = charm.view()
    assert (1, False, None) == (charm.get("counter"), view["enabled"], view["next_due"])
    assert 0 == charm.show()["waiting_jobs"]


def test_failed_send_of_a_disabled_charm_waits(service: Service) -> None:
    """A send that fails after its charm was disabled is kept until the charm is enabled."""
    gate = service.gate()
    values = {"mode": "fail", "folder": str(gate.folder)}
    charm = service.add(values=values)
    job = charm.send(mode="wait", then="fail")
    gate.wait_for_run()
    charm.register()
    charm.post("disable")
    gate.let_go()
    charm.wait_until_settled(job)
    assert 1 == charm.show()["waiting_jobs"]
    assert ["failure"] == [run["status"] for run in charm.runs()]
    assert "hand" == charm.view()["disabled_by"]
    charm.post("enable")
    gate.wait_for_run()
    gate.let_go()
    charm.wait_for("run.failed", attempt=2)


def test_removed_charm_can_be_added_again(service: Service) -> None:
    """A charm that was removed in mid-run and is added again starts afresh under its old id."""
    gate = service.gate()
    values = {"folder": str(gate.folder), "counter": 5}
    charm = service.add(values=values, cause="phoenix")
    charm.send(mode="wait")
    gate.wait_for_run()
    charm.remove()
    again = service.add(values=values, cause="phoenix")
    assert charm.ref == again.ref
    assert "success" == again.run()["status"]
    assert (6, 1) == (again.get("counter"), again.view()["executions"])


def test_remove_cancels_the_run(service: Service) -> None:
    """Removing a charm in mid-run stops the run, refuses its writes and records it as cancelled."""
    gate = service.gate()
    charm = service.add(values={"folder": str(gate.folder)})
    charm.send(mode="wait")
    waiting = charm.send()
    begun = gate.wait_for_run()
    with watched(begun["pid"]) as handles:
        charm.remove()
        wait_until_ended(handles)
    assert ["cancelled"] == [run["status"] for run in charm.runs()]
    assert waiting
    with pytest.raises(Refused) as refused:
        charm.show()
    assert 404 == refused.value.status


def test_unregister_lets_the_run_finish(service: Service) -> None:
    """Unregistering a charm in mid-run lets the run end and settle."""
    gate = service.gate()
    charm = service.add(values={"mode": "wait", "folder": str(gate.folder)}, register=True)
    gate.wait_for_run()
    charm.unregister()
    gate.let_go()
    charm.wait_for("run.succeeded")
    assert 1 == charm.get("counter")
    assert (False, None) == (charm.view()["registered"], charm.view()["next_due"])


def test_run_under_way_ends_on_the_old_source(service: Service) -> None:
    """An update in mid-run: that run ends on the old source, the next has the new one."""
    gate = service.gate()
    charm = service.add(values={"folder": str(gate.folder)})
    job = charm.send(mode="wait")
    gate.wait_for_run()
    report = charm.update(SCRIPTED.replace("self.counter += 1", "self.counter += 100"))
    assert report["applied"]
    gate.let_go()
    charm.wait_until_settled(job)
    assert 1 == charm.get("counter")
    charm.perform()
    assert 101 == charm.get("counter")


def test_update_keeps_a_state_that_fits(service: Service) -> None:
    """An update that the state does not fit is refused with the reason, and nothing changes."""
    charm = service.add(values={"note": "words"})
    charm.perform()
    report = charm.update(SCRIPTED.replace('note: str = ""', "note: int = 0"))
    assert not report["applied"]
    assert "note" in report["problems"][0]
    assert "success" == charm.perform()["status"]
    assert 2 == charm.get("counter")


def test_event_for_a_stream_that_is_gone(service: Service) -> None:
    """An event whose handler an update took away fails with the name of the stream."""
    gate = service.gate()
    charm = service.add(values={"folder": str(gate.folder)})
    charm.send(mode="wait")
    job = charm.send("sync")
    gate.wait_for_run()
    assert charm.update(SCRIPTED.replace("def sync", "def _sync"))["applied"]
    gate.let_go()
    charm.wait_until_settled(job)
    assert "sync" in charm.runs()[0]["error"]
    assert 1 == charm.get("counter")
