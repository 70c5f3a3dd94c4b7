"""Fields that a person signs in for, as the author of a charm meets them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bg_charm_service import Charm, OAuth, SignInNeeded
from bg_charm_service.domain.errors import CompilerError, StateError
from bg_charm_service.domain.model import FieldKind
from bg_charm_service.domain.oauth import fingerprint
from bg_charm_service.sdk.snapshot import MemorySnapshot
from bg_charm_service.workers.runtime.charm_binding import (
    bind,
    changes,
    describe,
    load_class,
    validate_field,
)
from tests.unit.test_charm_binding import CONTEXT

SOURCE = """\
from typing import Any
from bg_charm_service import Charm, OAuth

class Mail(Charm):
    auth: OAuth["google", "https://example.org/mail", "calendar"]
    plain: int = 0
    async def bg_updater(self, event: dict[str, Any]) -> None: ...
"""

GIVEN = b'{"token": "old", "scope": ["mail"], "expiresAt": 1500, "user": {"email": "me@x"}}'


def load(annotation: str, default: str = "") -> type[Charm]:
    """Load a charm whose field is declared so."""
    source = SOURCE.replace('OAuth["google", "https://example.org/mail", "calendar"]', annotation)
    source = source.replace(f"auth: {annotation}", f"auth: {annotation}{default}")
    return load_class(source, "mail.py", None)


def mail() -> type[Any]:
    """The class of the source above."""
    return load_class(SOURCE, "mail.py", None)


class Renewing(MemorySnapshot):
    """A snapshot whose sign-in is renewed as the test says."""

    __slots__ = ()

    async def renew(self, field: str, seen: str) -> bytes:
        """Give a new token for the one that was seen, and for no other."""
        if seen != fingerprint("old"):
            raise SignInNeeded("it is refused")
        return GIVEN.replace(b"old", b"new")


def test_a_class_says_where_and_what_for() -> None:
    """The service has to know, before it has run."""
    field = describe(mail()).field("auth")
    assert field is not None
    assert (FieldKind.OAUTH, None) == (field.kind, field.default)
    assert ("google", ("https://example.org/mail", "calendar")) == (field.provider, field.scopes)


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ("OAuth", "names its provider"),
        ('list[OAuth["google"]]', "whole field"),
        ('OAuth["google"] | None', "whole field"),
        ('OAuth["Not One"]', "no name of a provider"),
        ("OAuth[5]", "takes texts"),
        ('OAuth["google", 5]', "takes texts"),
        ('OAuth["google", "two words"]', "without blanks"),
        ('OAuth["google", ""]', "without blanks"),
        (f'OAuth["google", "{"x" * 301}"]', "up to 300 characters"),
        (f'OAuth["google", *{["x"] * 101}]', "up to 100 scopes"),
    ],
)
def test_what_no_class_can_declare(annotation: str, reason: str) -> None:
    """It is refused when the charm is added, by its line, or by class and field."""
    with pytest.raises(CompilerError, match=rf"(Mail\.auth|mail\.py:5: TypeError): .*{reason}"):
        load(annotation)


def test_it_has_no_default() -> None:
    """It is there once somebody has signed in."""
    with pytest.raises(CompilerError, match="a sign-in has no default"):
        load('OAuth["google"]', " = None")


def test_nobody_sets_it() -> None:
    """Neither from outside nor in a run."""
    with pytest.raises(StateError, match="auth login google"):
        validate_field(mail(), "auth", b'{"token": "mine"}')
    charm = bind(mail(), MemorySnapshot({"auth": GIVEN}), CONTEXT)
    with pytest.raises(AttributeError, match="the service owns"):
        charm.auth = "mine"  # type: ignore[attr-defined]


def test_what_a_run_sees() -> None:
    """In seconds and plain types; reading and changing what it gives writes nothing."""
    charm: Any = bind(mail(), MemorySnapshot({"auth": GIVEN}), CONTEXT)
    seen = charm.auth
    assert ("old", 1.5, ("mail",)) == (seen.token, seen.expires_at, seen.scopes)
    seen.user["email"] = "another"
    assert {"email": "me@x"} == seen.user
    assert "old" not in repr(seen)
    assert {} == changes(charm).writes


def test_nobody_has_signed_in() -> None:
    """Its run would not have begun; one that has all the same says so."""
    charm: Any = bind(mail(), MemorySnapshot({}), CONTEXT)
    with pytest.raises(StateError, match="nobody has signed in"):
        assert charm.auth.token


def test_a_token_is_renewed_in_place() -> None:
    """Whoever holds the field has the new one; what is refused is told as it is."""
    charm: Any = bind(mail(), Renewing({"auth": GIVEN}), CONTEXT)
    seen = charm.auth

    asyncio.run(seen.renew())

    assert ("new", "new") == (seen.token, charm.auth.token)
    with pytest.raises(SignInNeeded, match="it is refused"):
        asyncio.run(seen.renew())


def test_a_charm_that_is_made_by_hand() -> None:
    """It is given a sign-in of its own, and nothing else."""
    charm = mail()(auth=OAuth("mine", expires_at=5.0, scopes=("a",), user={"email": "me@x"}))
    assert ("mine", 5.0, ("a",)) == (charm.auth.token, charm.auth.expires_at, charm.auth.scopes)
    asyncio.run(charm.auth.renew())
    assert "mine" == charm.auth.token
    with pytest.raises(TypeError, match="is a sign-in: give it an OAuth"):
        mail()(auth="mine")
