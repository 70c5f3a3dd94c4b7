"""What storage promises of tokens, sessions, nonces and the audit log."""

from __future__ import annotations

from bg_charm_service.storage.contract import Store
from bg_charm_service.storage.records import KEPT_AUDIT_ENTRIES
from tests.contract.engine import Engine


def make(store: Store, name: str, *, expires_at: float | None = None) -> None:
    """Add a token whose hash is its name."""
    store.tokens.add(
        name.encode(),
        name=name,
        space=None,
        read_only=False,
        made_by="operator",
        expires_at=expires_at,
        now=100.0,
    )


def test_a_token_is_valid_until_it_ends(store: Store) -> None:
    """By time, or because it was revoked; its record stays."""
    make(store, "ending", expires_at=200.0)
    make(store, "revoked")
    ending, revoked = store.tokens.all()
    assert ending.is_valid(199.9)
    assert not ending.is_valid(200.0)
    store.tokens.revoke(revoked.token_id, 150.0)
    found = store.tokens.find(b"revoked")
    assert found is not None
    assert (150.0, False) == (found.revoked_at, found.is_valid(120.0))
    assert store.tokens.named("revoked") is None
    make(store, "revoked2")
    assert 3 == len(store.tokens.all())


def test_use_is_written_once_a_minute(store: Store) -> None:
    """Requests in a row cost one write."""
    make(store, "used")
    for now, expected in ((1000.0, 1000.0), (1059.0, 1000.0), (1060.0, 1060.0), (500.0, 500.0)):
        token = store.tokens.find(b"used")
        assert token is not None
        store.tokens.note_use(token, now)
        again = store.tokens.find(b"used")
        assert again is not None
        assert expected == again.last_used_at


def test_sessions_end(store: Store) -> None:
    """By time, or when they are dropped; old ones go when another begins."""
    store.sessions.add(b"one", None, expires_at=200.0, now=100.0)
    assert store.sessions.find(b"one", 199.0)
    assert store.sessions.find(b"one", 200.0) is None
    store.sessions.add(b"two", None, expires_at=400.0, now=300.0)
    assert not store.sessions.drop(b"one")
    assert store.sessions.drop(b"two")
    assert store.sessions.find(b"two", 301.0) is None


def test_sessions_are_listed(store: Store) -> None:
    """Those that are not over, the newest first."""
    store.sessions.add(b"over", None, expires_at=200.0, now=100.0)
    store.sessions.add(b"old", None, expires_at=400.0, now=150.0)
    store.sessions.add(b"new", None, expires_at=400.0, now=160.0)
    assert [b"new", b"old"] == [hashed for hashed, _ in store.sessions.all(200.0)]


def test_a_nonce_is_taken_once(store: Store) -> None:
    """Each signer's nonce is good once while its signature could be; then it is forgotten."""
    assert store.nonces.take("did", "nonce", expires_at=200.0, now=100.0)
    assert not store.nonces.take("did", "nonce", expires_at=200.0, now=199.0)
    assert store.nonces.take("other", "nonce", expires_at=200.0, now=199.0)
    assert store.nonces.take("did", "nonce", expires_at=300.0, now=200.0)


def append(store: Store, number: int) -> None:
    """Add an entry to the audit log."""
    store.audit.append(at=float(number), caller="somebody", action=f"change {number}")


def test_the_audit_log_is_read_from_the_newest(store: Store) -> None:
    """Pages go back in time, without gap or repetition."""
    for number in range(1, 6):
        append(store, number)
    first = store.audit.newest(None, 2)
    rest = store.audit.newest(first[-1].entry_id, 10)
    assert [5, 4, 3, 2, 1] == [int(each.at) for each in (*first, *rest)]


def test_the_audit_log_is_bounded(engine: Engine) -> None:
    """Only what a hundred thousand newer entries stand before is dropped."""
    engine.fill_audit(KEPT_AUDIT_ENTRIES)
    with engine.transaction():
        for number in range(KEPT_AUDIT_ENTRIES + 1, KEPT_AUDIT_ENTRIES + 3):
            append(engine.store, number)
    audit = engine.store.audit
    assert [KEPT_AUDIT_ENTRIES + 2] == [int(each.at) for each in audit.newest(None, 1)]
    assert [4, 3] == [int(each.at) for each in audit.newest(5, 10)]


def test_an_entry_shares_the_fate_of_its_change(engine: Engine) -> None:
    """A change that is not committed leaves no entry, one that is leaves a whole one."""
    engine.crash(during=lambda: append(engine.store, 1))
    assert [] == engine.store.audit.newest(None, 10)
    with engine.transaction():
        engine.store.audit.append(
            at=2.0, caller="a", action="b", space="c", charm_id="d", detail="e"
        )
    engine.reopen()
    (entry,) = engine.store.audit.newest(None, 10)
    assert (2.0, "a", "b", "c", "d", "e") == (
        entry.at,
        entry.caller,
        entry.action,
        entry.space,
        entry.charm_id,
        entry.detail,
    )


def test_spaces_of_an_owner(store: Store) -> None:
    """An owner has the spaces that it made, and those that were granted to it."""
    one = store.spaces.ensure("did:one", name="one", owner="did:a", now=1.0)
    store.spaces.ensure("did:two", name="two", owner="did:b", now=1.0)
    store.spaces.grant(one.space_key, "did:b", granted_by="did:a", now=2.0)
    assert frozenset({"did:one"}) == store.spaces.owned_by("did:a")
    assert frozenset({"did:one", "did:two"}) == store.spaces.owned_by("did:b")
    assert frozenset() == store.spaces.owned_by("did:c")
