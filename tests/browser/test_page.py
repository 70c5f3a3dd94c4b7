"""The admin page as a person uses it, in a real browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.conftest import PATIENCE_MS, Watched
from tests.fakes.http_server import FakeServer
from tests.process.program import COUNTER
from tests.process.reaching import Reached

expect.set_options(timeout=PATIENCE_MS)

FAILING = """\
from bg_charm_service import Charm

class Mailbox(Charm):
    def bg_updater(self, event: dict) -> None:
        print("<b>opening</b> the mailbox")
        raise PermissionError("the token <script>document.title='taken'</script> was refused")
"""

ASKING = """\
from bg_charm_service import Charm

class Asking(Charm):
    async def bg_updater(self, event: dict) -> None:
        async with self.http() as http:
            await http.get("{address}")
        print("asked and answered")
"""

HOSTILE = COUNTER.replace('error: str = ""', 'error: str = "<img src=x onerror=alert(1)>"')

PAGES = (
    "/",
    "/attention",
    "/spaces",
    "/integrations",
    "/notices",
    "/audit",
    "/docs",
    "/login",
    "/?q=nothing",
    "/add",
    "/add/mail_importer",
)


def test_the_button_registers_and_the_dot_turns_green(operator: Watched, door: Reached) -> None:
    """A charm is registered by the button; its dot turns green, its run appears, no reload."""
    charm = door.service.add(cause="by the button")
    page = operator.open(f"/charms/{charm.ref}")
    expect(page.locator("h1 .dot-unregistered")).to_be_visible()
    page.evaluate("document.body.dataset.kept = 'yes'")
    button = page.locator("ct-updater button")
    expect(button).to_have_text("Register Charm for Updates")

    button.click()

    expect(button).to_have_text("Successfully Registered!")
    expect(page.locator("h1 .dot-ok")).to_be_visible()
    expect(page.locator(".runs .run-word").first).to_have_text("success")
    expect(button).to_have_text("Register Charm for Updates")
    assert "yes" == page.evaluate("document.body.dataset.kept")


def test_a_visitor_registers_but_has_no_switches(visitor: Watched, door: Reached) -> None:
    """Without a session the button works; state and switches are not there, the way in is."""
    charm = door.service.add(cause="by a visitor")
    page = visitor.open(f"/charms/{charm.ref}")
    assert 0 == page.locator("text=Run now").count() + page.locator("dl.state").count()
    expect(page.locator("main a[href='/login']").first).to_be_visible()

    page.locator("ct-updater button").click()

    expect(page.locator("h1 .dot-ok")).to_be_visible()


def test_a_charm_is_disabled_and_enabled_in_the_list(operator: Watched, door: Reached) -> None:
    """A switch of the list works at once, and what somebody else does shows by itself."""
    charm = door.service.add(cause="switched", register=True)
    charm.wait_for("run.succeeded")
    page = operator.open("/?q=switched")
    row = page.locator("tr", has_text="switched")
    expect(row.locator(".dot-ok")).to_be_visible()

    row.get_by_role("button", name="Disable").click()

    expect(row.locator(".dot-off")).to_be_visible()
    expect(page.locator("#notice")).to_contain_text("Disabled Scripted.")
    assert "Disabled via UI" == charm.view()["status"]
    charm.post("enable")
    expect(row.locator(".dot-ok")).to_be_visible()


def test_the_keyboard_keeps_its_place(operator: Watched, door: Reached) -> None:
    """A switch that was pressed by key has the focus still when it says the opposite."""
    charm = door.service.add(cause="by key", register=True)
    charm.wait_for("run.succeeded")
    page = operator.open("/?q=by+key")
    page.get_by_role("button", name="Disable: Scripted").focus()
    page.keyboard.press("Enter")
    enable = page.get_by_role("button", name="Enable: Scripted")
    expect(enable).to_be_focused()
    expect(enable).to_have_text("Enable")
    assert not charm.view()["enabled"]
    page.keyboard.press("Enter")
    disable = page.get_by_role("button", name="Disable: Scripted")
    expect(disable).to_be_focused()
    expect(disable).to_have_text("Disable")
    assert charm.view()["enabled"]


def test_the_error_of_a_failing_charm_is_found(operator: Watched, door: Reached) -> None:
    """From the first page one click leads to why a charm fails: error, traceback, log, as text."""
    charm = door.service.add(FAILING, cause="inbox", register=True)
    charm.wait_for("run.failed")
    page = operator.open("/")
    failing = page.locator(".failing li", has_text="Mailbox")
    expect(failing).to_contain_text("the token <script>document.title='taken'</script> was refused")

    failing.get_by_role("link").click()

    expect(page.locator(".alert").first).to_contain_text("PermissionError")
    page.locator(".runs summary").first.click()
    expect(page.locator(".run-body").first).to_contain_text("line 6, in bg_updater")
    expect(page.locator(".run-body").first).to_contain_text("<b>opening</b> the mailbox")
    page.evaluate("htmx.trigger(document.body, 'changed')")
    expect(page.locator(".runs details[open]")).to_have_count(1)
    assert "taken" != page.title()
    charm.post("disable")


def test_several_charms_are_switched_at_once(operator: Watched, door: Reached) -> None:
    """What is selected is done together; the selection outlives a refresh."""
    charms = [door.service.add(cause=f"herd {n}", register=True) for n in range(3)]
    page = operator.open("/?q=herd")
    page.get_by_label("Select Scripted").nth(0).check()
    page.get_by_label("Select Scripted").nth(1).check()
    page.evaluate("htmx.trigger(document.body, 'changed')")
    expect(page.locator("#picked")).to_have_text("2 selected")

    page.locator(".bulk").get_by_role("button", name="Disable").click()

    expect(page.locator("#notice")).to_have_text("Disabled: 2 of 2 charms.")
    assert [False, False, True] == [charm.view()["enabled"] for charm in charms]


def test_the_search_filters_as_one_types(operator: Watched, door: Reached) -> None:
    """The list follows the search, and so does the address."""
    door.service.add(cause="needle")
    page = operator.open("/")
    page.get_by_label("Search").type("needle")
    expect(page.locator(".list tbody tr")).to_have_count(1)
    expect(page.locator(".list tbody tr")).to_contain_text("needle")
    assert page.url.endswith("/?q=needle")
    page.get_by_label("Search").fill("no such charm")
    expect(page.locator("#live")).to_contain_text("No charm matches")


def test_removing_asks_for_the_name(operator: Watched, door: Reached) -> None:
    """A wrong name removes nothing; the right one removes the charm."""
    charm = door.service.add(cause="to be removed")
    page = operator.open(f"/charms/{charm.ref}")
    page.get_by_role("link", name="Remove…").click()
    page.locator("input[name=name]").fill("Scripted")
    page.get_by_role("button", name="Remove charm and state").click()
    expect(page.locator("h1", has_text="Charms")).to_be_attached()
    assert [] == [one for one in listed(door) if one["cause"] == "to be removed"]


def test_a_field_and_the_interval_are_set(operator: Watched, door: Reached) -> None:
    """Forms of a charm's page change it; a wrong value is refused with the reason."""
    charm = door.service.add(COUNTER, cause="set by hand")
    page = operator.open(f"/charms/{charm.ref}")
    page.get_by_label("Interval in seconds").fill("90")
    page.get_by_role("button", name="Change").click()
    expect(page.locator(".facts", has_text="90 s")).to_be_visible()
    page.locator("#set-field summary").click()
    page.locator("textarea[name=value]").fill("41")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.locator("dl.state")).to_contain_text("41")
    assert 41 == charm.get("counter")


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_a_phone(operator: Watched, path: str, scheme: str) -> None:
    """No page scrolls sideways at the width of a phone, in light or dark, or logs an error."""
    operator.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    operator.page.set_viewport_size({"width": 360, "height": 700})
    page = operator.open(path)
    assert 360 >= page.evaluate("document.documentElement.scrollWidth")
    assert page.title()


