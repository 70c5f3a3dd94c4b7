"""The queue's promises, one at a time; `test_queue_model` tries them in every order."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bg_charm_service.domain.errors import Conflict
from bg_charm_service.domain.model import CharmRef, Origin, Priority
from bg_charm_service.storage.contract import JobQueue
from bg_charm_service.storage.records import (
    KEEP_DONE,
    MOST_DEAD_SENDS,
    SUSPECT_DELIVERIES,
    NewJob,
)
from tests.contract.engine import Engine

SPACE, CHARM, NOW = 1, 7, 1000.0
REF = CharmRef("did:key:space", "charm")


def poll(queue: JobQueue, charm: int = CHARM, run_at: float = NOW, space: int = SPACE) -> int:
    """Queue a poll, which must be new."""
    job_id = queue.put_poll(
        space, charm, REF, "bgUpdater", b"{}", origin=Origin.POLL, run_at=run_at, now=NOW
    )
    assert job_id is not None
    return job_id


def plain() -> NewJob:
    """Give a poll of a charm with an interval."""
    return NewJob(SPACE, CHARM, REF, "bgUpdater", b"{}", NOW, next_due=NOW + 60, is_plain=True)


def send(queue: JobQueue, event: bytes = b"{}", charm: int = CHARM) -> int:
    """Queue an event of an enabled charm."""
    return queue.put_send(SPACE, charm, REF, "add", event, run_at=NOW, now=NOW, is_held=False)


def claimed_ids(queue: JobQueue, now: float = NOW, limit: int = 10) -> list[int]:
    """Claim, and give the ids."""
    return [claim.job.job_id for claim in queue.claim(SPACE, limit, now)]


def test_job_comes_out_as_it_went_in(queue: JobQueue) -> None:
    """Everything about a request survives, whatever text its event holds."""
    event = '{"text": "ünïcode \\ud83d\\ude00 \\"quoted\\""}'.encode()
    job_id = queue.put_send(
        SPACE, CHARM, REF, "chatUpdater", event, run_at=NOW - 1, now=NOW - 2, is_held=False
    )
    (claim,) = queue.claim(SPACE, 1, NOW)
    job = claim.job
    assert (SPACE, CHARM) == (claim.space_key, claim.charm_key)
    assert (job_id, REF, "chatUpdater", event) == (job.job_id, job.ref, job.stream, job.event)
    assert (Origin.SEND, Priority.EXECUTE_CHARM) == (job.origin, job.priority)
    assert (NOW - 1, NOW - 2) == (job.run_at, job.created_at)
    assert (1, 1, 1, f"{job_id}.1") == (job.attempt, job.deliveries, job.fence, job.run_id)


def test_second_poll_is_left_out(queue: JobQueue) -> None:
    """A charm has one live poll, waiting, running or between attempts."""

    def put_again() -> int | None:
        return queue.put_poll(
            SPACE, CHARM, REF, "bgUpdater", b"{}", origin=Origin.RUN_NOW, run_at=NOW, now=NOW
        )

    poll(queue)
    assert put_again() is None
    (claim,) = queue.claim(SPACE, 1, NOW)
    assert put_again() is None
    queue.retry(claim, NOW)
    assert put_again() is None
    (claim,) = queue.claim(SPACE, 1, NOW)
    queue.ack(claim)
    assert put_again() is not None


def test_sends_are_never_merged_and_keep_their_order(queue: JobQueue) -> None:
    """Equal events are as many jobs, and a retry of the first keeps the others waiting."""
    first, second, third = (send(queue, b'{"same":1}') for _ in range(3))
    (claim,) = queue.claim(SPACE, 10, NOW)
    assert first == claim.job.job_id
    queue.retry(claim, NOW + 5)
    assert [] == claimed_ids(queue, NOW + 4)
    (claim,) = queue.claim(SPACE, 10, NOW + 5)
    assert (first, 2) == (claim.job.job_id, claim.job.attempt)
    queue.bury(claim)
    (claim,) = queue.claim(SPACE, 10, NOW)
    assert second == claim.job.job_id
    queue.ack(claim)
    assert [third] == claimed_ids(queue)


def test_charm_never_overlaps_itself(queue: JobQueue) -> None:
    """Of a charm's poll and send, one runs; the other follows when it has ended."""
    first, second = poll(queue), send(queue)
    (claim,) = queue.claim(SPACE, 10, NOW)
    assert first == claim.job.job_id
    assert [] == claimed_ids(queue)
    queue.ack(claim)
    assert [second] == claimed_ids(queue)


