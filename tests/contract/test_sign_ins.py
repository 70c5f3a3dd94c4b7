"""What is kept of sign-ins and of clients at providers: encrypted, and gone with their charm."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import Identity
from bg_charm_service.domain.model import CharmRef, CharmSchema, FieldKind, FieldSchema
from bg_charm_service.domain.oauth import OAuthClient, SignInKey
from bg_charm_service.storage.contract import Store
from bg_charm_service.storage.records import CharmRecord, Link, SignInRecord, StoredClient
from tests.contract.engine import Engine

OWNER = Identity.from_passphrase("the owner")
NOW = 1000.0

STORED = json.dumps({"token": "shown to runs", "refreshToken": "shown to nobody"}).encode()


@pytest.fixture
def store(engine: Engine) -> Store:
    """A store whose data key is there."""
    engine.store.secrets.create(OWNER.did())
    return engine.store


def add_charm(store: Store, name: str = "mail") -> CharmRecord:
    """Add a charm with a sign-in."""
    home = store.spaces.ensure("did:key:space", name="", owner=OWNER.did(), now=NOW)
    fields = (
        FieldSchema("auth", FieldKind.OAUTH, None, "google", ("mail",)),
        FieldSchema("count", FieldKind.VALUE, b"0"),
    )
    return store.charms.add(
        CharmRef("did:key:space", name),
        home.space_key,
        cause=name,
        file_name="mail.py",
        source="",
        schema=CharmSchema("Mail", "Mail", "", fields, ("bgUpdater",)),
        now=NOW,
    )


def record(charm: CharmRecord, **more: Any) -> SignInRecord:
    """A sign-in of a charm."""
    key = SignInKey(charm.charm_key, "auth")
    return SignInRecord(key, "google", 5000.0, NOW, "a hash", **more)


def test_a_sign_in_is_replaced_and_forgotten(store: Store) -> None:
    """There is one for a field."""
    charm = add_charm(store)
    asked = record(charm, asked_at=NOW, problem="refused")

    store.sign_ins.put(record(charm))
    store.sign_ins.put(asked)

    assert [asked] == store.sign_ins.all()
    assert asked == store.sign_ins.get(asked.key)
    assert (True, False) == (store.sign_ins.drop(asked.key), store.sign_ins.drop(asked.key))
    assert store.sign_ins.get(asked.key) is None


def test_it_goes_with_its_charm(store: Store) -> None:
    """A charm that comes back has to be signed in anew."""
    charm = add_charm(store)
    store.sign_ins.put(record(charm))
    store.cells.write(charm, "auth", STORED)

    store.charms.mark_removed(charm.charm_key, NOW)
    again = add_charm(store)

    assert again.charm_key == charm.charm_key
    assert [] == store.sign_ins.all()
    assert store.cells.read(again, "auth") is None


def test_what_a_class_wants_is_kept_with_it(store: Store) -> None:
    """Where one signs in, and for what."""
    found = store.charms.get(add_charm(store).charm_key)
    assert found is not None
    assert ("google", ("mail",)) == (found.schema.fields[0].provider, found.schema.fields[0].scopes)


def test_a_link_to_a_sign_in_never_gives_what_it_is_renewed_with(store: Store) -> None:
    """Neither as a whole, nor a part, nor with the whole charm."""
    charm = add_charm(store)
    store.cells.write(charm, "auth", STORED)

    def read(*path: str) -> Any:
        link = Link("auth", charm.charm_key, path, is_writable=False)
        return json.loads(store.links.read(charm, link).value or b"null")

    assert {"token": "shown to runs"} == read("auth")
    assert "shown to runs" == read("auth", "token")
    assert {"$secret": True} == read()["auth"]
    with pytest.raises(InvalidInput, match="There is nothing at"):
        read("auth", "refreshToken")


def test_a_token_that_was_renewed_moves_nothing(store: Store) -> None:
    """What is linked to a sign-in has the same version after it, and what is beside it another."""
    charm = add_charm(store)
    store.cells.write(charm, "auth", STORED)
    store.cells.write(charm, "count", b"1")
    links = [
        Link("auth", charm.charm_key, path, is_writable=False)
        for path in (("auth",), ("auth", "token"), (), ("count",))
    ]
    before = [store.links.read(charm, one).version for one in links]

    store.cells.write(charm, "auth", STORED)
    assert before == [store.links.version(charm, one) for one in links]

    store.cells.write(charm, "count", b"2")
    moved = [store.links.version(charm, one) for one in links]
    assert [True, True, False, False] == [a == b for a, b in zip(before, moved, strict=True)]


def test_a_client_is_replaced_and_forgotten(store: Store) -> None:
    """There is one for a provider."""
    old = StoredClient("google", b"", OAuthClient("id", "old secret"))
    new = StoredClient("google", b"{}", OAuthClient("id", "new secret"))
    store.sign_ins.put_client(old, NOW)
    store.sign_ins.put_client(new, NOW)

    assert ["google"] == store.sign_ins.clients()
    assert new == store.sign_ins.client("google")
    assert store.sign_ins.client("other") is None
    dropped = [store.sign_ins.drop_client("google") for _ in range(2)]
    assert [True, False] == dropped


def test_nothing_secret_is_in_the_file(engine: Engine, store: Store) -> None:
    """Neither of a sign-in nor of a client."""
    charm = add_charm(store)
    store.cells.write(charm, "auth", STORED)
    client = StoredClient("google", b"", OAuthClient("id", "shown to nobody"))
    store.sign_ins.put_client(client, NOW)
    raw = engine.stored_bytes()
    assert b"google" in raw
    assert b"shown to" not in raw


def test_it_is_there_after_a_crash(engine: Engine, store: Store) -> None:
    """That a provider was about to be asked, above all."""
    charm = add_charm(store)
    asked = record(charm, asked_at=NOW)
    store.sign_ins.put(asked)

    engine.crash()
    engine.reopen()

    assert [asked] == engine.store.sign_ins.all()
