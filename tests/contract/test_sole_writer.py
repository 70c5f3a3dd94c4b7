"""What is remembered because nobody else writes: never ahead of what is on disk."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import strategies as st

from bg_charm_service.domain.model import CharmRef, Origin
from tests.contract.engine import ENGINES, Engine
from tests.contract.examples import on_each_engine

NOW = 1000.0
REF = CharmRef("did:key:space", "charm")


class Stop(Exception):
    """Ends a transaction."""


def poll(engine: Engine, charm: int = 7, run_at: float = NOW) -> None:
    """Queue a poll."""
    engine.queue.put_poll(
        1, charm, REF, "bgUpdater", b"{}", origin=Origin.POLL, run_at=run_at, now=NOW
    )


def counts(engine: Engine) -> tuple[int, int, int]:
    """Give what the backlog counts, which the queue says too."""
    backlog, queue = engine.database.sole_writer.backlog, engine.queue
    assert (backlog.pending, backlog.claimed, backlog.dead) == (
        queue.pending,
        queue.claimed,
        queue.dead,
    )
    return queue.pending, queue.claimed, queue.dead


def test_backlog_counts_what_is_committed(engine: Engine) -> None:
    """Numbers change with the commit, not before, and not at all when there is none."""
    with engine.transaction():
        poll(engine, 1)
        poll(engine, 2)
        assert (0, 0, 0) == counts(engine)
    assert (2, 0, 0) == counts(engine)
    with suppress(Stop), engine.transaction():
        engine.queue.claim(1, 2, NOW)
        raise Stop
    assert (2, 0, 0) == counts(engine)
    with engine.transaction():
        first, second = engine.queue.claim(1, 2, NOW)
    assert (0, 2, 0) == counts(engine)
    with engine.transaction():
        engine.queue.bury(first)
        with suppress(Stop), engine.database.savepoint():
            engine.queue.ack(second)
            raise Stop
    assert (0, 1, 1) == counts(engine)
    engine.crash()
    assert (0, 1, 1) == counts(engine)
    engine.queue.recount()
    assert (0, 1, 1) == counts(engine)


def test_backlog_forgets_no_space_that_has_a_job(engine: Engine) -> None:
    """A claim that is undone leaves the space one to look into."""
    backlog = engine.database.sole_writer.backlog
    with engine.transaction():
        poll(engine)
    assert {1} == backlog.hot_spaces(NOW)
    with suppress(Stop), engine.transaction():
        engine.queue.claim(1, 5, NOW)
        raise Stop
    assert {1} == backlog.hot_spaces(NOW) == backlog.spaces_left_hot()
    with engine.transaction():
        engine.queue.claim(1, 5, NOW)
    assert set() == backlog.hot_spaces(NOW) == backlog.spaces_left_hot()


def test_backlog_knows_when_the_next_job_is_ready(engine: Engine) -> None:
    """A job of later makes its space hot at its time, after a restart too."""
    poll(engine, run_at=NOW + 9)
    for _ in range(2):
        backlog = engine.database.sole_writer.backlog
        assert (set(), NOW + 9) == (backlog.hot_spaces(NOW), backlog.next_run_at())
        engine.crash()
    backlog = engine.database.sole_writer.backlog
    assert ({1}, None) == (backlog.hot_spaces(NOW + 9), backlog.next_run_at())


def test_changes_do_not_outlive_the_process(engine: Engine) -> None:
    """Numbers are compared within one life, in which a run under way ends."""
    changes = engine.database.sole_writer.changes
    before = changes.since(7), changes.since(8)
    changes.mark(7)
    assert (True, False) == (before[0] != changes.since(7), before[1] != changes.since(8))
    between = changes.since(7)
    changes.mark_all()
    assert between != changes.since(7)
    assert before[1] != changes.since(8)


def test_due_charms_come_in_order(engine: Engine) -> None:
    """The first ones first, those of later not at all, no more than are asked for."""
    due_times = engine.database.sole_writer.due_times
    assert (None, False) == (due_times.next_due, 1 in due_times)
    for charm, due in ((1, 5.0), (2, 3.0), (3, 9.0), (4, 4.0)):
        due_times.place(charm, due)
    assert (3.0, 9.0, None) == (due_times.next_due, due_times.at(3), due_times.at(5))
    assert [(3.0, 2), (4.0, 4)] == due_times.take(7.0, 2)
    assert [(5.0, 1)] == due_times.take(7.0, 2)
    assert [] == due_times.take(7.0, 2)
    assert 9.0 == due_times.next_due


def test_charm_that_is_placed_anew_is_due_once(engine: Engine) -> None:
    """The newest time counts, also where it is the same, and who is forgotten is not due."""
    due_times = engine.database.sole_writer.due_times
    for charm, due in ((1, 1.0), (1, 4.0), (1, 4.0), (2, 2.0)):
        due_times.place(charm, due)
    due_times.forget(2)
    due_times.forget(3)
    assert (True, False) == (1 in due_times, 2 in due_times)
    assert [] == due_times.take(3.0, 9)
    assert [(4.0, 1)] == due_times.take(4.0, 9)


def test_taken_charms_are_put_back(engine: Engine) -> None:
    """Those whose polls were not queued after all are due again, as they were."""
    due_times = engine.database.sole_writer.due_times
    due_times.place(1, 1.0)
    due_times.place(2, 2.0)
    taken = due_times.take(5.0, 9)
    due_times.place(1, 60.0)
    due_times.restore(taken)
    assert (1.0, 2.0, 1.0) == (due_times.at(1), due_times.at(2), due_times.next_due)
    assert taken == due_times.take(5.0, 9)


moments = st.sampled_from([1.0, 2.0, 3.0, 4.0])
steps = st.one_of(
    st.tuples(st.just("place"), st.integers(1, 4), moments),
    st.tuples(st.just("forget"), st.integers(1, 4), moments),
    st.tuples(st.just("take"), st.integers(1, 3), moments),
)


@on_each_engine(50, script=st.lists(steps, max_size=30))
def test_due_times_are_those_of_a_plain_table(
    name: str, script: list[tuple[str, int, float]]
) -> None:
    """Whatever was placed, forgotten and taken: who is due is who a table would say."""
    engine = ENGINES[name]()
    due_times = engine.database.sole_writer.due_times
    table: dict[int, float] = {}
    for what, number, moment in script:
        if what == "place":
            due_times.place(number, moment)
            table[number] = moment
        elif what == "forget":
            due_times.forget(number)
            table.pop(number, None)
        else:
            expected = sorted((due, key) for key, due in table.items() if due <= moment)[:number]
            assert expected == due_times.take(moment, number)
            for due, key in expected:
                # As the planner does: each has a later turn.
                due_times.place(key, due + 10)
                table[key] = due + 10
        assert min(table.values(), default=None) == due_times.next_due
        assert table == {key: due_times.at(key) for key in table}
    engine.close()


def test_backlog_knows_since_when_a_job_is_ready(engine: Engine) -> None:
    """The oldest one counts; what was taken counts no more, and nothing when all was taken."""
    backlog = engine.database.sole_writer.backlog
    assert None is backlog.ready_since(NOW)
    for charm, run_at in ((1, NOW), (2, NOW + 5), (3, NOW + 90)):
        with engine.transaction():
            poll(engine, charm, run_at)
    assert NOW == backlog.ready_since(NOW + 9)
    backlog.hot_spaces(NOW + 9)
    assert NOW == backlog.ready_since(NOW + 9)
    with engine.transaction():
        (first,) = engine.queue.claim(1, 1, NOW + 9)
    assert NOW <= (backlog.ready_since(NOW + 9) or 0.0) <= NOW + 5
    with engine.transaction():
        engine.queue.claim(1, 5, NOW + 9)
    assert None is backlog.ready_since(NOW + 9)
    with engine.transaction():
        engine.queue.ack(first)
    backlog.hot_spaces(NOW + 20)
    # Its charm has just become free: what there may be of it has not waited before.
    assert NOW + 20 == backlog.ready_since(NOW + 20)
    with engine.transaction():
        engine.queue.claim(1, 5, NOW + 20)
    assert None is backlog.ready_since(NOW + 20)


def test_backlog_is_not_misled_by_a_retry(engine: Engine) -> None:
    """One that is made first, though its time came last, does not make the others younger."""
    backlog = engine.database.sole_writer.backlog
    with engine.transaction():
        poll(engine, 1)
        (first,) = engine.queue.claim(1, 1, NOW)
    with engine.transaction():
        engine.queue.retry(first, NOW + 50)
        poll(engine, 2, NOW + 20)
        poll(engine, 3, NOW + 30)
    backlog.hot_spaces(NOW + 60)
    with engine.transaction():
        (again,) = engine.queue.claim(1, 1, NOW + 60)
    assert first.job.job_id == again.job.job_id
    assert NOW + 20 >= (backlog.ready_since(NOW + 60) or 0.0)
