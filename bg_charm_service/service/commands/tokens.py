"""Commands about who may come over the network: tokens, sessions, signers."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from bg_charm_service.domain.errors import Conflict, InvalidInput, NotFound
from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.views import SessionView
from bg_charm_service.service.commands.context import CommandContext
from bg_charm_service.storage.records import SessionRecord, TokenRecord

#: What every token begins with, so that scanners of repositories and logs know one.
TOKEN_PREFIX = "bgc_"

#: A session lasts so long, in seconds.
SESSION_SECONDS = 12 * 3600.0

_NAME_LIMIT = 100


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session under way; `token` is the one whose rights it has, None for all rights."""

    token: TokenRecord | None
    expires_at: float


class TokenCommands:
    """What makes, lists and ends tokens and sessions."""

    def __init__(self, context: CommandContext) -> None:
        self._context = context
        self._parts = context.parts
        self._store = context.store

    def create(
        self,
        name: str,
        *,
        space: str | None,
        read_only: bool,
        expires_seconds: float | None,
        latest: float | None = None,
    ) -> tuple[str, TokenRecord]:
        """Make a token; gives its text, which is stored nowhere, and its record.

        `latest` is when the right of the one who asks ends: no token outlives that.
        """
        if not name.strip() or len(name) > _NAME_LIMIT or not name.isprintable() or "/" in name:
            raise InvalidInput("name: Give a short name, without slashes.")
        if expires_seconds is not None and not expires_seconds > 0:
            raise InvalidInput("expires_seconds: Expected more than 0.")
        now = self._parts.clock.now()
        ends = [latest] if latest is not None else []
        if expires_seconds is not None:
            ends.append(now + expires_seconds)
        text = TOKEN_PREFIX + secrets.token_urlsafe(32)
        limit = space_did(space) if space is not None else None
        with self._context.change("make token", space=limit or "", detail=name):
            taken = self._store.tokens.named(name)
            if taken is not None:
                if taken.is_valid(now):
                    raise Conflict(f"There is a token {name!r} already: revoke it first.")
                self._store.tokens.revoke(taken.token_id, now)
            record = self._store.tokens.add(
                digest(text),
                name=name,
                space=limit,
                read_only=read_only,
                made_by=self._context.actor(),
                expires_at=min(ends, default=None),
                now=now,
            )
        return text, record

    def list_tokens(self) -> list[TokenRecord]:
        """Every token, with what became of it."""
        return self._store.tokens.all()

    def revoke(self, name: str) -> None:
        """Let the token of a name, and the sessions begun with it, be valid no more."""
        token = self._store.tokens.named(name)
        if token is None:
            raise NotFound(f"There is no token {name!r}. See `bg-charm-service token list`.")
        with self._context.change("revoke token", space=token.space or "", detail=name):
            self._store.tokens.revoke(token.token_id, self._parts.clock.now())
            self._context.end_streams(token_credential(token))

    def has_valid(self) -> bool:
        """Whether anybody could come over the network with a token."""
        now = self._parts.clock.now()
        return any(token.is_valid(now) for token in self._store.tokens.all())

    def find_token(self, text: str) -> TokenRecord | None:
        """Give the valid token of a text, and remember its use."""
        token = self._store.tokens.find(digest(text))
        return self._used(token)

    def begin_session(self, token: TokenRecord | None) -> str:
        """Begin a session with the rights of a token, or with all; gives its secret."""
        now = self._parts.clock.now()
        secret = secrets.token_urlsafe(32)
        ends = now + SESSION_SECONDS
        if token is not None and token.expires_at is not None:
            ends = min(ends, token.expires_at)
        detail = f"with token {token.name}" if token is not None else "with a login code"
        with self._context.change("sign in", detail=detail):
            token_id = token.token_id if token is not None else None
            self._store.sessions.add(digest(secret), token_id, expires_at=ends, now=now)
        return secret

    def find_session(self, secret: str) -> LiveSession | None:
        """Give the session of a secret while it is under way, as its token is."""
        session = self._store.sessions.find(digest(secret), self._parts.clock.now())
        if session is None:
            return None
        if session.token_id is None:
            return LiveSession(None, session.expires_at)
        token = self._used(self._store.tokens.get(session.token_id))
        return LiveSession(token, session.expires_at) if token is not None else None

    def end_session(self, secret: str) -> None:
        """End a session, with the streams that it opened; one that is over already, too."""
        self._store.sessions.drop(digest(secret))
        self._context.end_streams(session_credential(secret))

    def list_sessions(self) -> list[SessionView]:
        """Every session under way, the newest first."""
        return [
            SessionView(token.name if token else None, session.created_at, session.expires_at)
            for _, session, token in self._live_sessions()
        ]

    def end_all_sessions(self) -> int:
        """End every session, with the streams that were opened in it; gives how many."""
        live = self._live_sessions()
        with self._context.change("end sessions", detail=f"{len(live)} sessions"):
            for hashed, _ in self._store.sessions.all(self._parts.clock.now()):
                self._store.sessions.drop(hashed)
                self._context.end_streams(_session_name(hashed))
        return len(live)

    def spaces_of(self, did: str) -> frozenset[str]:
        """The DIDs of the spaces that a signer may act on: none for the key of a space itself."""
        if self._store.spaces.find(did) is not None:
            return frozenset()
        return self._store.spaces.owned_by(did)

    def take_nonce(self, did: str, nonce: str, expires_at: float) -> bool:
        """Take a signer's nonce; says whether it was unused."""
        now = self._parts.clock.now()
        with self._parts.database.transaction():
            return self._store.nonces.take(did, nonce, expires_at=expires_at, now=now)

    def _live_sessions(self) -> list[tuple[bytes, SessionRecord, TokenRecord | None]]:
        """The sessions that are not over by themselves, nor by the end of their token."""
        now = self._parts.clock.now()
        found = []
        for hashed, session in self._store.sessions.all(now):
            token = None
            if session.token_id is not None:
                token = self._store.tokens.get(session.token_id)
                if token is None or not token.is_valid(now):
                    continue
            found.append((hashed, session, token))
        return found

    def _used(self, token: TokenRecord | None) -> TokenRecord | None:
        now = self._parts.clock.now()
        if token is None or not token.is_valid(now):
            return None
        # Who may look may look most of all while nothing can be written.
        with self._context.supervisor.storage_health.noting():
            self._store.tokens.note_use(token, now)
        return token


def token_credential(token: TokenRecord) -> str:
    """Name a token, as what is opened with it remembers it."""
    return f"token {token.token_id}"


def session_credential(secret: str) -> str:
    """Name a session, as what is opened in it remembers it."""
    return _session_name(digest(secret))


def _session_name(hashed: bytes) -> str:
    return f"session {hashed.hex()}"


def digest(secret: str) -> bytes:
    """Give what is stored of a secret; it has too much chance in it to need salt or slowness."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
