"""Addresses of targets: which are allowed, what is shown of them, how a file of them is read."""

from __future__ import annotations

import re

import pytest

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.notice_urls import (
    GivenTarget,
    check_target_url,
    is_this_machine,
    masked_target,
    note_about,
    ports_of,
    read_given_targets,
    secret_parts,
)
from bg_charm_service.domain.notices import read_kinds
from tests.unit.pages import ROOT


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mailtos://me:letmein@mail.example.org?to=a@b", "mailtos://mail.example.org/…"),
        ("jsons://example.org:8443/a-token", "jsons://example.org:8443/…"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "slack://…"),
        ("ntfys://my-secret-topic", "ntfys://…"),
        ("tgram://123456789:abcdefg_hijklmnop/", "tgram://…"),
        ("nonsense", "…://…"),
        ("json://[broken/x", "json://…"),
    ],
)
def test_nothing_secret_of_an_address_is_shown(url: str, shown: str) -> None:
    """Its scheme, and its host where that is one that people know."""
    assert shown == masked_target(url)


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("a.localhost", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", True),  # noqa: S104 - no binding
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("example.org", False),
    ],
)
def test_this_machine_is_known_by_any_of_its_names(host: str, *, is_here: bool) -> None:
    """Loopback in every spelling, and the addresses that it has."""
    assert is_here == is_this_machine(host, {"192.0.2.7"})


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mailto://me:secret@example.org?smtp=localhost", "address of this machine"),
        ("json://127.0.0.1:9000", "address of this machine"),
        ("json://example.org:8000/", "Port 8000 leads to this service"),
        ("macosx://", "Nothing is sent by macosx"),
        ("https://example.org/secret", "Nothing is sent by https"),
        ("json://example.org/a b", "no address of a target"),
        (f"json://example.org/{'x' * 5000}", "no address of a target"),
    ],
)
def test_what_nothing_may_be_sent_to(url: str, why: str) -> None:
    """It is refused with a reason that has nothing of what may be secret."""
    with pytest.raises(InvalidInput, match=why) as refused:
        check_target_url(url, {8000}, may_be_local=False)
    assert "secret" not in str(refused.value)


def test_this_machine_is_allowed_where_that_is_meant() -> None:
    """All but the service itself."""
    check_target_url("json://127.0.0.1:9000", {8000}, may_be_local=True)
    with pytest.raises(InvalidInput, match="Port 8000"):
        check_target_url("json://127.0.0.1:8000", {8000}, may_be_local=True)


def test_sending_may_use_the_port_of_the_address_and_the_plain_ones() -> None:
    """Those of names, the web and mail."""
    assert {53, 443, 587, 9000, 2525} <= ports_of("json://h:9000?smtp=mail:2525")
    assert 9000 not in ports_of("json://h")


def test_what_is_told_of_a_failure_has_no_part_of_the_address() -> None:
    """Every piece of it that could be a secret, the longest first; the host may be told."""
    parts = secret_parts("jsons://user:letmein@example.org/hook/abcdef?token=ghijkl")
    assert {"letmein", "abcdef", "ghijkl"} <= set(parts)
    assert "example.org" not in parts
    assert list(parts) == sorted(parts, key=len, reverse=True)


@pytest.mark.parametrize(
    ("url", "is_noted"),
    [
        ("mailtos://me:x@example.org:465?to=a@b", True),
        ("mailtos://me:x@example.org:465?to=a@b&mode=ssl", False),
        ("mailtos://me:x@example.org:587?to=a@b", False),
    ],
)
def test_the_surprise_of_mail_on_port_465_is_told(url: str, *, is_noted: bool) -> None:
    """It would speak STARTTLS there."""
    assert is_noted == ("mode=ssl" in note_about(url))


def test_a_file_of_targets_is_read_line_by_line() -> None:
    """An address, and what it is to get; comments and empty lines are none."""
    text = "\n# the phone\nntfys://topic\njsons://h/x kinds=down,up down-after=5m space=a name=b\n"
    assert (
        GivenTarget("ntfys://topic"),
        GivenTarget("jsons://h/x", "b", "a", ("down", "up"), 300.0),
    ) == read_given_targets(text, "F")


@pytest.mark.parametrize(
    "line",
    ["letmein", "jsons://h/letmein what", "jsons://h/letmein kinds=", "json://h down-after=x"],
)
def test_a_line_that_is_wrong_is_named_without_the_address(line: str) -> None:
    """By its number."""
    with pytest.raises(InvalidInput, match="F, line 2: expected") as refused:
        read_given_targets(f"\n{line}", "F")
    assert "letmein" not in str(refused.value)


def test_the_example_of_the_documents_can_be_read() -> None:
    """What an operator copies from there is what it says."""
    page = (ROOT / "docs" / "operating.md").read_text()
    (text,) = re.findall(r"```text\n(# who is told\n.*?)```", page, re.DOTALL)
    phone, ops, demo = read_given_targets(text, "F")
    for one in (phone, ops, demo):
        check_target_url(one.url, {8000}, may_be_local=False)
        assert read_kinds(one.kinds, is_of_space=bool(one.space)) == frozenset(one.kinds)
    assert ("ops", ("unhealthy", "healthy", "backup_failed")) == (ops.name, ops.kinds)
    assert ("demo", 3600.0) == (demo.space, demo.down_after_seconds)
