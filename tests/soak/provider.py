"""The provider of the kill loop: it rotates, takes no refresh token twice, outlives the service.

A real server on loopback, in the process of the loop. It takes its time, so that refreshes are
under way when a blow falls, and some of its answers are lost. Which refresh tokens it has given
out, and which of them could not come to the disk, it tells the audit by their hashes.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from bisect import bisect
from types import TracebackType

from tests.fakes.oauth_server import CLIENT_ID, CLIENT_SECRET, OAuthServer
from tests.process.running import Service
from tests.soak.audit import RefreshToken

#: The provider's name in the service.
NAME = "soak"

#: How long a refresh takes before it is done, and again before it is answered, at most, in seconds.
DELAY_SECONDS = 0.5

#: For how long tokens are good, in seconds. The service takes one that it got in the last 30 s as
#: it is; a run, a frozen service and a refresh that is waited for come on top.
TOKEN_SECONDS = 45


class SoakProvider:
    """The provider, and in which lives of the service answers may have been lost."""

    def __init__(self, seed: int, server: OAuthServer | None = None) -> None:
        self._server = server or OAuthServer(expires_in=TOKEN_SECONDS)
        self._server.delay = self._delay
        self._chance = random.Random(f"{seed}/provider")
        self._lock = threading.Lock()
        #: When each life of the service began, and which of them ended with no time to store.
        self._began: list[float] = []
        self._excused: set[int] = set()

    def __enter__(self) -> SoakProvider:
        self._server.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.__exit__(kind, error, trace)

    @property
    def resource(self) -> str:
        """What a token opens."""
        return self._server.resource

    @property
    def refreshes(self) -> int:
        """How often it was asked to renew a token."""
        return self._server.refreshes

    @property
    def sign_ins(self) -> int:
        """How often somebody signed in."""
        return len(self._server.grants)

    @property
    def late_tokens(self) -> int:
        """How often a run came with a token whose time had ended."""
        return self._server.late_tokens

    def begin_life(self) -> None:
        """Be asked by another life of the service from now on."""
        self._began.append(time.monotonic())

    def excuse_life(self) -> None:
        """Note that the service gets no time to store what is answered."""
        self._excused.add(len(self._began))

    def register_client(self, service: Service) -> None:
        """Give the service its client here."""
        body = {
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "issuer": self._server.issuer,
        }
        service.request("PUT", f"/api/oauth-clients/{NAME}", body)

    def sign_in(self, service: Service, ref: str) -> None:
        """Sign in for a charm, as a person does whose browser cannot reach the service."""
        space, _, charm = ref.partition("/")
        path = f"/api/integrations/{NAME}-oauth"
        begun = service.request("POST", f"{path}/login", {"space": space, "charm": charm})
        back = self._server.sign_in(begun["url"])
        service.request("POST", f"{path}/callback", {"address": back})

    def lose_answer(self) -> None:
        """Lose the answer of the next refresh."""
        self._server.breaking = 1

    def refresh_tokens(self) -> dict[str, RefreshToken]:
        """What it knows of each refresh token that it gave out, by its hash."""
        found = {}
        for grant in list(self._server.grants):
            given = list(zip(grant.refresh_tokens, grant.given_at, strict=True))
            for place, (token, _) in enumerate(given):
                later = given[place + 1 :]
                found[_hash(token)] = RefreshToken(
                    renewals=len(later),
                    is_good=not later and not grant.has_ended,
                    may_have_lost_next=bool(later)
                    and (later[0][0] in grant.lost or self._life_at(later[0][1]) in self._excused),
                )
        return found

    def _life_at(self, moment: float) -> int:
        """In which life of the service something happened, from 1."""
        return bisect(self._began, moment)

    def _delay(self) -> None:
        with self._lock:
            seconds = self._chance.uniform(0, DELAY_SECONDS)
        time.sleep(seconds)


def _hash(token: str) -> str:
    """What the service writes beside a refresh token, which itself is encrypted."""
    return hashlib.sha256(token.encode()).hexdigest()
