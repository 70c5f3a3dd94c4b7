"""The promises of the client: refusals come back as the errors they were, also from bad peers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from bg_charm_service.cli.client import Client, Response, connect_to_socket
from bg_charm_service.daemon.settings import Settings
from bg_charm_service.domain.errors import (
    AuthorizationError,
    Conflict,
    InvalidInput,
    NotFound,
    ServiceError,
    ServiceStopping,
)
from bg_charm_service.domain.views import FieldView

Responder = Callable[[httpx2.Request], httpx2.Response]


def ask(respond: Responder, *path: str, **query: object) -> Response:
    """Get a path from a server that answers as told."""

    async def get() -> Response:
        transport = httpx2.MockTransport(respond)
        async with httpx2.AsyncClient(transport=transport, base_url="http://service") as http:
            return await Client(http, is_online=True).get(*path, **query)

    return asyncio.run(get())


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidInput),
        (403, AuthorizationError),
        (404, NotFound),
        (409, Conflict),
        (503, ServiceStopping),
        (500, ServiceError),
    ],
)
def test_a_refusal_is_the_error_it_was(status: int, kind: type[ServiceError]) -> None:
    """Status and text of an answer give the error that the service raised."""
    with pytest.raises(kind, match=r"^the reason$") as caught:
        ask(lambda _: httpx2.Response(status, json={"error": "the reason"}), "status")
    assert kind is type(caught.value)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"detail": 1}', b"\xff"])
def test_a_refusal_in_another_form_is_an_error_of_ours(body: bytes) -> None:
    """Whatever answers on the socket, the person reads one line."""
    with pytest.raises(ServiceError, match="answered 502 Bad Gateway"):
        ask(lambda _: httpx2.Response(502, content=body), "status")


def test_an_answer_in_an_unknown_form_is_an_error_of_ours() -> None:
    """An answer that is not what it should be hints at another version of the service."""
    answer = ask(lambda _: httpx2.Response(200, json={"name": 1}), "status")
    with pytest.raises(ServiceError, match="another version"):
        answer.read(FieldView)


def test_a_lost_connection_is_an_error_of_ours() -> None:
    """A service that goes away in the middle is told as such."""

    def fail(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadError("gone", request=request)

    with pytest.raises(ServiceStopping, match="without an answer"):
        ask(fail, "status")


def test_segments_and_queries_are_quoted() -> None:
    """A name may hold anything; what is not given is not sent."""
    seen: list[str] = []

    def note(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.url.raw_path.decode())
        return httpx2.Response(200, json={})

    ask(note, "state", "a/b?c", space=None, limit=5)
    assert ["/api/state/a%2Fb%3Fc?limit=5"] == seen


@pytest.mark.parametrize("depth", [1, 40])
def test_nobody_listens_where_nothing_is(tmp_path: Path, depth: int) -> None:
    """A directory that is missing, however deep, has no service; it is not made by looking."""
    directory = tmp_path.joinpath(*["deep"] * depth)

    async def look() -> Client | None:
        async with connect_to_socket(Settings(data_dir=directory)) as client:
            return client

    assert None is asyncio.run(look())
    assert not directory.exists()
