"""`make gmail` and `make gcal` on a terminal: client, browser, and back; each fault is told."""

from __future__ import annotations

import json
import re
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from demos.first_sign_in import said_by_google
from tests.fakes.gcal_server import FakeCalendars
from tests.process.terminal import typed
from tests.process.test_real_servers import choose_user
from tests.real_servers import CLIENT, USER, RealServer, emulate

#: Where Google's page of an error is, as far as it matters.
GOOGLES = "https://accounts.google.com/signin/oauth/error?authError={}&flowName=GeneralOAuthFlow"


@pytest.fixture
def google(tmp_path: Path) -> Iterator[RealServer]:
    """Google, as the npm package emulates it."""
    with emulate(tmp_path) as running:
        yield running


def command(google: RealServer, name: str, base: str, data: Path) -> list[str]:
    """As `make` has it, but for the address."""
    at = json.dumps(base if "://" in base else f"http://localhost:{google.port}{base}")
    return [
        *(sys.executable, "-m", "demos.first_charm", name),
        *("--set", f"base={at}", "--issuer", f"http://localhost:{google.port}"),
        *("--", "--no-api", "--sandbox=auto", "--data-dir", str(data)),
    ]


def signed_in(seen: str) -> str:
    """Do in the browser what a person does with the address that was shown last."""
    return choose_user(re.findall(r"^http://localhost:\S+", seen, re.MULTILINE)[-1])


def test_an_account_is_there_after_its_sign_in(tmp_path: Path, google: RealServer) -> None:
    """What is wrong is told, and asked for once more; the secret is never shown."""
    data = tmp_path / "data"
    mismatch = urlsafe_b64encode(b"\n\x15redirect_uri_mismatch\x12\x01x").decode()
    make_gmail = command(google, "gmail", "/gmail/v1/users/me/", data)
    code, seen = typed(
        make_gmail,
        ("Client id", CLIENT["client_id"]),
        ("Client secret", "a wrong secret"),
        ("Address", GOOGLES.format(mismatch)),
        ("That did not work: redirect_uri_mismatch: add http://localhost:8000/api/", ""),
        ("Address", signed_in),
        ("the id or the secret is not that of an OAuth client", CLIENT["client_id"]),
        ("Client secret", CLIENT["client_secret"]),
        ("Address", signed_in),
    )
    assert 0 == code, seen
    assert "Signed in at google as me@example.org" in seen
    assert "5 mails, the newest:" in seen
    assert "you@example.org  Mail 5" in seen
    assert "a wrong secret" not in seen
    # It is one of Gmail's now, so that nothing is asked.
    assert (0, "") == typed(make_gmail)
    assert USER in seen


def test_calendars_are_there_after_a_sign_in(tmp_path: Path, google: RealServer) -> None:
    """The calendar itself is a fake, since the emulation has none that changes are asked of."""
    data = tmp_path / "data"
    with FakeCalendars() as calendars:
        day = datetime.now(UTC).date() + timedelta(days=1)
        times: dict[str, Any] = {
            "start": {"dateTime": f"{day}T10:00:00Z"},
            "end": {"dateTime": f"{day}T11:00:00Z"},
        }
        calendars.put("one", summary="Grüße", **times)
        make_gcal = command(google, "gcal", calendars.base, data)
        code, seen = typed(
            make_gcal,
            ("Client id", CLIENT["client_id"]),
            ("Client secret", CLIENT["client_secret"]),
            ("Address", signed_in),
        )
    assert 0 == code, seen
    assert "Signed in at google as me@example.org" in seen
    assert "1 event of 1 calendar, the next:" in seen
    # In the calendar's own zone.
    begins = datetime.fromisoformat(f"{day}T10:00:00Z").astimezone(ZoneInfo("Europe/Berlin"))
    assert f"  {begins.isoformat()}  " in seen
    assert "Grüße" in seen
    assert (0, "") == typed(make_gcal)


def test_what_google_says_is_read_from_its_address() -> None:
    """By its word, however it stands there; what a person was sent back with is none."""
    word = urlsafe_b64encode(b"\n\rinvalid_client\x12").decode().rstrip("=")
    assert "invalid_client" == said_by_google(GOOGLES.format(word))
    assert "access_denied" == said_by_google("Error 403: access_denied")
    assert "" == said_by_google("http://localhost:8000/?state=x&code=y")
    assert "" == said_by_google(GOOGLES.format("%C3%BC!"))