def test_claim_is_by_age_within_one_space(queue: JobQueue) -> None:
    """A batch takes the oldest jobs of the space that are due, and no others."""
    third, later, first = (
        poll(queue, 3),
        poll(queue, 4, run_at=NOW + 1),
        poll(queue, 5, run_at=NOW - 9),
    )
    poll(queue, 6, space=2)
    assert [third, first] == claimed_ids(queue)
    assert [later] == claimed_ids(queue, NOW + 1)


def test_space_is_hot_while_anything_is_ready(queue: JobQueue) -> None:
    """Jobs that a batch had no room for are looked for again, and an empty space is not."""
    for charm in range(8):
        poll(queue, charm)
    assert {SPACE} == queue.hot_spaces(NOW)
    assert 5 == len(queue.claim(SPACE, 5, NOW))
    assert {SPACE} == queue.hot_spaces(NOW)
    assert 3 == len(queue.claim(SPACE, 5, NOW))
    assert set() == queue.hot_spaces(NOW)


def test_delayed_job_wakes_its_space(queue: JobQueue) -> None:
    """A space is hot from the moment on that its job is ready, and that moment is known."""
    poll(queue, run_at=NOW + 30)
    assert set() == queue.hot_spaces(NOW)
    assert NOW + 30 == queue.next_run_at()
    assert {SPACE} == queue.hot_spaces(NOW + 30)
    assert queue.next_run_at() is None


def test_late_answer_changes_nothing(queue: JobQueue) -> None:
    """Once a job was given back and claimed anew, the first claim can neither end nor move it."""
    poll(queue)
    (late,) = queue.claim(SPACE, 1, NOW)
    queue.rescue(late, NOW)
    (newest,) = queue.claim(SPACE, 1, NOW)
    assert newest.job.fence > late.job.fence
    endings = [queue.ack(late), queue.bury(late), queue.retry(late, NOW), queue.release(late, NOW)]
    assert [False] * 4 == endings
    assert (False, True) == (queue.holds(late.job), queue.holds(newest.job))
    assert (0, 1, 0) == (queue.pending, queue.claimed, queue.dead)


def test_forged_claim_changes_nothing(queue: JobQueue) -> None:
    """A claim that was never made does not end a waiting job."""
    poll(queue)
    (claim,) = queue.claim(SPACE, 1, NOW)
    queue.release(claim, NOW)
    for fence in (0, 1, 2):
        forged = replace(claim, job=replace(claim.job, fence=fence))
        assert not queue.ack(forged)
    assert 1 == queue.pending


def test_late_bury_spares_the_dead_letter(queue: JobQueue) -> None:
    """A claim that is over does not take its charm's dead letter with it."""
    poll(queue)
    (claim,) = queue.claim(SPACE, 1, NOW)
    assert queue.bury(claim)
    assert not queue.bury(claim)
    assert [claim.job.job_id] == [letter.job.job_id for letter in queue.dead_letters()]


def test_newest_dead_letter_of_a_poll_is_kept(queue: JobQueue) -> None:
    """A charm's polls have one dead letter, a success removes it, and other charms keep theirs."""

    def listed(after: int = 0) -> list[int]:
        return [letter.job.job_id for letter in queue.dead_letters(after, limit=5)]

    ids = []
    for charm in (CHARM, CHARM, 8):
        ids.append(poll(queue, charm))
        (claim,) = queue.claim(SPACE, 1, NOW)
        queue.bury(claim)
    assert (2, ids[1:], ids[2:]) == (queue.dead, listed(), listed(after=ids[1]))
    queue.drop_dead_poll(CHARM)
    assert (1, ids[2:]) == (queue.dead, listed())


