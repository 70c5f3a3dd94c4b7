"""The admin page over HTTP: who sees what, forms, and what is never sent."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx2
import pytest

from tests.process.program import COUNTER, wait_until
from tests.process.reaching import Reached, reached
from tests.process.running import Refused, RunningCharm
from tests.process.test_access import csrf_of

KEEPER = """\
from bg_charm_service import Charm, Secret

class Keeper(Charm):
    token: Secret[str] = "very-secret-token"
    mails: list[str] = []

    def bg_updater(self, event: dict) -> None:
        self.mails = ["<b>mail</b>"] * 30_000
        print("the token is", self.token)
"""


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    """A running service."""
    with reached(tmp_path_factory.mktemp("pages")) as found:
        yield found


@pytest.fixture
def browser(door: Reached) -> Iterator[httpx2.Client]:
    """A signed-in browser."""
    with door.signed_in() as client:
        yield client


def page_of(charm: RunningCharm) -> str:
    """Give the path of a charm's page."""
    return f"/charms/{charm.ref}"


@pytest.mark.parametrize("path", ["/", "/attention", "/spaces", "/integrations", "/docs"])
def test_pages_hold_nothing_inline(door: Reached, path: str) -> None:
    """The policy allows files of ours only, and pages need no more: no inline script or style."""
    with door.client() as client:
        answer = client.get(path)
    assert (200, "text/html; charset=utf-8") == (
        answer.status_code,
        answer.headers["content-type"],
    )
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert [] == re.findall(r"<script(?![^>]* src=)|\sstyle=|\son[a-z]+=|javascript:", answer.text)
    assert [] == re.findall(r'(?:src|href)="(?:https?:)?//', answer.text)


def test_files_are_named_by_what_is_in_them(door: Reached) -> None:
    """A file under its version is kept for ever, under its plain name it is asked for again."""
    with door.client() as client:
        (pinned,) = set(re.findall(r'href="(/static/style\.css\?v=\w+)"', client.get("/").text))
        forever, plain = client.get(pinned), client.get("/static/style.css")
        again = client.get("/static/style.css", headers={"if-none-match": plain.headers["etag"]})
        missing = client.get("/static/../server.py")
    assert "immutable" in forever.headers["cache-control"]
    assert ("no-cache", 304) == (plain.headers["cache-control"], again.status_code)
    assert 404 == missing.status_code


def test_a_visitor_sees_lists_only(door: Reached) -> None:
    """Without a credential a charm's page has its list entry, and neither state nor source."""
    with door.client() as client:
        shown = client.get(page_of(door.charm))
        assert 200 == shown.status_code
        assert "Counter" in shown.text
        assert "def bg_updater" not in shown.text
        assert 'class="state"' not in shown.text
        assert "/do/" not in shown.text + client.get("/").text
        for path in ("/audit", f"{page_of(door.charm)}/runs/1", f"{page_of(door.charm)}/remove"):
            answer = client.get(path)
            assert (401, True) == (answer.status_code, 'href="/login"' in answer.text)


def test_a_page_names_commands_as_they_are_typed(door: Reached, browser: httpx2.Client) -> None:
    """For whoever is signed in, with where the data lies; a visitor is not told that."""
    data_dir = str(door.service.data_dir)
    text = browser.get(page_of(door.charm)).text
    assert f"bg-charm-service --data-dir {data_dir} charm update " in text
    with door.client() as client:
        assert not [
            path for path in ("/", "/spaces", "/login") if data_dir in client.get(path).text
        ]


def test_secrets_and_large_values_are_not_sent(door: Reached, browser: httpx2.Client) -> None:
    """A secret is nowhere on the page, its log included; a large value is cut; HTML is text."""
    charm = door.service.add(KEEPER, cause="keeper")
    charm.run()
    text = browser.get(page_of(charm)).text
    run = browser.get(f"{page_of(charm)}/runs/1").text
    source = re.compile(r'<pre class="source".*?</pre>', re.DOTALL)
    assert "very-secret-token" not in source.sub("", text) + run
    assert "Secret, never shown" in text
    assert "List of 30,000 items" in text
    assert len(text) < 100_000
    assert "<b>mail</b>" not in text
    assert "&lt;b&gt;mail&lt;/b&gt;" in text