def test_requests_of_a_run_have_a_tab(operator: Watched, door: Reached) -> None:
    """Beside its log; also at the width of a phone, whatever somebody put into a path."""
    with FakeServer() as server:
        path = "/<b>bold</b>/" + "x" * 200
        charm = door.service.add(ASKING.format(address=f"{server.url}{path}"), cause="asking")
        run = charm.run()
    page = operator.open(f"/charms/{charm.ref}")
    page.locator(".runs summary").first.click()
    page.get_by_role("link", name="1 request").click()
    row = page.locator("table tbody tr")
    expect(row).to_contain_text("GET 127.0.0.1/<b>bold</b>/xxx")
    expect(row).to_contain_text("404")
    page.set_viewport_size({"width": 360, "height": 700})
    assert 360 >= page.evaluate("document.documentElement.scrollWidth")
    page.get_by_role("link", name="Log", exact=True).click()
    expect(page.locator("main")).to_contain_text("asked and answered")
    assert page.url.endswith(f"/runs/{run['number']}?")


def test_hostile_values_are_text(operator: Watched, door: Reached) -> None:
    """Names, values, sources and errors with HTML in them are shown, never run."""
    charm = door.service.add(HOSTILE, cause="<script>alert(2)</script>", register=True)
    charm.wait_for("run.failed")
    page = operator.open(f"/charms/{charm.ref}")
    expect(page.locator("dl.state")).to_contain_text("<img src=x onerror=alert(1)>")
    expect(page.locator(".title-row")).to_contain_text("<script>alert(2)</script>")
    assert 0 == page.locator("main img, main script").count()
    page = operator.open("/?q=alert(2)")
    expect(page.locator(".list tbody tr")).to_contain_text("<img src=x onerror=alert(1)>")
    charm.post("disable")