def test_dead_letters_of_events_are_each_kept(queue: JobQueue) -> None:
    """Neither a newer one nor a success takes an event that was given up; a person drops it."""
    ids = [send(queue), send(queue)]
    for _ in ids:
        (claim,) = queue.claim(SPACE, 1, NOW)
        queue.bury(claim)
    queue.drop_dead_poll(CHARM)
    queue.drop_dead_polls([CHARM])
    assert ids == [letter.job.job_id for letter in queue.dead_letters_of(CHARM)]
    assert (2, [ids[1]]) == (
        queue.count_dead_letters(CHARM),
        [letter.job.job_id for letter in queue.dead_letters_of(CHARM, after=ids[0])],
    )
    assert [True, False] == [queue.drop_dead_letter(ids[0]), queue.drop_dead_letter(ids[0])]
    assert (1, 1) == (queue.dead, queue.count_dead_letters(CHARM))


def test_charm_with_a_thousand_dead_events_takes_no_more(engine: Engine) -> None:
    """Then a send is refused with the reason, and taken again once one of them is gone."""
    queue = engine.queue
    with engine.transaction():
        for _ in range(MOST_DEAD_SENDS):
            send(queue)
            (claim,) = queue.claim(SPACE, 1, NOW)
            queue.bury(claim)
    assert not queue.has_room_for_dead(CHARM)
    with pytest.raises(Conflict, match=r"1,000 of them were given up.*dead-letters requeue"):
        send(queue)
    # One that was accepted before, as a reminder is, is never refused.
    assert queue.put_send(
        SPACE, CHARM, REF, "add", b"{}", run_at=NOW, now=NOW, is_held=False, is_accepted=True
    )
    assert send(queue, charm=8)
    queue.drop_dead_letter(queue.dead_letters_of(CHARM)[0].job.job_id)
    assert send(queue)


def test_event_that_waits_keeps_its_place(queue: JobQueue) -> None:
    """What is put off runs at its time, those behind it after it; and sooner once that is said."""
    first, second = send(queue), send(queue)
    queue.put_off(SPACE, CHARM, NOW + 60)
    assert [] == claimed_ids(queue, NOW + 59)
    queue.bring_on(SPACE, CHARM, NOW + 60, NOW + 10)
    assert ({SPACE}, [first]) == (queue.hot_spaces(NOW + 10), claimed_ids(queue, NOW + 10))
    claim = queue.find(first)
    assert claim is not None
    queue.release(claim, NOW + 70)
    assert [] == claimed_ids(queue, NOW + 69)
    (again,) = queue.claim(SPACE, 5, NOW + 70)
    queue.ack(again)
    assert [second] == claimed_ids(queue, NOW + 70)


def test_job_that_somebody_waits_for_runs_now(queue: JobQueue) -> None:
    """Though it was put off a moment ago."""
    first = send(queue)
    queue.put_off(SPACE, CHARM, NOW + 60)
    queue.hasten_jobs({first: SPACE}, NOW)
    assert ({SPACE}, [first]) == (queue.hot_spaces(NOW), claimed_ids(queue, NOW))


def test_plain_poll_is_put_off_and_hastened_like_any_other(queue: JobQueue) -> None:
    """Though nothing but its charm's due time stood for it while it waited or was out."""
    queue.put_polls([plain()], now=NOW)
    queue.put_off(SPACE, CHARM, NOW + 60)
    assert [] == claimed_ids(queue, NOW + 59)
    wanted = queue.hasten(CHARM, NOW + 1)
    (claim,) = queue.claim(SPACE, 1, NOW + 1)
    assert wanted == claim.job.job_id
    queue.ack(claim)

    queue.put_polls([plain()], now=NOW)
    (claim,) = queue.claim(SPACE, 1, NOW)
    wanted = queue.hasten(CHARM, NOW)
    assert wanted == claim.job.job_id
    queue.release(claim, NOW + 60)
    assert [] == claimed_ids(queue, NOW + 59)
    queue.hasten_jobs({wanted: SPACE}, NOW + 1)
    assert [wanted] == claimed_ids(queue, NOW + 1)


