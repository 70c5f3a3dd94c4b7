"""Cells, secrets and links: values with versions, encrypted where they must be."""

from __future__ import annotations

import json

import pytest

from bg_charm_service.domain.errors import AuthorizationError, Conflict, InvalidInput
from bg_charm_service.domain.identity import Identity
from bg_charm_service.domain.model import CharmRef, CharmSchema, FieldKind, FieldSchema
from bg_charm_service.storage.contract import Store
from bg_charm_service.storage.records import INLINE_BYTES, CellValue, CharmRecord, Link
from tests.contract.engine import Engine

OWNER = Identity.from_passphrase("the owner")
FRIEND = Identity.from_passphrase("a friend")
NOW = 1000.0
TOKEN = b'"correct horse battery staple"'


def schema(**kinds: FieldKind) -> CharmSchema:
    """Describe a class with these fields."""
    fields = tuple(FieldSchema(name, kind, b"null") for name, kind in kinds.items())
    return CharmSchema("Mail", "Mail", "", fields, ("bgUpdater",))


def add_charm(store: Store, name: str = "mail", space: str = "did:key:space") -> CharmRecord:
    """Add a charm with a plain and a secret field."""
    home = store.spaces.ensure(space, name="", owner=OWNER.did(), now=NOW)
    return store.charms.add(
        CharmRef(space, name),
        home.space_key,
        cause=name,
        file_name="mail.py",
        source="",
        schema=schema(count=FieldKind.VALUE, token=FieldKind.SECRET, mails=FieldKind.VALUE),
        now=NOW,
    )


@pytest.fixture
def store(engine: Engine) -> Store:
    """A store whose data key is there."""
    engine.store.secrets.create(OWNER.did())
    return engine.store


def values_of(cells: dict[str, CellValue]) -> dict[str, bytes | None]:
    """The values of a snapshot without their versions."""
    return {name: cell.value for name, cell in cells.items()}


def test_field_has_a_version_that_grows(store: Store) -> None:
    """Each write makes a newer version of that field, and of no other."""
    charm = add_charm(store)
    store.cells.write(charm, "mails", b"[]")
    seen = []
    for value in (b"1", b"2", b"2"):
        store.cells.write(charm, "count", value)
        seen.append(store.cells.versions(charm.charm_key))
    assert {"count": b"2", "mails": b"[]"} == values_of(store.cells.snapshot(charm))
    counts = [versions["count"] for versions in seen]
    assert sorted(set(counts)) == counts
    assert 1 == len({versions["mails"] for versions in seen})


def test_dropped_field_never_gets_an_old_version_again(store: Store) -> None:
    """A run that started on the field before cannot take the new one for it."""
    charm = add_charm(store)
    store.cells.write(charm, "count", b"1")
    before = store.cells.versions(charm.charm_key)["count"]
    store.cells.drop(charm.charm_key, "count")
    assert store.cells.read(charm, "count") is None
    store.cells.write(charm, "count", b"1")
    assert before != store.cells.versions(charm.charm_key)["count"]


def test_absent_secret_is_shown_as_absent(store: Store) -> None:
    """Whether a secret is there is no secret: null shows, anything else is redacted."""
    charm = add_charm(store)
    store.cells.write(charm, "token", b"null")
    assert b"null" == bytes(store.cells.state(charm)["token"])
    store.cells.write(charm, "token", TOKEN)
    assert {"$secret": True} == json.loads(bytes(store.cells.state(charm)["token"]))


def test_large_value_is_left_out_of_the_snapshot(store: Store) -> None:
    """A run does not pay for what it may not need; the value is there when it is asked for."""
    charm = add_charm(store)
    exact = b'"' + b"x" * (INLINE_BYTES - 2) + b'"'
    store.cells.write(charm, "count", exact)
    store.cells.write(charm, "mails", exact[:-1] + b'x"')
    assert {"count": exact, "mails": None} == values_of(store.cells.snapshot(charm))
    mails = store.cells.read(charm, "mails")
    assert mails is not None
    assert exact[:-1] + b'x"' == mails.value


def test_state_is_shown_as_the_original_stored_it(store: Store) -> None:
    """`$NAME`, the fields in the order of the class, then the streams."""
    charm = add_charm(store)
    store.cells.write(charm, "mails", b"[1]")
    store.cells.write(charm, "count", b"7")
    state = {name: json.loads(bytes(raw)) for name, raw in store.cells.state(charm).items()}
    expected = {"$NAME": "Mail", "count": 7, "mails": [1], "bgUpdater": {"$stream": True}}
    assert list(expected.items()) == list(state.items())


def test_secret_is_encrypted_on_disk(engine: Engine, store: Store) -> None:
    """The plain text is nowhere in the files, before and after a restart; the value is."""
    charm = add_charm(store)
    store.cells.write(charm, "token", TOKEN)
    store.cells.write(charm, "count", b'"a plain value"')
    written = store.cells.read(charm, "token")
    assert written is not None
    assert TOKEN == written.value == store.cells.snapshot(charm)["token"].value
    for _ in range(2):
        disk = engine.stored_bytes()
        assert b"a plain value" in disk
        assert not any(word in disk for word in TOKEN.strip(b'"').split())
        engine.reopen()
    engine.store.secrets.unlock(OWNER)
    assert written == engine.store.cells.read(charm, "token")


def test_secret_is_never_shown(store: Store) -> None:
    """State shows that there is a secret, also of a field that has just become one."""
    charm = add_charm(store)
    store.cells.write(charm, "token", TOKEN)
    store.cells.write(charm, "count", TOKEN)
    store.charms.replace_source(
        charm.charm_key,
        file_name="mail.py",
        source="now it is a secret",
        schema=schema(count=FieldKind.SECRET, token=FieldKind.VALUE),
        now=NOW,
    )
    updated = store.charms.get(charm.charm_key)
    assert updated is not None
    shown = {name: bytes(raw) for name, raw in store.cells.state(updated).items()}
    assert b'{"$secret":true}' == shown["count"] == shown["token"]


