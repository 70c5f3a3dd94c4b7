"""Which hosts and origins are ours, whatever a browser is made to send."""

from __future__ import annotations

import pytest

from bg_charm_service.api.auth.allowed_origins import (
    LOOPBACK_HOSTS,
    OriginPolicy,
    RequestOrigin,
    is_loopback,
)

NEAR = OriginPolicy(LOOPBACK_HOSTS, frozenset({8000}))
FAR = OriginPolicy(LOOPBACK_HOSTS | {"charms.example"}, frozenset({8000, 443}), is_public=True)


@pytest.mark.parametrize(
    "host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:8000"]
)
def test_names_of_this_machine_are_ours(host: str) -> None:
    """A browser on this machine finds us under each name of its own."""
    assert NEAR.is_known_host(host, port=8000, is_local=True)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "localhost:8001",
        "evil.example:8000",
        "localhost.evil.example:8000",
        "127.0.0.1.evil.example:8000",
        "evil.localhost:8000",
        "user@localhost:8000",
        "localhost:8000:8000",
        "127.0.0.2:8000",
        "192.0.2.1:8000",
        "localhost:\uff18\uff10\uff10\uff10",
        "local\nhost:8000",
    ],
)
def test_other_names_are_not(host: str) -> None:
    """A name that was bound to our address is not ours, however it looks."""
    assert not NEAR.is_known_host(host, port=8000, is_local=True)


def test_an_open_service_answers_to_addresses_and_its_names() -> None:
    """From elsewhere it is found by any address, also a mapped one, and by names it was told."""
    for host in ("192.0.2.1:9000", "[2001:db8::1]:8000", "charms.example", "charms.example:8000"):
        assert FAR.is_known_host(host, port=8000, is_local=False)
    # A proxy on this machine passes on what the browser calls it.
    assert FAR.is_known_host("charms.example", port=8000, is_local=True)
    assert not FAR.is_known_host("evil.example:8000", port=8000, is_local=False)
    assert not FAR.is_known_host("192.0.2.1:8000", port=8000, is_local=True)


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("POST", {}, RequestOrigin.DIRECT),
        ("POST", {"origin": "http://localhost:8000"}, RequestOrigin.SAME_ORIGIN),
        ("POST", {"origin": "https://localhost:8000"}, RequestOrigin.SAME_ORIGIN),
        ("POST", {"origin": "HTTP://LOCALHOST:8000"}, RequestOrigin.SAME_ORIGIN),
        ("POST", {"origin": "http://localhost:3000"}, RequestOrigin.CROSS_ORIGIN),
        ("POST", {"origin": "http://127.0.0.1:8000"}, RequestOrigin.CROSS_ORIGIN),
        ("POST", {"origin": "null"}, RequestOrigin.CROSS_ORIGIN),
        ("POST", {"origin": ""}, RequestOrigin.CROSS_ORIGIN),
        ("POST", {"origin": "file://localhost:8000"}, RequestOrigin.CROSS_ORIGIN),
        ("POST", {"origin": "https://friend.example"}, RequestOrigin.ALLOWED),
        ("POST", {"origin": "http://friend.example"}, RequestOrigin.CROSS_ORIGIN),
        ("POST", {"sec-fetch-site": "same-origin"}, RequestOrigin.SAME_ORIGIN),
        ("POST", {"sec-fetch-site": "none"}, RequestOrigin.DIRECT),
        ("POST", {"sec-fetch-site": "same-site"}, RequestOrigin.CROSS_ORIGIN),
        ("POST", {"sec-fetch-site": "anything"}, RequestOrigin.CROSS_ORIGIN),
        ("GET", {"sec-fetch-site": "cross-site"}, RequestOrigin.CROSS_ORIGIN),
    ],
)
def test_where_a_request_comes_from(
    method: str, headers: dict[str, str], expected: RequestOrigin
) -> None:
    """What browsers say of a request's page tells ours, named ones and others apart."""
    policy = OriginPolicy(allowed_origins=frozenset({"https://friend.example"}))
    assert expected is policy.origin_of(method, "/", {"host": "localhost:8000", **headers})


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:192.0.2.1", False),
        ("192.0.2.1", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_loopback(address: str, *, expected: bool) -> None:
    """Only addresses of the machine itself are near."""
    assert expected is is_loopback(address)