def test_plain_poll_and_events_of_its_charm_take_turns(queue: JobQueue) -> None:
    """Whichever was there first: a charm has one job out at a time."""
    queue.put_polls([plain()], now=NOW)
    event = send(queue)
    (claim,) = queue.claim(SPACE, 9, NOW)
    assert Origin.POLL is claim.job.origin
    assert [] == claimed_ids(queue)
    assert queue.claim_job(event) is None
    queue.ack(claim)
    assert [event] == claimed_ids(queue)
    queue.put_polls([plain()], now=NOW)
    assert [] == claimed_ids(queue)
    newest = queue.page(event, 9)[-1].job_id
    assert queue.claim_job(newest) is None


def test_next_event_of_a_charm_that_waits_has_its_time(queue: JobQueue) -> None:
    """One that is first in line runs no sooner; one behind others has no time of its own."""

    def late(until: float) -> int:
        return queue.put_send(
            SPACE, CHARM, REF, "add", b"{}", run_at=NOW, now=NOW, is_held=False, not_before=until
        )

    first, second = late(NOW + 60), late(NOW + 60)
    assert ([], [first]) == (claimed_ids(queue, NOW + 59), claimed_ids(queue, NOW + 60))
    claim = queue.find(first)
    assert claim is not None
    queue.ack(claim)
    assert [second] == claimed_ids(queue, NOW)


def test_requeued_job_is_a_new_one(queue: JobQueue) -> None:
    """A dead letter comes back as a first attempt whose runs share no id with the old ones."""
    poll(queue)
    (claim,) = queue.claim(SPACE, 1, NOW)
    queue.bury(claim)
    job_id = queue.requeue(claim.job.job_id, NOW + 50)
    (again,) = queue.claim(SPACE, 1, NOW + 50)
    assert (job_id, 1, 1) == (again.job.job_id, again.job.attempt, again.job.deliveries)
    assert again.job.run_id != claim.job.run_id
    assert (claim.job.stream, claim.job.event) == (again.job.stream, again.job.event)
    assert (0, None) == (queue.dead, queue.requeue(claim.job.job_id, NOW))


def test_requeue_gives_way_to_a_live_poll(queue: JobQueue) -> None:
    """While a poll is live the dead letter stays."""
    poll(queue)
    (claim,) = queue.claim(SPACE, 1, NOW)
    queue.bury(claim)
    poll(queue)
    assert queue.requeue(claim.job.job_id, NOW) is None
    assert (1, 1) == (queue.dead, queue.pending)


def test_suspect_runs_alone(queue: JobQueue) -> None:
    """What was handed out three times by supervisors that died is claimed by itself only."""
    job_id = poll(queue)
    for _ in range(SUSPECT_DELIVERIES):
        assert queue.claim_suspect(NOW) is None
        (claim,) = queue.claim(SPACE, 1, NOW)
        queue.rescue(claim, NOW)
    assert [] == queue.claim(SPACE, 1, NOW)
    suspect = queue.claim_suspect(NOW)
    assert suspect is not None
    assert (job_id, SUSPECT_DELIVERIES + 1) == (suspect.job.job_id, suspect.job.deliveries)


def test_release_and_retry_clear_suspicion(queue: JobQueue) -> None:
    """A delivery given back does not count, and a new attempt starts at none."""
    poll(queue)
    (claim,) = queue.claim(SPACE, 1, NOW)
    queue.rescue(claim, NOW)
    (claim,) = queue.claim(SPACE, 1, NOW)
    queue.release(claim, NOW)
    (claim,) = queue.claim(SPACE, 1, NOW)
    assert (2, 1) == (claim.job.deliveries, claim.job.attempt)
    queue.retry(claim, NOW)
    (claim,) = queue.claim(SPACE, 1, NOW)
    assert (1, 2) == (claim.job.deliveries, claim.job.attempt)


def test_claimed_job_can_be_made_a_suspect(queue: JobQueue) -> None:
    """Rescued it runs alone, whoever died with it how often; given back or done it is none."""
    job_id = poll(queue)
    (claim,) = queue.claim(SPACE, 1, NOW)
    queue.suspect(job_id)
    queue.release(claim, NOW)
    queue.claim(SPACE, 1, NOW)
    queue.suspect(job_id)
    # The supervisor that rescues is another one.
    (left,) = queue.claimed_jobs()
    queue.rescue(left, NOW)
    assert [] == queue.claim(SPACE, 1, NOW)
    suspect = queue.claim_suspect(NOW)
    assert suspect is not None
    assert (job_id, SUSPECT_DELIVERIES + 1) == (suspect.job.job_id, suspect.job.deliveries)
    queue.suspect(job_id)
    (again,) = queue.claimed_jobs()
    assert SUSPECT_DELIVERIES + 1 == again.job.deliveries


