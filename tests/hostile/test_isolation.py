"""Forging and stealing among charms: between spaces, within a space, and where nothing keeps them.

There is one worker, so that whoever runs next runs in what the hostile charm left, if anything
may. That this works within a space, and with `shared` between spaces, is what docs/security.md
says: these tests hold that it says so rightly.
"""

from __future__ import annotations

import pytest

from tests.hostile.rig import Rig, Rigs
from tests.process.running import Runner, RunningCharm

FORGERIES = ("forge_answers", "forge_fields", "forge_the_library")


@pytest.fixture
def by_space(rigs: Rigs) -> Rig:
    """A rig in which a worker serves one space."""
    return _with_one_worker(rigs, "space")


@pytest.fixture
def by_run(rigs: Rigs) -> Rig:
    """A rig in which a worker makes one run."""
    return _with_one_worker(rigs, "run")


@pytest.fixture
def shared(rigs: Rigs) -> Rig:
    """A rig in which a worker serves everybody."""
    return _with_one_worker(rigs, "shared")


def _with_one_worker(rigs: Rigs, level: str) -> Rig:
    flags = (f"--isolation={level}", "--max-concurrent=1", "--interval=3600")
    return rigs.get(Runner(), *flags)


def _haunt(rig: Rig, deed: str) -> None:
    """Let the hostile charm do something to its worker."""
    assert "success" == rig.hostile("haunting").perform(deed=deed)["status"]


def _loot(rig: Rig, deed: str) -> str:
    """Let the hostile charm take something; gives what it has then."""
    _haunt(rig, deed)
    return str(rig.hostile("haunting").get("loot")[-1])


def _note_after(rig: Rig, forgery: str, victim: RunningCharm) -> str:
    """Let somebody run after a forger; gives what it seems to have written."""
    _haunt(rig, forgery)
    run = victim.run()
    assert ("success", "") == (run["status"], run["error"])
    return str(victim.get("note"))


def _taken_from(rig: Rig, victim: RunningCharm) -> str:
    """Let somebody run among two runs of a thief; gives what this has then."""
    _haunt(rig, "rob_the_next")
    assert "success" == victim.run()["status"]
    return _loot(rig, "collect")


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forgery_fails_between_spaces(by_space: Rig, forgery: str) -> None:
    """With `--isolation=space` nobody speaks for a charm of another space."""
    assert "as it was" == _note_after(by_space, forgery, by_space.stranger)


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forgery_works_within_a_space(by_space: Rig, forgery: str) -> None:
    """With `--isolation=space` charms of one space can speak for each other."""
    assert "forged" == _note_after(by_space, forgery, by_space.neighbour)


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forgery_fails_within_a_space_by_run(by_run: Rig, forgery: str) -> None:
    """With `--isolation=run` nobody speaks for anybody else."""
    assert "as it was" == _note_after(by_run, forgery, by_run.neighbour)
    assert "as it was" == _note_after(by_run, forgery, by_run.stranger)


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forgery_works_between_spaces_when_shared(shared: Rig, forgery: str) -> None:
    """With `--isolation=shared` everybody can speak for everybody."""
    assert "forged" == _note_after(shared, forgery, shared.stranger)


def test_answers_for_runs_behind_it_reach_no_other_space(by_space: Rig) -> None:
    """With `--isolation=space` no run of another space lies behind one, to be answered for."""
    hostile = by_space.hostile("haunting")
    for _ in range(3):
        job = hostile.send(deed="answer_for_whoever_comes")
        polled = by_space.service.later("POST", f"{by_space.stranger.path}/run")
        run = polled.result()["run"]
        assert ("success", "") == (run["status"], run["error"])
        hostile.wait_until_settled(job)
        assert "success" == next(run for run in hostile.runs() if run["job_id"] == job)["status"]
        assert "as it was" == by_space.stranger.get("note")


def test_stealing_fails_between_spaces(by_space: Rig) -> None:
    """With `--isolation=space` the state of another space is not to be had."""
    assert "[]" == _taken_from(by_space, by_space.stranger)
    assert "[]" == _loot(by_space, "dig")


def test_stealing_works_within_a_space(by_space: Rig) -> None:
    """With `--isolation=space` charms of one space can take what each other have."""
    assert by_space.neighbour.charm_id in _taken_from(by_space, by_space.neighbour)


def test_stealing_fails_within_a_space_by_run(by_run: Rig) -> None:
    """With `--isolation=run` nobody has anything of anybody else."""
    assert "[]" == _taken_from(by_run, by_run.neighbour)
    assert "[]" == _taken_from(by_run, by_run.stranger)
    assert "[]" == _loot(by_run, "dig")


def test_stealing_works_between_spaces_when_shared(shared: Rig) -> None:
    """With `--isolation=shared` everybody can take what everybody has."""
    assert shared.secrets["state"] in _taken_from(shared, shared.stranger)


def test_files_are_gone_for_the_next(by_space: Rig) -> None:
    """What a run left in its scratch directory nobody finds, not even in the same worker."""
    _haunt(by_space, "leave_a_file")
    assert "[]" == _loot(by_space, "find_files")
