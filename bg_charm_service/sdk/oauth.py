"""A sign-in at a provider, as charm authors see it: `auth: OAuth["google", *scopes]`.

The service owns it: it signs people in, keeps the token good, and never gives away what the token
is renewed with. Made by hand, in tests of a charm, it holds a token of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.oauth import check_name

#: A field names so many scopes at most, each of so many characters.
_MOST_SCOPES = 100
_LONGEST_SCOPE = 300


@dataclass(frozen=True, slots=True)
class SignInNeeds:
    """Where a field has to be signed in, and for what."""

    provider: str
    scopes: tuple[str, ...]

    def __repr__(self) -> str:
        return ", ".join(map(repr, (self.provider, *self.scopes)))


class OAuth:
    """A sign-in at a provider, which the service keeps good.

        class Mail(Charm):
            auth: OAuth["google", "https://www.googleapis.com/auth/gmail.readonly"]

            async def bg_updater(self, event: dict[str, Any]) -> None:
                async with self.http(base_url="https://gmail.googleapis.com/", auth=self.auth) as http:
                    ...

    A run begins with a token that is good for as long as it may take, and a minute more. Where
    nobody has signed in, or has to again, it does not begin.
    """  # noqa: E501 - an example

    __slots__ = ("_stored",)

    def __init__(
        self,
        token: str = "",
        *,
        expires_at: float = 0.0,
        scopes: tuple[str, ...] = (),
        user: Mapping[str, str] | None = None,
    ) -> None:
        stored = {"token": token, "expiresAt": expires_at * 1000, "scope": scopes, "user": user}
        self._stored: dict[str, Any] | None = stored

    def __class_getitem__(cls, names: str | tuple[str, ...]) -> Any:
        provider, *scopes = names if isinstance(names, tuple) else (names,)
        if not all(isinstance(one, str) for one in (provider, *scopes)):
            raise TypeError('OAuth takes texts: OAuth["google", "https://…"]')
        try:
            check_name(provider)
        except InvalidInput as error:
            raise TypeError(str(error)) from None
        is_plain = all(one.isprintable() and " " not in one and one for one in scopes)
        if (
            not is_plain
            or len(scopes) > _MOST_SCOPES
            or max(map(len, scopes), default=0) > _LONGEST_SCOPE
        ):
            raise TypeError(
                f"OAuth takes up to {_MOST_SCOPES} scopes, each a text of its own without blanks, "
                f"of up to {_LONGEST_SCOPE} characters"
            )
        return Annotated[cls, SignInNeeds(provider, tuple(scopes))]

    @property
    def token(self) -> str:
        """The token to send: `Authorization: Bearer …`."""
        return str(self._known()["token"])

    @property
    def expires_at(self) -> float:
        """When it ends, in seconds since the epoch; 0 for a token without an end."""
        return float(self._known().get("expiresAt") or 0) / 1000

    @property
    def scopes(self) -> tuple[str, ...]:
        """What the provider has granted."""
        return tuple(self._known().get("scope") or ())

    @property
    def user(self) -> dict[str, str]:
        """Who has signed in, as far as the provider says: `email`, `name`, `picture`."""
        return dict(self._known().get("user") or {})

    async def renew(self) -> None:
        """Have another token made, after a provider has refused this one.

        Others who share the sign-in get the same one. Raises SignInNeeded where a person has to
        sign in again, ProviderDown where the provider cannot say. Made by hand it does nothing.
        """

    def _known(self) -> dict[str, Any]:
        assert self._stored is not None
        return self._stored

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


def read_sign_in(stored: bytes) -> dict[str, Any]:
    """Read what a run is given of a sign-in."""
    found: dict[str, Any] = json.loads(stored)
    return found