def test_only_a_claimed_job_can_be_made_a_suspect(queue: JobQueue) -> None:
    """One that waits, is done, or is not there is left as it is."""
    job_id = poll(queue)
    queue.suspect(job_id)
    queue.suspect(job_id + 1)
    (claim,) = queue.claim(SPACE, 1, NOW)
    assert 1 == claim.job.deliveries
    queue.ack(claim)
    queue.suspect(job_id)
    assert not queue.is_live(job_id)


def test_suspect_waits_for_its_charm(queue: JobQueue) -> None:
    """A suspect is no exception: its charm does not overlap itself."""
    poll(queue)
    for _ in range(SUSPECT_DELIVERIES):
        (claim,) = queue.claim(SPACE, 1, NOW)
        queue.rescue(claim, NOW)
    send(queue)
    (running,) = queue.claim(SPACE, 1, NOW)
    assert queue.claim_suspect(NOW) is None
    queue.ack(running)
    assert queue.claim_suspect(NOW) is not None


def test_disabled_charm_comes_to_rest(queue: JobQueue) -> None:
    """Its poll is taken out, its sends wait, and what is under way does not come back."""
    send(queue)
    (running,) = queue.claim(SPACE, 1, NOW)
    second = send(queue)
    poll(queue)
    queue.hold(CHARM)
    assert queue.ack(running)
    assert [] == claimed_ids(queue)
    queue.unhold(SPACE, CHARM, NOW)
    assert [second] == claimed_ids(queue)


@pytest.mark.parametrize("ending", ["retry", "release", "rescue"])
def test_poll_of_a_disabled_charm_does_not_come_back(queue: JobQueue, ending: str) -> None:
    """A poll under way when its charm was disabled is dropped when it would wait again."""
    poll(queue)
    (claim,) = queue.claim(SPACE, 1, NOW)
    queue.hold(CHARM)
    assert getattr(queue, ending)(claim, NOW)
    assert (0, 0, None) == (queue.pending, queue.claimed, queue.find(claim.job.job_id))


def test_hasten_finds_the_live_poll(queue: JobQueue) -> None:
    """A waiting poll runs now, one under way is only named."""
    assert queue.hasten(CHARM, NOW) is None
    job_id = poll(queue, run_at=NOW + 60)
    assert job_id == queue.hasten(CHARM, NOW)
    assert {SPACE} == queue.hot_spaces(NOW)
    assert [job_id] == claimed_ids(queue)
    assert job_id == queue.hasten(CHARM, NOW)


def test_finished_jobs_are_bounded(engine: Engine) -> None:
    """The newest thousand are kept, however many end in one commit, also after a restart."""
    ids: list[int] = []
    for batch in (KEEP_DONE - 10, 30, 1, 40):
        with engine.transaction():
            ids += [poll(engine.queue, charm) for charm in range(batch)]
        with engine.transaction():
            for claim in engine.queue.claim(SPACE, batch, NOW):
                engine.queue.ack(claim)
        engine.reopen()
    kept = [job_id for job_id in ids if engine.queue.find(job_id)]
    assert ids[-KEEP_DONE:] == kept


def test_restart_finds_everything(engine: Engine) -> None:
    """Counts, claims, delays and order are what they were when the process was killed."""
    poll(engine.queue, 1)
    (claim,) = engine.queue.claim(SPACE, 1, NOW)
    poll(engine.queue, 2, run_at=NOW + 9)
    engine.crash(during=lambda: engine.queue.ack(claim))
    queue = engine.queue
    assert [claim] == queue.claimed_jobs()
    assert (1, 1, NOW + 9) == (queue.pending, queue.claimed, queue.next_run_at())
    assert queue.ack(claim)