def test_reading_works_without_scripts(
    browser_without_scripts: BrowserContext, door: Reached
) -> None:
    """With scripts off, lists, filters and pages read, and a switch of a form works."""
    charm = door.service.add(cause="plain", register=True)
    charm.wait_for("run.succeeded")
    code = door.service.request("POST", "/api/login-codes")["code"]
    page = browser_without_scripts.new_page()
    page.goto(f"{door.url}/login?code={code}")
    page.get_by_label("Search").fill("plain")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator(".list tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Disable: Scripted").click()
    expect(page.locator("h1")).to_contain_text("Disabled")
    assert charm.view()["enabled"] is False


@pytest.fixture
def browser_without_scripts(context: BrowserContext) -> Iterator[BrowserContext]:
    """The same browser with scripts off."""
    assert context.browser is not None
    with context.browser.new_context(java_script_enabled=False) as opened:
        yield opened


ELSEWHERE = """<!doctype html><meta charset="utf-8"><title>elsewhere</title>
<script type="module" src="{url}/static/ct-updater.js"></script>
<ct-updater state="{ref}" integration="evil"></ct-updater>
<form method="post" action="{url}/charms/{ref}/do/disable"><button id="form">x</button></form>
"""


@contextmanager
def page_elsewhere(html: str) -> Iterator[str]:
    """Serve a page from another origin."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_page_elsewhere_can_change_nothing(context: BrowserContext, door: Reached) -> None:
    """In a browser that is signed in, a foreign page registers nothing and toggles nothing."""
    charm = door.service.add(cause="not for others")
    polled = door.service.add(cause="polled, not for others", register=True)
    code = door.service.request("POST", "/api/login-codes")["code"]
    page = context.new_page()
    page.goto(f"{door.url}/login?code={code}")
    with page_elsewhere(ELSEWHERE.format(url=door.url, ref=charm.ref)) as address:
        page.goto(address)
        page.locator("ct-updater button").click()
        expect(page.locator("ct-updater button")).to_have_text("Registration Failed")
        expect(page.locator("ct-updater button")).to_have_text("Register Charm for Updates")
        body = f'{{"charmId": "{charm.charm_id}", "space": "x", "integration": "evil"}}'
        page.evaluate(
            "([url, body]) => fetch(url, {method: 'POST', mode: 'no-cors', body,"
            " credentials: 'include'})",
            [f"{door.url}/api/integrations/bg", body],
        )
    with page_elsewhere(ELSEWHERE.format(url=door.url, ref=polled.ref)) as address:
        page.goto(address)
        page.locator("#form").click()
        page.wait_for_url(f"{door.url}/**")
    assert (False, True) == (charm.view()["registered"], polled.view()["enabled"])


def listed(door: Reached) -> list[dict[str, object]]:
    """Give all charms of the service."""
    charms: list[dict[str, object]] = door.service.request("GET", "/api/charms?limit=1000")[
        "charms"
    ]
    return charms
