"""What browsers can and cannot do: pages from elsewhere, sessions, forms, named origins."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.merkle import refer
from tests.process.program import COMMAND, PATIENCE_SECONDS
from tests.process.reaching import OPERATOR_PASS, OWNER, Reached, Signed, reached
from tests.process.running import ROOT, Service
from tests.process.test_access import csrf_of

SPACE = space_did("test")
FRIEND = "https://friend.example"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    """A service that lets the pages of one other origin use its API."""
    with reached(tmp_path_factory.mktemp("browsers"), f"--allow-origin={FRIEND}") as found:
        yield found


@pytest.mark.parametrize("content_type", ["text/plain;charset=UTF-8", "application/json", None])
def test_the_button_registers(door: Reached, content_type: str | None) -> None:
    """A page of ours, and a program here, register without credentials, like the original's."""
    given = {"content-type": content_type} if content_type else {}
    with door.client() as client:
        for headers in (given, {**given, "origin": door.url, "sec-fetch-site": "same-origin"}):
            answer = client.post(
                "/api/integrations/bg", content=door.registration(), headers=headers
            )
            assert 200 == answer.status_code, answer.text
            assert {"success": True, "message": "success"} == answer.json()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"space": "x", "integration": "y"}', "pieceId: Field required"),
        ('{"pieceId": "x", "integration": "y"}', "space: Field required"),
        ('{"pieceId": "x", "space": "x"}', "integration: Field required"),
        ('{"pieceId": 5, "space": "x", "integration": "y"}', "pieceId: "),
        ('{"pieceId": "x", "space": "x", "integration": "y"}', "pieceId: Invalid charm ID: x."),
        (
            '{"pieceId": "x", "space": "did:x", "integration": "y"}',
            "space: Invalid space ID: did:x.",
        ),
        (f'{{"pieceId": "x", "space": "{SPACE}", "integration": "y"}}', "pieceId: Invalid charm"),
        (f'{{"charmId": "x", "space": "{SPACE}", "integration": "y"}}', "charmId: Invalid charm"),
        (
            f'{{"pieceId": "{refer({})}", "space": "{SPACE}", "integration": "y"}}',
            "pieceId: There is no charm",
        ),
        (f'{{"pieceId": "{refer({})}", "space": "{SPACE}", "integration": ""}}', "integration: "),
    ],
)
def test_a_wrong_registration_says_what_is_wrong(door: Reached, body: str, reason: str) -> None:
    """The answer is 400, and names the field."""
    with door.client() as client:
        answer = client.post("/api/integrations/bg", content=body)
    assert (400, True) == (answer.status_code, reason in answer.json()["error"]), answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:{port}"},
        {"host": "localhost.evil.example:{port}"},
        {"host": "localhost:1"},
        {"host": "127.0.0.1:{port}@evil.example"},
        {"host": ""},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},
        {"origin": "http://127.0.0.1:{port}.evil.example"},
        {"origin": FRIEND},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ],
    ids=str,
)
def test_pages_from_elsewhere_are_kept_out(door: Reached, headers: dict[str, str]) -> None:
    """Neither a name bound to our address nor a form or fetch from elsewhere gets in."""
    port = door.url.rpartition(":")[2]
    sent = {name: value.replace("{port}", port) for name, value in headers.items()}
    before = len(door.audit())
    with door.client(headers=sent) as client, door.signed_in() as session:
        answer = client.post("/api/integrations/bg", content=door.registration())
        assert answer.status_code in (400, 401, 403), answer.text
        with_cookie = session.post(
            f"{door.charm.path}/disable", headers={**sent, "x-csrf-token": csrf_of(session)}
        )
        assert with_cookie.status_code in (400, 401, 403), with_cookie.text
    assert {"sign in"} >= {each["action"] for each in door.audit()[: len(door.audit()) - before]}


def test_a_link_from_elsewhere_may_be_followed(door: Reached) -> None:
    """A person comes in by a link on any page; a frame on it shows nothing."""
    headers = {
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
    }
    with door.client(headers=headers) as client:
        answer = client.get("/login")
        assert (200, "DENY") == (answer.status_code, answer.headers["x-frame-options"])
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert 403 == client.get("/login", headers={"sec-fetch-dest": "iframe"}).status_code


def test_a_named_origin_comes_with_a_token(door: Reached) -> None:
    """A page of a named origin may use the API with a token, and reads the answers."""
    origin = {"origin": FRIEND}
    with door.client(door.token("friend", space="test"), headers=origin) as client:
        answer = client.post("/api/integrations/bg", content=door.registration())
        assert (200, FRIEND) == (
            answer.status_code,
            answer.headers["access-control-allow-origin"],
        )
        assert "access-control-allow-credentials" not in answer.headers
        assert "origin" in answer.headers["vary"]
    with door.signed_in() as session:
        answer = session.get("/api/charms", headers=origin)
        assert (401, FRIEND) == (
            answer.status_code,
            answer.headers["access-control-allow-origin"],
        )


def test_preflights_are_for_named_origins(door: Reached) -> None:
    """Only a named origin is told what it may send."""
    asks = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    with door.client() as client:
        path = "/api/integrations/bg"
        named = client.options(path, headers={**asks, "origin": FRIEND})
        assert (204, FRIEND) == (named.status_code, named.headers["access-control-allow-origin"])
        assert "authorization" in named.headers["access-control-allow-headers"]
        foreign = client.options(path, headers={**asks, "origin": "https://evil.example"})
        assert 403 == foreign.status_code
        assert "access-control-allow-origin" not in foreign.headers


