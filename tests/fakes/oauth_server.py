"""A provider on loopback that people sign in at: it rotates, and allows no refresh token twice.

    with OAuthServer() as provider:
        provider.issuer                   # for `auth client NAME --issuer URL`
        provider.sign_in(url)             # what a person's browser does; the address it is sent to

A code is good once, and only with its verifier (PKCE); a refresh token is good once, and a second
use ends the sign-in for good (RFC 9700, 4.14.2). `resource` is an address that takes only a live
token. `refusing`, `breaking` and `holding` say how the next refreshes go; `grants` are sign-ins.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.fakes.http_server import Answer, FakeServer, Seen, answer, json_answer, redirect

#: What the operator has registered there.
CLIENT_ID, CLIENT_SECRET = "client-id-of-tests", "client-secret-of-tests"

#: Who signs in.
USER = {"email": "me@example.org", "name": "Me", "picture": "https://example.org/me.png"}


@dataclass
class Held:
    """A refresh that is held up: when it has come, and when it is let go."""

    came: threading.Event = field(default_factory=threading.Event)
    may_go: threading.Event = field(default_factory=threading.Event)


@dataclass
class Grant:
    """One sign-in of a person: its refresh tokens in their order, of which the last one is good."""

    scope: str
    refresh_tokens: list[str] = field(default_factory=list)
    #: When each was given out, by the clock that nobody sets.
    given_at: list[float] = field(default_factory=list)
    #: Those that came back in an answer which was lost on the way.
    lost: set[str] = field(default_factory=set)
    has_ended: bool = False


class OAuthServer:
    """One provider on a free port."""

    def __init__(self, *, expires_in: Any = 3600, rotates: bool = True) -> None:
        self.expires_in = expires_in
        self.rotates = rotates
        #: Every token and code that was ever given out: none of them may show anywhere.
        self.secrets: set[str] = {CLIENT_SECRET}
        #: The answers of the next refreshes instead of the real ones.
        self.refusing: list[Answer] = []
        #: The next refresh is done, and its answer is lost on the way.
        self.breaking = 0
        #: Holds the next refreshes up: before they are done, or before they are answered.
        self.held_before: Held | None = None
        self.held_after: Held | None = None
        #: Called with each refresh before it is done, and before it is answered.
        self.delay: Callable[[], None] = lambda: None
        self.refreshes = 0
        #: Every sign-in that there ever was.
        self.grants: list[Grant] = []
        #: How often somebody came with a token whose time had ended.
        self.late_tokens = 0
        self._codes: dict[str, dict[str, str]] = {}
        #: Tokens that are good, with when they end.
        self._live: dict[str, float] = {}
        self._token_grants: dict[str, Grant] = {}
        self._lock = threading.Lock()
        self._server = FakeServer()

    def __enter__(self) -> OAuthServer:
        self._server.__enter__()
        scripts: dict[str, Callable[[Seen], Answer]] = {
            "/.well-known/oauth-authorization-server": self._describe,
            "/authorize": self._authorize,
            "/token": self._token,
            "/userinfo": self._user,
            "/revoke": self._revoke,
        }
        for path, script in scripts.items():
            self._server.on(path, script)
        self.serve("/resource", {"is": "here"})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for held in (self.held_before, self.held_after):
            if held is not None:
                held.may_go.set()
        self._server.__exit__(kind, error, trace)

    @property
    def issuer(self) -> str:
        """Who it is, and where it is asked."""
        return self._server.url

    @property
    def resource(self) -> str:
        """What a token opens."""
        return f"{self.issuer}/resource"

    @property
    def seen(self) -> list[Seen]:
        """All that it was asked."""
        return self._server.seen

    def sign_in(self, url: str) -> str:
        """Sign in as a person does who opens this address; gives where the browser is sent."""
        seen = Seen("GET", "/authorize", parse_qs(urlsplit(url).query), {}, b"")
        assert url.startswith(f"{self.issuer}/authorize?"), url
        return dict(self._authorize(seen).headers)["Location"]

    def issue(self, scope: str = "") -> dict[str, Any]:
        """Give out tokens as if somebody had signed in elsewhere."""
        found: dict[str, Any] = json.loads(self._tokens(scope).body)
        return found

    def end_tokens(self) -> None:
        """Let every token be good no more; those they are renewed with stay."""
        with self._lock:
            self._live.clear()

    def end_sign_ins(self) -> None:
        """End everything, as a person does on the provider's own page."""
        with self._lock:
            for grant in self.grants:
                self._end(grant)

    def _end(self, grant: Grant) -> None:
        """Let nothing of a sign-in be good any more; under the lock."""
        grant.has_ended = True
        for token in [token for token in self._live if self._token_grants[token] is grant]:
            del self._live[token]

    def _describe(self, _seen: Seen) -> Answer:
        return json_answer(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "revocation_endpoint": f"{self.issuer}/revoke",
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    def _authorize(self, seen: Seen) -> Answer:
        asked = {name: values[0] for name, values in seen.query.items()}
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT_ID
        assert asked["code_challenge_method"] == "S256"
        code = self._secret("code")
        with self._lock:
            self._codes[code] = asked
        back = urlencode({"code": code, "state": asked["state"]})
        return redirect(f"{asked['redirect_uri']}?{back}")

    def _token(self, seen: Seen) -> Answer:
        form = {name: values[0] for name, values in parse_qs(seen.body.decode()).items()}
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return json_answer({"error": "invalid_client"}, 401)
        if form.get("grant_type") == "authorization_code":
            return self._exchange(form)
        return self._refresh(form.get("refresh_token", ""))

    def _exchange(self, form: dict[str, str]) -> Answer:
        with self._lock:
            asked = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            asked is None
            or asked["code_challenge"] != challenge
            or asked["redirect_uri"] != form.get("redirect_uri")
        ):
            return json_answer({"error": "invalid_grant"}, 400)
        return self._tokens(asked.get("scope", ""))

    def _refresh(self, refresh_token: str) -> Answer:
        with self._lock:
            self.refreshes += 1
            before, after = self.held_before, self.held_after
            refusal = self.refusing.pop(0) if self.refusing else None
        if before is not None:
            before.came.set()
            before.may_go.wait(60)
        self.delay()
        if refusal is not None:
            return refusal
        found = self._renewed(refresh_token)
        if after is not None:
            after.came.set()
            after.may_go.wait(60)
        self.delay()
        with self._lock:
            if self.breaking:
                self.breaking -= 1
                grant = self._token_grants.get(refresh_token)
                if grant is not None:
                    grant.lost.add(grant.refresh_tokens[-1])
                return Answer(is_none=True)
        return found

    def _renewed(self, refresh_token: str) -> Answer:
        with self._lock:
            grant = self._token_grants.get(refresh_token)
            if grant is not None and not grant.has_ended:
                if refresh_token == grant.refresh_tokens[-1]:
                    return self._answer(grant, None if self.rotates else refresh_token)
                # Whoever uses one twice may have stolen it: nothing of this sign-in is good now.
                self._end(grant)
        return json_answer({"error": "invalid_grant", "error_description": "token reuse"}, 400)

    def _tokens(self, scope: str) -> Answer:
        with self._lock:
            self.grants.append(Grant(scope))
            return self._answer(self.grants[-1])

    def _answer(self, grant: Grant, refresh_token: str | None = None) -> Answer:
        """Give out tokens of a sign-in, and note that; under the lock."""
        token, given = self._secret("token"), refresh_token or self._secret("refresh")
        ends_in = float(self.expires_in) if isinstance(self.expires_in, int | float) else math.inf
        self._live[token] = time.monotonic() + ends_in
        self._token_grants[token] = self._token_grants[given] = grant
        if given != refresh_token:
            grant.refresh_tokens.append(given)
            grant.given_at.append(time.monotonic())
        answered = {"access_token": token, "token_type": "Bearer", "scope": grant.scope}
        if self.expires_in is not None:
            answered["expires_in"] = self.expires_in
        return json_answer({**answered, "refresh_token": given})

    def _user(self, seen: Seen) -> Answer:
        return json_answer(USER) if self._is_live(seen) else answer(401)

    def serve(self, path: str, value: Any) -> None:
        """Give this to whoever comes with a live token."""
        self._server.on(
            path, lambda seen: json_answer(value) if self._is_live(seen) else answer(401)
        )

    def _revoke(self, seen: Seen) -> Answer:
        token = parse_qs(seen.body.decode()).get("token", [""])[0]
        with self._lock:
            if token in self._token_grants:
                self._end(self._token_grants[token])
        return answer(200)

    def _is_live(self, seen: Seen) -> bool:
        with self._lock:
            ends_at = self._live.get(seen.token)
            self.late_tokens += ends_at is not None and ends_at < time.monotonic()
            return ends_at is not None

    def _secret(self, kind: str) -> str:
        found = f"{kind}-{secrets.token_urlsafe(24)}"
        self.secrets.add(found)
        return found


def token_error(error: str, status: int = 400) -> Answer:
    """How a provider refuses a token (RFC 6749, 5.2)."""
    return Answer(
        status, (("Content-Type", "application/json"),), json.dumps({"error": error}).encode()
    )
