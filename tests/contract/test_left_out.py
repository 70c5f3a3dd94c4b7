"""Claims that leave out integrations: nothing of them comes, and nothing else is held up."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st

from bg_charm_service.domain.model import Origin
from bg_charm_service.storage.contract import JobQueue
from bg_charm_service.storage.records import CharmRecord, Claim, Pausing
from tests.contract.engine import ENGINES, Engine
from tests.contract.examples import on_each_engine
from tests.contract.test_store import add_charm

NOW = 1000.0
MAIL, NEWS = frozenset({"mail"}), frozenset({"news"})


def charm_of(engine: Engine, name: str, integration: str) -> CharmRecord:
    """Add a charm that an integration contributed; an empty name for none."""
    with engine.transaction():
        charm = add_charm(engine.store, name)
        if integration:
            engine.store.registrations.put(charm.charm_key, integration, NOW)
    return charm


def poll(queue: JobQueue, charm: CharmRecord, run_at: float = NOW) -> int:
    """Queue a poll, which must be new."""
    job_id = queue.put_poll(
        charm.space_key,
        charm.charm_key,
        charm.ref,
        "bgUpdater",
        b"{}",
        origin=Origin.POLL,
        run_at=run_at,
        now=NOW,
    )
    assert job_id is not None
    return job_id


def test_job_says_whose_charm_it_runs(engine: Engine) -> None:
    """A claim names the integration of its charm, also of jobs that waited before it mattered."""
    mail, nobodys = charm_of(engine, "a", "mail"), charm_of(engine, "b", "")
    early = poll(engine.queue, mail)
    with engine.transaction():
        engine.queue.note_integrations()
    late = poll(engine.queue, nobodys)
    claims = engine.queue.claim(mail.space_key, 10, NOW)
    assert {early: "mail", late: ""} == {each.job.job_id: each.integration for each in claims}


def test_left_out_jobs_wait_and_others_come(engine: Engine) -> None:
    """However many jobs of one integration are ahead, the others are claimed in their order."""
    mails = [charm_of(engine, f"mail{number}", "mail") for number in range(30)]
    news, mine = charm_of(engine, "news", "news"), charm_of(engine, "mine", "")
    with engine.transaction():
        engine.queue.note_integrations()
        for charm in mails:
            poll(engine.queue, charm)
        expected = [poll(engine.queue, news), poll(engine.queue, mine)]
    space = news.space_key
    claims = engine.queue.claim(space, 5, NOW, without=MAIL)
    assert expected == [claim.job.job_id for claim in claims]
    assert [] == engine.queue.claim(space, 5, NOW, without=MAIL)
    assert 5 == len(engine.queue.claim(space, 5, NOW))


def test_space_is_hot_for_others_only(engine: Engine) -> None:
    """A space with nothing but left out jobs is not looked into in vain, and not forgotten."""
    mail = charm_of(engine, "mail", "mail")
    space = mail.space_key
    with engine.transaction():
        engine.queue.note_integrations()
        poll(engine.queue, mail)
    assert {space} == engine.queue.hot_spaces(NOW, without=MAIL)
    assert [] == engine.queue.claim(space, 1, NOW, without=MAIL)
    assert set() == engine.queue.hot_spaces(NOW, without=MAIL)
    assert set() == engine.queue.hot_spaces(NOW, without=MAIL | NEWS)
    assert {space} == engine.queue.hot_spaces(NOW, without=NEWS)
    assert {space} == engine.queue.hot_spaces(NOW)
    news = charm_of(engine, "news", "news")
    with engine.transaction():
        poll(engine.queue, news)
    assert {space} == engine.queue.hot_spaces(NOW, without=MAIL)


def test_requeued_job_says_whose_it_is(engine: Engine) -> None:
    """A dead letter that is brought back counts for the integration of its charm."""
    mail = charm_of(engine, "mail", "mail")
    with engine.transaction():
        poll(engine.queue, mail)
        (claim,) = engine.queue.claim(mail.space_key, 1, NOW)
        engine.queue.bury(claim)
    with engine.transaction():
        engine.queue.note_integrations()
        assert engine.queue.requeue(claim.job.job_id, NOW) is not None
    assert [] == engine.queue.claim(mail.space_key, 1, NOW, without=MAIL)
    assert 1 == len(engine.queue.claim(mail.space_key, 1, NOW, without=NEWS))


integrations = st.sampled_from(["mail", "news", ""])
steps = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 5), st.sampled_from([0.0, 0.0, 2.0])),
    st.tuples(st.just("claim"), st.sets(integrations, max_size=2), st.integers(1, 3)),
    st.tuples(st.just("ack"), st.integers(0, 5), st.none()),
    st.tuples(st.just("wait"), st.integers(1, 3), st.none()),
)


@on_each_engine(
    30,
    owners=st.lists(integrations, min_size=6, max_size=6),
    script=st.lists(steps, max_size=25),
)
def test_claims_are_those_of_the_plain_rule(
    name: str, owners: list[str], script: list[tuple[str, object, object]]
) -> None:
    """Whatever happened before: what is ready and not left out, oldest first, none overlooked."""
    engine = ENGINES[name]()
    try:
        _follow(engine, owners, script)
    finally:
        engine.close()


def _follow(engine: Engine, owners: list[str], script: list[tuple[str, object, object]]) -> None:
    charms = [charm_of(engine, str(number), owner) for number, owner in enumerate(owners)]
    waiting: dict[int, tuple[int, float]] = {}
    claimed: dict[int, Claim] = {}
    now, queue, space = NOW, engine.queue, charms[0].space_key
    with engine.transaction():
        queue.note_integrations()
    for what, subject, detail in script:
        with engine.transaction():
            if what == "put":
                assert isinstance(subject, int)
                assert isinstance(detail, float)
                live = {place for place, _ in waiting.values()} | set(claimed)
                if subject not in live:
                    waiting[poll(queue, charms[subject], now + detail)] = (subject, now + detail)
            elif what == "claim":
                assert isinstance(subject, set)
                assert isinstance(detail, int)
                ready = [
                    job_id
                    for job_id, (place, run_at) in sorted(waiting.items())
                    if run_at <= now and owners[place] not in subject
                ]
                assert (space in queue.hot_spaces(now, without=subject)) or not ready
                claims = queue.claim(space, detail, now, without=subject)
                assert ready[:detail] == [claim.job.job_id for claim in claims]
                for claim in claims:
                    place, _ = waiting.pop(claim.job.job_id)
                    assert owners[place] == claim.integration
                    claimed[place] = claim
            elif what == "ack" and subject in claimed:
                assert isinstance(subject, int)
                assert queue.ack(claimed.pop(subject))
            elif what == "wait":
                assert isinstance(subject, int)
                now += subject
    assert Counter(pending=len(waiting), claimed=len(claimed)) == Counter(
        pending=queue.pending, claimed=queue.claimed
    )


def test_what_is_paused_and_what_is_left_out_both_wait(engine: Engine) -> None:
    """While a charm is paused, the integrations that have enough are left out all the same."""
    with engine.transaction():
        engine.queue.note_integrations()
    mail, paused, mine = (
        charm_of(engine, name, label)
        for name, label in (("mail", "mail"), ("paused", ""), ("mine", ""))
    )
    jobs = {charm.charm_key: poll(engine.queue, charm) for charm in (mail, paused, mine)}
    pausing = Pausing(charm_keys=frozenset([paused.charm_key]))
    claims = engine.queue.claim(mail.space_key, 10, NOW, without=MAIL, pausing=pausing)
    assert [jobs[mine.charm_key]] == [claim.job.job_id for claim in claims]
    engine.queue.look_again(mail.space_key)
    claims = engine.queue.claim(mail.space_key, 10, NOW)
    rest = [jobs[mail.charm_key], jobs[paused.charm_key]]
    assert rest == [claim.job.job_id for claim in claims]
