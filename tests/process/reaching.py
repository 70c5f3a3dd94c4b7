"""Reaches a running service over its port, as browsers, programs and strangers do."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from bg_charm_service.api.auth.request_signing import RequestText, authorization
from bg_charm_service.domain.identity import Identity, space_did
from tests.process.program import COUNTER
from tests.process.running import PATIENCE_SECONDS, RunningCharm, Service

OPERATOR_PASS = "a passphrase of this operator"

#: An owner of the space `test` beside the operator.
OWNER = Identity.from_passphrase("an owner whose passphrase nobody knows")


class Signed(httpx2.Auth):
    """Signs each request with a key."""

    requires_request_body = True

    def __init__(self, identity: Identity, *, now: float | None = None) -> None:
        self._identity = identity
        self._now = now

    def auth_flow(
        self, request: httpx2.Request
    ) -> Generator[httpx2.Request, httpx2.Response, None]:
        text = RequestText(
            request.method,
            request.headers["host"],
            request.url.raw_path.decode(),
            request.content,
        )
        now = time.time() if self._now is None else self._now
        request.headers["authorization"] = authorization(self._identity, text, now)
        yield request


@dataclass(frozen=True)
class Reached:
    """A service with a port, and a charm in its space `test`."""

    service: Service
    url: str
    charm: RunningCharm

    @property
    def origin(self) -> dict[str, str]:
        """The header of a page of the service's own."""
        return {"origin": self.url}

    @contextmanager
    def client(
        self, token: str | None = None, *, address: str = "127.0.0.1", **options: Any
    ) -> Iterator[httpx2.Client]:
        """Give a client that comes over the port, from an address, if need be with a token."""
        headers = {"authorization": f"Bearer {token}"} if token is not None else {}
        with httpx2.Client(
            base_url=self.url,
            headers={**headers, **options.pop("headers", {})},
            timeout=PATIENCE_SECONDS,
            transport=httpx2.HTTPTransport(local_address=address),
            **options,
        ) as client:
            yield client

    def token(self, name: str, **body: object) -> str:
        """Make a token as the operator does."""
        made = self.service.request("POST", "/api/tokens", {"name": name, **body})
        return str(made["token"])

    @contextmanager
    def signed_in(self) -> Iterator[httpx2.Client]:
        """Give a client with a session."""
        with self.client() as client:
            code = self.service.request("POST", "/api/login-codes")["code"]
            answer = client.get(f"/login?code={code}")
            assert 303 == answer.status_code, answer.text
            yield client

    def audit(self) -> list[dict[str, Any]]:
        """Who changed what, the newest first."""
        entries: list[dict[str, Any]] = self.service.request("GET", "/api/audit")
        return entries

    def registration(self) -> str:
        """The body that the button posts."""
        space, _, charm_id = self.charm.ref.partition("/")
        return f'{{"pieceId": "{charm_id}", "space": "{space}", "integration": "my-test"}}'


@contextmanager
def reached(folder: Path, *flags: str) -> Iterator[Reached]:
    """Run a service with a port, whose space `test` has a charm and a second owner."""
    with Service(
        folder / "data",
        "--listen=localhost:0",
        "--interval=3600",
        *flags,
        OPERATOR_PASS=OPERATOR_PASS,
    ) as service:
        url = str(service.wait_for("listening")["url"]).replace("localhost", "127.0.0.1")
        charm = service.add(COUNTER, cause="counter")
        service.request("POST", f"/api/spaces/{space_did('test')}/owners", {"did": OWNER.did()})
        yield Reached(service, url, charm)