@pytest.mark.parametrize("end", ["crash", "reopen"])
def test_retry_keeps_its_time_over_a_restart(engine: Engine, end: str) -> None:
    """Whoever opens the queue next waits as long as the one before: delays are not lost."""
    poll(engine.queue)
    (claim,) = engine.queue.claim(SPACE, 1, NOW)
    engine.queue.retry(claim, NOW + 20)
    getattr(engine, end)()
    queue = engine.queue
    queue.bring_near(NOW, NOW + 30)
    assert NOW + 20 == queue.next_run_at()
    assert set() == queue.hot_spaces(NOW + 19.9)
    assert [] == claimed_ids(queue, NOW + 19.9)
    assert {SPACE} == queue.hot_spaces(NOW + 20)
    (claim,) = queue.claim(SPACE, 1, NOW + 20)
    assert (2, NOW + 20) == (claim.job.attempt, claim.job.run_at)


def test_only_what_a_wrong_clock_wrote_is_brought_near(queue: JobQueue) -> None:
    """A retry waits no longer than any may, and what waits for no retry not at all."""
    poll(queue, 1)
    (claim,) = queue.claim(SPACE, 1, NOW)
    queue.retry(claim, NOW + 5000)
    poll(queue, 2, run_at=NOW + 5000)
    queue.bring_near(NOW, NOW + 30)
    assert [2] == [claim.charm_key for claim in queue.claim(SPACE, 10, NOW)]
    assert [] == claimed_ids(queue, NOW + 29)
    assert [1] == [claim.charm_key for claim in queue.claim(SPACE, 10, NOW + 30)]


def test_page_says_all_but_the_event(queue: JobQueue) -> None:
    """A listed job has its charm, stream, state and time; however large its event, and its name."""
    long_name = "s" * 3000
    job_id = queue.put_send(
        SPACE,
        CHARM,
        REF,
        long_name,
        b'"' + b"e" * 5000 + b'"',
        run_at=NOW + 9,
        now=NOW,
        is_held=True,
    )
    poll(queue)
    first, second = queue.page(0, 10)
    assert (job_id, REF, long_name, Origin.SEND) == (
        first.job_id,
        first.ref,
        first.stream,
        first.origin,
    )
    assert ("pending", 1, NOW + 9, NOW, True) == (
        first.status,
        first.attempt,
        first.run_at,
        first.created_at,
        first.is_held,
    )
    assert ("bgUpdater", Origin.POLL, False) == (second.stream, second.origin, second.is_held)
    assert [second] == queue.page(first.job_id, 10)
    assert [first] == queue.page(0, 1, charm_key=CHARM)
    assert second.job_id == queue.newest()


def test_withdrawn_first_event_lets_the_next_one_run(queue: JobQueue) -> None:
    """What waited behind an event that was taken back runs, in its order."""
    first, second, third = (send(queue) for _ in range(3))
    assert 2 == queue.withdraw(CHARM, [first, second])
    assert [third] == claimed_ids(queue)
    assert 0 == queue.withdraw(CHARM, [third, first]), "it is under way, or gone"
    assert (0, 1) == (queue.pending, queue.claimed)


def test_withdrawn_event_of_a_disabled_charm_frees_nobody(queue: JobQueue) -> None:
    """The events of a disabled charm wait on, whatever of them is taken back."""
    first, _second = send(queue), send(queue)
    queue.hold(CHARM)
    queue.withdraw(CHARM, [first])
    assert [] == claimed_ids(queue)


def test_suspect_that_is_paused_is_passed_over(engine: Engine, queue: JobQueue) -> None:
    """A suspect of a paused charm waits for it to be resumed; others do not wait for it."""
    one, other = poll(queue, 1), poll(queue, 2)
    for _ in range(SUSPECT_DELIVERIES):
        for claim in queue.claim(SPACE, 2, NOW):
            queue.rescue(claim, NOW)

    def is_paused(space_key: int, charm_key: int) -> bool:
        return charm_key == 1

    passed = queue.claim_suspect(NOW, is_paused=is_paused)
    assert passed is not None
    assert other == passed.job.job_id
    assert not queue.has_suspect(NOW, is_paused=is_paused)
    last = queue.claim_suspect(NOW)
    assert last is not None
    assert one == last.job.job_id