def test_a_login_code_works_once(door: Reached) -> None:
    """A link signs one browser in; a second one, and a made-up one, are refused."""
    code = door.service.request("POST", "/api/login-codes")["code"]
    with door.client(address="127.0.2.1") as client:
        ahead = client.get(f"/login?code={code}", headers={"sec-purpose": "prefetch"})
        assert 400 == ahead.status_code
        answer = client.get(f"/login?code={code}")
        assert (303, "/") == (answer.status_code, answer.headers["location"])
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert 200 == client.get("/api/export").status_code
    with door.client(address="127.0.2.1") as client:
        assert 401 == client.get(f"/login?code={code}").status_code
        assert 401 == client.get("/login?code=made-up").status_code
        assert 401 == client.get("/api/export").status_code


def test_a_log_that_is_kept_has_no_link(door: Reached) -> None:
    """It says by which command one is made, as it can be typed, and that one signs in."""
    told = str(door.service.wait_for("how_to_sign_in")["message"])
    command = shlex.split(told.partition("`")[2].rstrip("`"))
    printed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    assert not [line for line in door.service.lines if "code=" in str(line)]
    with door.client() as client:
        path = printed.stdout.strip().replace("localhost", "127.0.0.1").removeprefix(door.url)
        assert 303 == client.get(path).status_code


def test_a_start_on_a_terminal_prints_a_link(tmp_path: Path) -> None:
    """Whoever looks at it gets a link that signs a browser in; whoever reads the file does not."""
    log = tmp_path / "service.log"
    flags = [f"--data-dir={tmp_path / 'data'}", "--listen=127.0.0.1:0", f"--log-file={log}"]
    screen, terminal = pty.openpty()
    with (
        open(screen, "rb", buffering=0) as shown,
        subprocess.Popen([*COMMAND, *flags], stdout=terminal, stderr=terminal, cwd=ROOT) as service,
    ):
        os.close(terminal)
        try:
            text = b""
            while not (link := re.search(rb"(http://\S+/login\?code=\S+) ", text)):
                ready, _, _ = select.select([shown], [], [], PATIENCE_SECONDS)
                assert ready, text
                text += shown.read(65536)
            assert 303 == httpx2.get(link[1].decode(), trust_env=False).status_code
            assert "code=" not in log.read_text()
        finally:
            service.kill()


def test_forms_carry_a_token(door: Reached) -> None:
    """A session changes nothing without the token of its forms: in a header, or as a field."""
    path = f"{door.charm.path}/enable"
    with door.signed_in() as session, door.signed_in() as other:
        token = csrf_of(session)
        assert 403 == session.post(path).status_code
        assert 403 == session.post(path, headers={"x-csrf-token": csrf_of(other)}).status_code
        assert 403 == session.post(path, data={"csrf": "x"}).status_code
        door.charm.register()
        assert 200 == session.post(path, headers={"x-csrf-token": token}).status_code
        assert 200 == session.post(path, data={"csrf": token}).status_code


def test_a_session_of_a_token_is_no_more_than_that(door: Reached) -> None:
    """Entering a token gives its rights, until it is revoked, or one signs out."""
    token = door.token("entered", read_only=True)
    with door.client() as client:
        assert 401 == client.post("/login", data={"token": "bgc_wrong"}).status_code
        assert 303 == client.post("/login", data={"token": token}).status_code
        assert 200 == client.get("/api/export").status_code
        csrf = {"x-csrf-token": csrf_of(client)}
        assert 403 == client.post(f"{door.charm.path}/run", headers=csrf).status_code
        door.service.request("DELETE", "/api/tokens/entered")
        assert 401 == client.get("/api/export").status_code
    with door.signed_in() as session:
        kept = dict(session.cookies)
        assert 303 == session.post("/logout", headers={"origin": door.url}).status_code
        with door.client(cookies=kept) as again:
            assert 401 == again.get("/api/export").status_code


def test_a_cookie_that_is_over_is_no_attempt(door: Reached) -> None:
    """Browsers go on sending old cookies: they are nobody's, and nobody has to wait for them."""
    port = door.url.rpartition(":")[2]
    with door.client(cookies={f"bg_charm_session_{port}": "over"}) as client:
        statuses = {client.get("/api/status").status_code for _ in range(10)}
    assert {200} == statuses


def test_who_fails_too_often_has_to_wait(door: Reached) -> None:
    """After a few credentials that do not hold, an address waits; one that is good never does."""
    with door.client(door.token("good"), address="127.0.3.1") as good:
        assert 200 == good.get("/api/status").status_code
        with door.client("bgc_guess", address="127.0.3.1") as guessing:
            answers: list[httpx2.Response] = [guessing.get("/api/status") for _ in range(8)]
        assert [401] * 5 == [answer.status_code for answer in answers[:5]]
        assert 429 == answers[-1].status_code
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert 200 == good.get("/api/status").status_code
    with door.client(door.token("late"), address="127.0.3.1") as late:
        assert 200 == late.get("/api/status").status_code
    with door.client(auth=Signed(OWNER), address="127.0.3.1") as owner:
        assert 200 == owner.get(f"{door.charm.path}/runs").status_code
    assert door.service.wait_for("access.failed", address="127.0.3.1", failures=5)


def test_a_good_credential_does_not_wait_after_a_restart(tmp_path: Path) -> None:
    """A service that has not seen a token yet knows it all the same, whatever came before."""
    with reached(tmp_path) as door:
        token = door.token("kept")
        assert 0 == door.service.stop()
        address = door.url.removeprefix("http://")
        again = Service(
            door.service.data_dir,
            f"--listen={address}",
            "--interval=3600",
            OPERATOR_PASS=OPERATOR_PASS,
        )
        with again:
            with door.client("bgc_guess") as guessing:
                statuses = [guessing.get("/api/status").status_code for _ in range(6)]
            assert [*[401] * 5, 429] == statuses
            with door.client(token) as good:
                assert 200 == good.get("/api/export").status_code