def test_forms_need_their_token(door: Reached, browser: httpx2.Client) -> None:
    """A form without the session's own token changes nothing; with it, it leads back."""
    charm = door.service.add(COUNTER, cause="forms", register=True)
    action = f"{page_of(charm)}/do/disable"
    refused = browser.post(action, data={"csrf": "x"})
    assert (403, True) == (refused.status_code, charm.view()["enabled"])
    done = browser.post(action, data={"csrf": csrf_of(browser)})
    assert (303, page_of(charm)) == (done.status_code, done.headers["location"])
    assert "Disabled via UI" == charm.view()["status"]
    with door.client() as visitor:
        assert 401 == visitor.post(action).status_code
    told = browser.post(
        f"{page_of(charm)}/do/enable",
        headers={"hx-request": "true", "x-csrf-token": csrf_of(browser)},
    )
    assert (204, True) == (told.status_code, "Enabled Counter." in told.headers["hx-trigger"])


def test_what_cannot_be_done_is_said(door: Reached, browser: httpx2.Client) -> None:
    """An error is a page for a browser, and a line of text for the page's script."""
    charm = door.service.add(COUNTER, cause="not registered")
    form = {"csrf": csrf_of(browser)}
    action = f"{page_of(charm)}/do/disable"
    answer = browser.post(action, data=form)
    assert (409, True) == (answer.status_code, "<h1>Not now</h1>" in answer.text)
    told = browser.post(action, data=form, headers={"hx-request": "true"})
    assert "text/plain; charset=utf-8" == told.headers["content-type"]
    assert f"{charm.ref} is not registered" in told.text
    for path in ("/charms/x/y", f"/charms/{door.charm.ref}/runs/999", "/charms/x/y/runs/0"):
        assert browser.get(path).status_code in (400, 404)
        assert "<h1>" in browser.get(path).text


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("interval", {"seconds": "soon"}),
        ("interval", {"seconds": "0"}),
        ("field", {"name": "counter", "value": "no json"}),
        ("field", {"name": "counter", "value": '"text"'}),
        ("field", {}),
        ("remove", {"name": "counter"}),
    ],
)
def test_wrong_entries_change_nothing(
    door: Reached, browser: httpx2.Client, path: str, fields: dict[str, str]
) -> None:
    """A form with a wrong entry is refused with the reason."""
    before = door.charm.view()
    data = {**fields, "csrf": csrf_of(browser)}
    assert 400 == browser.post(f"{page_of(door.charm)}/{path}", data=data).status_code
    after = door.charm.view()
    assert (before["interval_seconds"], before["executions"]) == (
        after["interval_seconds"],
        after["executions"],
    )


def test_a_charm_is_removed_by_its_name(door: Reached, browser: httpx2.Client) -> None:
    """With its name given, the charm and its state are gone."""
    charm = door.service.add(COUNTER, cause="removed by name")
    data = {"name": "Counter", "csrf": csrf_of(browser)}
    answer = browser.post(f"{page_of(charm)}/remove", data=data)
    assert (303, "/") == (answer.status_code, answer.headers["location"])
    with pytest.raises(Refused, match="There is no charm"):
        charm.view()


def test_several_at_once(door: Reached, browser: httpx2.Client) -> None:
    """What fails for one charm does not stop the others; a form leads to pages of ours only."""
    polled = door.service.add(COUNTER, cause="polled", register=True)
    idle = door.service.add(COUNTER, cause="idle")
    data = {
        "csrf": csrf_of(browser),
        "action": "disable",
        "charm": [idle.ref, polled.ref],
        "then": "https://evil.example/",
    }
    answer = browser.post("/charms/selected", data=data)
    assert (303, "/", False) == (
        answer.status_code,
        answer.headers["location"],
        polled.view()["enabled"],
    )
    told = browser.post("/charms/selected", data=data, headers={"hx-request": "true"})
    assert "1 of 2 charms" in told.headers["hx-trigger"]
    wrongs: tuple[dict[str, object], ...] = ({"charm": []}, {"charm": ["x"]}, {"action": "x"})
    for wrong in wrongs:
        assert 400 == browser.post("/charms/selected", data={**data, **wrong}).status_code


def test_a_session_of_one_space_sees_and_changes_that_space(door: Reached) -> None:
    """A token for a space opens its list and its charms, and no other's."""
    other = door.service.add(COUNTER, cause="elsewhere", space="other", register=True)
    with door.client() as client:
        client.post("/login", data={"token": door.token("limited", space="test")})
        shown = client.get("/")
        assert 200 == shown.status_code
        assert door.charm.charm_id in shown.text
        assert other.charm_id not in shown.text
        assert other.charm_id not in client.get("/?space=other").text
        assert (200, 403) == (
            client.get(page_of(door.charm)).status_code,
            client.get(page_of(other)).status_code,
        )
        data = {"csrf": csrf_of(client), "action": "disable", "charm": [other.ref]}
        assert 403 == client.post("/charms/selected", data=data).status_code
    assert other.view()["enabled"]


