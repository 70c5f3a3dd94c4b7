"""What a run that needs a sign-in has to pass before it begins: its token must be good for it.

The dispatcher's inputs ask; whoever keeps the tokens answers, and comes back when one was renewed.
Nothing here asks a provider. Which sign-ins a charm needs is said here too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.model import Failure, FieldKind, FieldSchema
from bg_charm_service.domain.oauth import PLAIN_AUTH, SignInKey
from bg_charm_service.domain.outcomes.run_endings import Ending, EndingKind
from bg_charm_service.storage.records import CharmRecord, Claim, Link
from bg_charm_service.supervisor.in_flight import InFlight
from bg_charm_service.workers.protocol.messages import TokenGiven, TokenWanted

_CAUSES = {
    EndingKind.SIGN_IN: FailureCause.SIGN_IN,
    EndingKind.DOWN: FailureCause.DOWN,
    EndingKind.WAIT: FailureCause.WAIT,
}


#: Fields that hold a value of the charm's own.
_HOLDS_VALUES = (FieldKind.VALUE, FieldKind.SECRET)


class Need(NamedTuple):
    """A sign-in that a charm needs; a plain one it keeps itself, as charms of the original do."""

    key: SignInKey
    is_plain: bool = False


class Later(msgspec.Struct, frozen=True):
    """The run has to wait for its token, until this moment of the steady clock at most."""

    until: float


class TokenGate(Protocol):
    """Keeps the tokens of sign-ins good for the runs that need them."""

    def check(
        self, claim: Claim, needs: Sequence[Need], timeout_seconds: float
    ) -> Later | Ending | None:
        """Say whether a run may begin: None for yes; inside the transaction that claims it.

        Later where a token is being renewed: the claim is to be given back, and the charm is
        brought on once there is another. An ending where there is none to be had.
        """

    def renew(self, run: InFlight, wanted: TokenWanted, give: Callable[[TokenGiven], None]) -> None:
        """Have a token renewed that was refused to a run; `give` is called once, soon or later."""


class NoSignIns:
    """The gate where nobody can sign in: what is tried there needs none."""

    def check(
        self, claim: Claim, needs: Sequence[Need], timeout_seconds: float
    ) -> Later | Ending | None:
        return None

    def renew(self, run: InFlight, wanted: TokenWanted, give: Callable[[TokenGiven], None]) -> None:
        ending = Ending(EndingKind.SIGN_IN, None, "nobody can sign in here")
        give(TokenGiven(wanted.field, None, ending))


def failure_of(ending: Ending) -> Failure:
    """The failure that stands with the ending of a run which did not begin."""
    return Failure(_CAUSES[ending.kind], ending.why)


def sign_ins_of(
    charm: CharmRecord, links: Mapping[str, Link], find: Callable[[int], CharmRecord | None]
) -> Iterator[Need]:
    """Give the sign-ins that a charm needs: its own, and those that it has links to."""
    for field in charm.schema.fields:
        key = sign_in_of(charm, field, links.get(field.name), find)
        if key is not None:
            yield Need(key)
        elif field.name == PLAIN_AUTH:
            key = _plain_auth(charm, field, links.get(field.name), find)
            if key is not None:
                yield Need(key, is_plain=True)


def sign_in_of(
    charm: CharmRecord,
    field: FieldSchema,
    link: Link | None,
    find: Callable[[int], CharmRecord | None],
) -> SignInKey | None:
    """Give the sign-in that a field is, or leads to; None for any other field."""
    if link is None:
        is_own = field.kind is FieldKind.OAUTH
        return SignInKey(charm.charm_key, field.name) if is_own else None
    origin = _origin(link, find)
    is_sign_in = origin is not None and origin.kind is FieldKind.OAUTH
    return SignInKey(link.target_key, link.path[0]) if is_sign_in else None


def _plain_auth(
    charm: CharmRecord,
    field: FieldSchema,
    link: Link | None,
    find: Callable[[int], CharmRecord | None],
) -> SignInKey | None:
    """Give the field that holds the original's `auth`, of the charm itself or where its link leads.

    What is in it is for whoever reads it to see.
    """
    if link is None:
        is_own = field.kind in _HOLDS_VALUES
        return SignInKey(charm.charm_key, field.name) if is_own else None
    origin = _origin(link, find)
    is_whole = len(link.path) == 1 and origin is not None and origin.kind in _HOLDS_VALUES
    return SignInKey(link.target_key, link.path[0]) if is_whole else None


def _origin(link: Link, find: Callable[[int], CharmRecord | None]) -> FieldSchema | None:
    target = find(link.target_key)
    return target.schema.field(link.path[0]) if target is not None and link.path else None
