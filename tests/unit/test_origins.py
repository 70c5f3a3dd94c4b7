"""Which hosts and origins are ours, whatever a browser is made to send."""

from __future__ import annotations

import pytest

from bg_charm_service.api.auth.allowed_origins import LOOPBACK_NAMES, Doorplate, Source, is_loopback

NEAR = Doorplate(LOOPBACK_NAMES, frozenset({8000}))
FAR = Doorplate(LOOPBACK_NAMES | {"charms.example"}, frozenset({8000, 443}), is_open=True)


@pytest.mark.parametrize(
    "host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:8000"]
)
def test_names_of_this_machine_are_ours(host: str) -> None:
    """A browser on this machine finds us under each name of its own."""
    assert NEAR.is_ours(host, port=8000, is_near=True)


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
    assert not NEAR.is_ours(host, port=8000, is_near=True)


def test_an_open_service_answers_to_addresses_and_its_names() -> None:
    """From elsewhere it is found by any address, also a mapped one, and by names it was told."""
    for host in ("192.0.2.1:9000", "[2001:db8::1]:8000", "charms.example", "charms.example:8000"):
        assert FAR.is_ours(host, port=8000, is_near=False)
    # A proxy on this machine passes on what the browser calls it.
    assert FAR.is_ours("charms.example", port=8000, is_near=True)
    assert not FAR.is_ours("evil.example:8000", port=8000, is_near=False)
    assert not FAR.is_ours("192.0.2.1:8000", port=8000, is_near=True)


@pytest.mark.parametrize(
    ("method", "headers", "source"),
    [
        ("POST", {}, Source.DIRECT),
        ("POST", {"origin": "http://localhost:8000"}, Source.OURS),
        ("POST", {"origin": "https://localhost:8000"}, Source.OURS),
        ("POST", {"origin": "HTTP://LOCALHOST:8000"}, Source.OURS),
        ("POST", {"origin": "http://localhost:3000"}, Source.FOREIGN),
        ("POST", {"origin": "http://127.0.0.1:8000"}, Source.FOREIGN),
        ("POST", {"origin": "null"}, Source.FOREIGN),
        ("POST", {"origin": ""}, Source.FOREIGN),
        ("POST", {"origin": "file://localhost:8000"}, Source.FOREIGN),
        ("POST", {"origin": "https://friend.example"}, Source.NAMED),
        ("POST", {"origin": "http://friend.example"}, Source.FOREIGN),
        ("POST", {"sec-fetch-site": "same-origin"}, Source.OURS),
        ("POST", {"sec-fetch-site": "none"}, Source.DIRECT),
        ("POST", {"sec-fetch-site": "same-site"}, Source.FOREIGN),
        ("POST", {"sec-fetch-site": "anything"}, Source.FOREIGN),
        ("GET", {"sec-fetch-site": "cross-site"}, Source.FOREIGN),
    ],
)
def test_where_a_request_comes_from(method: str, headers: dict[str, str], source: Source) -> None:
    """What browsers say of a request's page tells ours, named ones and others apart."""
    plate = Doorplate(allowed_origins=frozenset({"https://friend.example"}))
    assert source is plate.source(method, "/", {"host": "localhost:8000", **headers})


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