def test_the_admin_charm_speaks_on_every_page(door: Reached) -> None:
    """Title and notice come from the admin charm, as text."""
    service = door.service
    service.request("POST", "/api/admin-charm", {"grant": None})
    admin = next(
        one
        for one in service.request("GET", "/api/charms?text=admin")["charms"]
        if one["cause"] == "admin"
    )
    charm = RunningCharm(service, f"{admin['space']}/{admin['charm_id']}")
    charm.set("title", "Charms of <the lab>")
    charm.set("notice", "Back soon")
    with door.client() as client:
        text = client.get("/spaces").text
    assert "Charms of &lt;the lab&gt;" in text
    assert "Back soon" in text


def test_an_empty_service_teaches(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With no charm yet, the page shows the commands that add one."""
    with reached(tmp_path_factory.mktemp("empty")) as found, found.client() as client:
        found.charm.remove()
        text = client.get("/").text
    assert "No charm yet" in text
    assert "bg-charm-service charm add hello.py --space demo --register" in text


def test_a_page_says_when_a_charm_runs(door: Reached) -> None:
    """In words, who said so, and the next five times by the clocks of its zone."""
    words = 'cron = "0 8 * * mon-fri"\n    time_zone = "Europe/Oslo"'
    source = COUNTER.replace("class Counter(Charm):\n", f"class Counter(Charm):\n    {words}\n")
    assert words in source
    charm = door.service.add(source, register=True)
    with door.client() as client:
        text = " ".join(client.get(page_of(charm)).text.split())
    said = "weekdays at 08:00, Europe/Oslo"
    assert f'<dt>Runs</dt><dd>{said} <span class="tag">by its class</span></dd>' in text
    assert 5 == len(re.findall(r"<time [^>]+>(?:\w{3} \d\d \w{3}, )?08:00</time>", text))
    plain = door.service.add(COUNTER, register=True)
    with door.client() as client:
        text = " ".join(client.get(page_of(plain)).text.split())
    assert "<dt>Runs</dt><dd>every " in text
    assert "by its" not in text.partition("<dt>Runs</dt>")[2].partition("</dd>")[0]


def test_pages_pause_and_resume(door: Reached, browser: httpx2.Client) -> None:
    """A charm, a space and everything have a switch, and say in red that they are paused."""
    charm = door.service.add(COUNTER, cause="paused", space="paused", register=True)
    form = {"csrf": csrf_of(browser)}
    space = charm.ref.partition("/")[0]
    assert 303 == browser.post(f"{page_of(charm)}/do/pause", data=form).status_code
    shown = browser.get(page_of(charm)).text
    assert "It was paused by session" in shown
    assert "/do/resume" in shown
    assert charm.charm_id in browser.get("/?show=paused").text
    assert 303 == browser.post(f"{page_of(charm)}/do/resume", data=form).status_code
    for path, page, said in (
        (f"/spaces/{space}/do", page_of(charm), "Its space was paused by session"),
        ("/service/do", "/", "Everything is paused"),
    ):
        assert 303 == browser.post(f"{path}/pause", data=form).status_code
        assert said in browser.get(page).text
        assert f"{path}/resume" in browser.get("/spaces").text
        assert 303 == browser.post(f"{path}/resume", data=form).status_code
        assert said not in browser.get(page).text
    with door.client() as visitor:
        assert 401 == visitor.post("/service/do/pause").status_code


def test_what_is_paused_or_stale_needs_attention(door: Reached, browser: httpx2.Client) -> None:
    """Listed with the reason, and what resumes it; a paused charm has no next times."""
    words = "expects = '1s'"
    source = COUNTER.replace("class Counter(Charm):\n", f"class Counter(Charm):\n    {words}\n")
    assert words in source
    stale = door.service.add(source, cause="stale", space="attention")
    paused = door.service.add(COUNTER, cause="paused by itself", space="attention", register=True)
    space = paused.ref.partition("/")[0]
    assert "Next times" in browser.get(page_of(paused)).text
    paused.post("pause")
    assert "Next times" not in browser.get(page_of(paused)).text
    wait_until(lambda: stale.view()["stale_since"])
    text = " ".join(browser.get("/attention").text.split())
    assert f"resume attention/{paused.charm_id}</code>" in text
    assert "expects something to change every 1 s" in text
    assert stale.charm_id in text
    paused.post("resume")
    door.service.request("POST", f"/api/spaces/{space}/pause")
    text = " ".join(browser.get("/attention").text.split())
    assert "resume attention</code>" in text
    assert f'action="/spaces/{space}/do/resume"' in text
    door.service.request("POST", f"/api/spaces/{space}/resume")
    assert "<h2>Paused</h2>" not in browser.get("/attention").text