def test_secret_stays_in_its_cell(store: Store) -> None:
    """What was encrypted for one place does not decrypt in another, however they are spelled."""
    sealed = store.secrets.encrypt(TOKEN, '["a","b","c"]')
    assert TOKEN == store.secrets.decrypt(sealed, '["a","b","c"]')
    with pytest.raises(InvalidInput):
        store.secrets.decrypt(sealed, '["a","b/c",""]')


def test_data_key_is_handed_over(engine: Engine, store: Store) -> None:
    """One identity opens it in the place of another; what it encrypted is read as before."""
    sealed = store.secrets.encrypt(TOKEN, "here")
    store.secrets.hand_over(OWNER.did(), FRIEND.did())
    engine.reopen()
    with pytest.raises(AuthorizationError):
        engine.store.secrets.unlock(OWNER)
    engine.store.secrets.unlock(FRIEND)
    assert TOKEN == engine.store.secrets.decrypt(sealed, "here")


def test_data_key_opens_for_those_it_was_granted(engine: Engine, store: Store) -> None:
    """After a restart secrets are locked until a granted identity opens them."""
    charm = add_charm(store)
    store.cells.write(charm, "token", TOKEN)
    engine.reopen()
    with pytest.raises(AuthorizationError, match="locked"):
        engine.store.cells.read(charm, "token")
    with pytest.raises(AuthorizationError, match=FRIEND.did()):
        engine.store.secrets.unlock(FRIEND)
    engine.store.secrets.unlock(OWNER)
    engine.store.secrets.grant(FRIEND.did())
    engine.reopen()
    engine.store.secrets.unlock(FRIEND)
    opened = engine.store.cells.read(charm, "token")
    assert opened is not None
    assert TOKEN == opened.value


def test_data_key_is_made_once(store: Store) -> None:
    """A second key would make every secret unreadable, so there is none."""
    with pytest.raises(Conflict):
        store.secrets.create(FRIEND.did())


def test_link_reads_and_writes_inside_a_value(store: Store) -> None:
    """A path leads into the target's field, and a write there leaves the rest as it is."""
    source, target = add_charm(store, "source"), add_charm(store, "target")
    store.cells.write(target, "mails", b'{"inbox":[{"read":false},{"read":false}],"n":2}')
    link = Link("inbox", target.charm_key, ("mails", "inbox", "1", "read"), is_writable=True)
    store.links.put(source.charm_key, link)
    assert [link] == store.links.of(source.charm_key)
    assert ([source.charm_key], []) == (
        store.links.writers_of(target.charm_key),
        store.links.writers_of(source.charm_key),
    )
    before = store.links.read(target, link)
    assert b"false" == before.value
    store.links.write(target, link, b"true")
    after = store.links.read(target, link)
    assert b"true" == after.value
    assert before.version < after.version == store.links.version(target, link)
    whole = store.cells.read(target, "mails")
    assert whole is not None
    assert b'{"inbox":[{"read":false},{"read":true}],"n":2}' == whole.value


def test_link_to_a_whole_charm_is_read_only(store: Store) -> None:
    """It shows the state, secrets redacted, at a version that grows with every field's."""
    source, target = add_charm(store, "source"), add_charm(store, "target")
    link = Link("other", target.charm_key, (), is_writable=True)
    store.links.put(source.charm_key, link)
    store.cells.write(target, "token", TOKEN)
    before = store.links.version(target, link)
    store.cells.write(target, "count", b"1")
    found = store.links.read(target, store.links.of(source.charm_key)[0])
    assert before < found.version == store.links.version(target, link)
    assert found.value is not None
    assert {"$secret": True} == json.loads(found.value)["token"]
    with pytest.raises(InvalidInput, match="read-only"):
        store.links.write(target, link, b"{}")


def test_link_to_nothing_says_so(store: Store) -> None:
    """No value, no such place, or no such charm any more: the field and the target are named."""
    target = add_charm(store, "target")
    link = Link("inbox", target.charm_key, ("mails",), is_writable=False)
    with pytest.raises(InvalidInput, match=r"'inbox' links to .*/target/mails, which has no value"):
        store.links.read(target, link)
    assert 0 == store.links.version(target, link)
    store.charms.mark_removed(target.charm_key, NOW)
    removed = store.charms.get(target.charm_key)
    assert removed is not None
    with pytest.raises(InvalidInput, match="which was removed"):
        store.links.read(removed, link)


def test_link_is_replaced_and_dropped(store: Store) -> None:
    """A field has one link at most, and ends with its charm."""
    source, target = add_charm(store, "source"), add_charm(store, "target")
    for field, path in (("a", ("count",)), ("a", ("mails",)), ("b", ())):
        store.links.put(source.charm_key, Link(field, target.charm_key, path, is_writable=False))
    assert [("a", ("mails",)), ("b", ())] == [
        (link.field, link.path) for link in store.links.of(source.charm_key)
    ]
    store.links.drop(source.charm_key, "a")
    store.charms.mark_removed(source.charm_key, NOW)
    assert [] == store.links.of(source.charm_key)


def test_purged_target_takes_links_along(store: Store) -> None:
    """A link does not outlive the last trace of its target."""
    source, target = add_charm(store, "source"), add_charm(store, "target")
    store.links.put(source.charm_key, Link("a", target.charm_key, ("count",), is_writable=False))
    store.charms.mark_removed(target.charm_key, NOW)
    assert 1 == store.charms.purge_removed(NOW + 1, limit=9)
    assert [] == store.links.of(source.charm_key)
