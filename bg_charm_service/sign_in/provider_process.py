"""The process that talks to one provider, once: behind walls, and gone with the service.

The requests are authlib's: how a client proves itself, what a code is exchanged with, PKCE. Its
reading of answers is not used, since a token must not be lost over the form of a number beside it:
the answer goes back as the provider gave it. Bodies are bounded, and nothing is followed to another
address. Started by `provider_client`; knows no charm.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from bg_charm_service.domain.errors import SandboxError
from bg_charm_service.domain.oauth import OAuthClient, Provider, check_endpoint, error_of
from bg_charm_service.domain.redaction import mask, redact
from bg_charm_service.domain.text_limits import cut
from bg_charm_service.domain.web.retry_after import named_seconds
from bg_charm_service.sign_in.messages import (
    AnswerKind,
    Authorize,
    Deed,
    Discover,
    Exchange,
    ProviderAnswer,
    Refresh,
    Revoke,
    Task,
)
from bg_charm_service.workers.protocol.processes import die_with_parent
from bg_charm_service.workers.sandbox.client_walls import raise_client_walls

if TYPE_CHECKING:
    import httpx2
    from authlib.integrations.httpx_client import OAuth2Client

#: A task is not larger, nor is a body that a provider answers with, in bytes.
_MOST_BYTES: Final = 1024 * 1024

#: Names are looked up there.
_NAMES_PORT: Final = 53

#: Of a provider's own words so many characters are told.
_TOLD_CHARACTERS: Final = 200


#: What is packed could be of any size once it is unpacked.
_UNPACKED: Final = {"Accept-Encoding": "identity"}


#: So far behind an error its cause is looked for.
_MOST_LINKS: Final = 20


class _TooLarge(Exception):
    """A body that no token answer has."""


def main() -> None:
    """Do what the task on standard input says; the answer goes to standard output."""
    task = msgspec.msgpack.decode(sys.stdin.buffer.read(_MOST_BYTES), type=Task)
    answer = _answer(task)
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer))
    sys.stdout.buffer.flush()


def _answer(task: Task) -> ProviderAnswer:
    die_with_parent(task.parent)
    try:
        ports = {_NAMES_PORT, *map(_port_of, _urls_of(task.deed))}
        raise_client_walls(ports, task.missing_walls, has_walls=task.has_walls)
    except (OSError, SandboxError) as error:
        return ProviderAnswer(AnswerKind.FAULT, why=f"no walls for who asks providers: {error}")
    # What is imported from here on is imported behind walls.
    import httpx2

    try:
        return _Talk(task).answer()
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.UnsupportedProtocol) as error:
        # Nothing of the request has gone out.
        why = f"cannot be reached: {_reason(error)}"
        return _at(task.deed, AnswerKind.UNASKED, why)
    except (httpx2.TransportError, httpx2.DecodingError, _TooLarge) as error:
        return _at(task.deed, AnswerKind.DOWN, f"gave no whole answer: {type(error).__name__}")
    except Exception as error:  # its text may hold what it was about
        return _at(task.deed, AnswerKind.DOWN, f"could not be understood: {type(error).__name__}")


def _reason(error: BaseException) -> str:
    """Why nobody was reached, with what to do where that is known."""
    import socket
    import ssl

    link: BaseException | None = error
    for _ in range(_MOST_LINKS):
        if isinstance(link, socket.gaierror):
            return "its name cannot be looked up; is it right, and is this machine online?"
        if isinstance(link, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not to be trusted ({link.verify_message}); is the clock of "
                "this machine right, and does nobody sit in between?"
            )
        if isinstance(link, ConnectionRefusedError):
            return "nobody listens there"
        if link is None:
            break
        link = link.__cause__ or link.__context__
    return type(error).__name__


def _urls_of(deed: Deed) -> tuple[str, ...]:
    """Whom a deed may lead to."""
    if isinstance(deed, Discover):
        return deed.urls
    provider = deed.provider
    return tuple(filter(None, (provider.token_url, provider.revoke_url, provider.user_url)))


def _port_of(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or {"https": 443}.get(parts.scheme, 80)


def _at(deed: Deed, kind: AnswerKind, why: str) -> ProviderAnswer:
    host = urlsplit(_urls_of(deed)[0]).hostname or ""
    return ProviderAnswer(kind, why=f"{host} {why}", host=host)


class _Talk:
    """One deed, done with a client of its own."""

    def __init__(self, task: Task) -> None:
        self._deed = task.deed
        self._timeout_seconds = task.timeout_seconds
        #: What the provider answered last.
        self._response: httpx2.Response | None = None

    def answer(self) -> ProviderAnswer:
        """Do it; raises what the client raises."""
        deed = self._deed
        match deed:
            case Authorize():
                return self._authorize(deed)
            case Exchange():
                return self._exchange(deed)
            case Refresh(provider, client, refresh_token):
                with self._client(provider, client) as oauth:
                    self._listen(oauth, "refresh_token_response")
                    return self._tokens(
                        lambda: oauth.refresh_token(provider.token_url, refresh_token=refresh_token)
                    )
            case Revoke(provider, client, token):
                with self._client(provider, client) as oauth:
                    found = oauth.revoke_token(provider.revoke_url, token=token)
                kind = AnswerKind.DONE if found.is_success else AnswerKind.REFUSED
                return ProviderAnswer(kind, host=urlsplit(provider.revoke_url).hostname or "")
            case Discover(urls):
                return self._discover(urls)

    def _authorize(self, deed: Authorize) -> ProviderAnswer:
        provider = deed.provider
        challenge = "S256" if provider.has_pkce else None
        with self._client(
            provider, deed.client, redirect_uri=deed.redirect_uri, code_challenge_method=challenge
        ) as oauth:
            url, _ = oauth.create_authorization_url(
                provider.authorize_url,
                state=deed.state,
                code_verifier=deed.verifier,
                scope=provider.scope_separator.join(deed.scopes),
                **provider.extra,
            )
        return ProviderAnswer(AnswerKind.DONE, url=url)

    def _exchange(self, deed: Exchange) -> ProviderAnswer:
        provider = deed.provider
        verifier = {"code_verifier": deed.verifier} if provider.has_pkce else {}
        with self._client(provider, deed.client, redirect_uri=deed.redirect_uri) as oauth:
            self._listen(oauth, "access_token_response")
            answer = self._tokens(
                lambda: oauth.fetch_token(
                    provider.token_url,
                    grant_type="authorization_code",
                    code=deed.code,
                    **verifier,
                )
            )
        if answer.kind is not AnswerKind.DONE or not provider.user_url:
            return answer
        token = msgspec.json.decode(answer.body).get("access_token")
        return msgspec.structs.replace(answer, user=self._user(provider, token))

    def _user(self, provider: Provider, token: object) -> bytes:
        """Ask who has signed in; that nobody says it is no reason against a sign-in."""
        import httpx2

        try:
            with self._http() as http:
                headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
                found = http.get(provider.user_url, headers=headers)
            return _object_of(found) if found.is_success else b""
        except (httpx2.HTTPError, _TooLarge, UnicodeError):
            return b""

    def _discover(self, urls: tuple[str, ...]) -> ProviderAnswer:
        with self._http() as http:
            for url in urls:
                check_endpoint(url, "issuer")
                found = http.get(url, headers={"Accept": "application/json"})
                body = _object_of(found) if found.is_success else b""
                if body:
                    return ProviderAnswer(AnswerKind.DONE, body=body)
        return _at(self._deed, AnswerKind.REFUSED, "does not describe itself (RFC 8414)")

    def _tokens(self, ask: Any) -> ProviderAnswer:
        """Ask for tokens; gives what the provider answered, whatever authlib makes of that."""
        try:
            ask()
        except Exception:
            if self._response is None:
                raise
        assert self._response is not None
        return self._judged(self._response)

    def _judged(self, response: httpx2.Response) -> ProviderAnswer:
        host, status = response.request.url.host, response.status_code
        body = _object_of(response)
        found = msgspec.json.decode(body) if body else None
        error = error_of(found)
        if response.is_success and found is not None and not error:
            return ProviderAnswer(AnswerKind.DONE, body=body, host=host)
        said = f": {self._told(error, found)}" if error else ""
        why = f"{host} answered {status}{said}"
        if status == 429 or (status == 503 and named_seconds(response.headers) is not None):
            seconds = named_seconds(response.headers)
            return ProviderAnswer(AnswerKind.BUSY, why=why, host=host, seconds=seconds)
        if error and status < 500:
            return ProviderAnswer(AnswerKind.REFUSED, error=error, why=why, host=host)
        return ProviderAnswer(AnswerKind.DOWN, why=why, host=host)

    def _told(self, error: str, answer: Mapping[str, Any] | None) -> str:
        """What a provider says of its refusal, without anything that it was sent."""
        description = (answer or {}).get("error_description")
        if not isinstance(description, str):
            return error
        secret = [one for one in _secrets_of(self._deed) if one]
        text = mask(redact(" ".join(description.split()), secret))
        shown = "".join(letter for letter in text if letter.isprintable())
        return f"{error} ({cut(shown, _TOLD_CHARACTERS)})"

    def _listen(self, oauth: OAuth2Client, hook: str) -> None:
        def keep(response: httpx2.Response) -> httpx2.Response:
            self._response = response
            return response

        oauth.register_compliance_hook(hook, keep)

    def _client(self, provider: Provider, client: OAuthClient, **more: Any) -> OAuth2Client:
        from authlib.integrations.httpx_client import OAuth2Client

        method = provider.client_auth if client.client_secret else "none"
        return OAuth2Client(
            client.client_id,
            client.client_secret or None,
            token_endpoint_auth_method=method,
            revocation_endpoint_auth_method=method,
            transport=_bounded(),
            headers=_UNPACKED,
            timeout=self._timeout_seconds,
            trust_env=False,
            **more,
        )

    def _http(self) -> httpx2.Client:
        import httpx2

        return httpx2.Client(
            transport=_bounded(),
            headers=_UNPACKED,
            timeout=self._timeout_seconds,
            trust_env=False,
        )


def _bounded() -> httpx2.BaseTransport:
    """Make a transport that reads so much of a body, and no more."""
    import httpx2

    class Bounded(httpx2.HTTPTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            response = super().handle_request(request)
            stream = response.stream
            assert isinstance(stream, httpx2.SyncByteStream)
            pieces, size_bytes = [], 0
            try:
                for piece in stream:
                    size_bytes += len(piece)
                    if size_bytes > _MOST_BYTES:
                        raise _TooLarge
                    pieces.append(piece)
            finally:
                stream.close()
            response.stream = httpx2.ByteStream(b"".join(pieces))
            return response

    return Bounded()


def _object_of(response: httpx2.Response) -> bytes:
    """The body, where it is a JSON object; else nothing."""
    try:
        found = json.loads(response.content)
    except (ValueError, RecursionError):
        return b""
    return json.dumps(found).encode() if isinstance(found, dict) else b""


def _secrets_of(deed: Deed) -> tuple[str, ...]:
    match deed:
        case Exchange():
            return (deed.client.client_secret, deed.code, deed.verifier)
        case Refresh():
            return (deed.client.client_secret, deed.refresh_token)
        case _:
            return ()
