"""Lives of the service: what is remembered of its deaths, and that suspects can be cleared."""

from __future__ import annotations

from bg_charm_service.domain.model import CharmRef, Origin
from bg_charm_service.domain.outcomes.suspicion import Life, LifeKind
from bg_charm_service.storage.records import KEPT_LIVES, SUSPECT_DELIVERIES
from tests.contract.engine import Engine

ORDINARY = Life(LifeKind.ORDINARY, 0.0, 0.0)
TRIAL = Life(LifeKind.WITHOUT_SUSPECTS, 15.0, 0.0)


def test_lives_outlast_a_crash(engine: Engine) -> None:
    """The newest life is the one whose length is noted; all are there after a crash, in order."""
    lives = engine.store.lives
    assert [] == lives.all()
    with engine.transaction():
        lives.begin(ORDINARY)
        lives.note(7.5)
        lives.begin(TRIAL)
    engine.crash(during=lambda: engine.store.lives.note(99.0))
    with engine.transaction():
        engine.store.lives.note(3.0)
    engine.reopen()
    expected = [Life(LifeKind.ORDINARY, 0.0, 7.5), Life(LifeKind.WITHOUT_SUSPECTS, 15.0, 3.0)]
    assert expected == engine.store.lives.all()


def test_lives_are_bounded_and_can_be_forgotten(engine: Engine) -> None:
    """A service that dies all day leaves no long list behind."""
    with engine.transaction():
        for number in range(KEPT_LIVES + 5):
            engine.store.lives.begin(Life(LifeKind.ORDINARY, 0.0, float(number)))
    assert [float(n) for n in range(5, KEPT_LIVES + 5)] == [
        life.lived_seconds for life in engine.store.lives.all()
    ]
    with engine.transaction():
        engine.store.lives.forget()
    assert [] == engine.store.lives.all()


def test_nobody_is_a_suspect_once_deliveries_are_forgotten(engine: Engine) -> None:
    """A job that was handed out three times is claimed among the others again."""
    queue = engine.queue
    with engine.transaction():
        queue.put_poll(
            1,
            7,
            CharmRef("did:key:space", "charm"),
            "bgUpdater",
            b"{}",
            origin=Origin.POLL,
            run_at=0.0,
            now=0.0,
        )
    for _ in range(SUSPECT_DELIVERIES):
        with engine.transaction():
            (claim,) = queue.claim(1, 1, 1.0)
            queue.rescue(claim, 0.0)
    assert queue.has_suspect(1.0)
    with engine.transaction():
        assert [] == list(queue.claim(1, 1, 1.0))
        queue.forget_deliveries()
    assert not queue.has_suspect(1.0)
    with engine.transaction():
        (claim,) = queue.claim(1, 1, 1.0)
    assert 1 == claim.job.deliveries
