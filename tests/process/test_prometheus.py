"""A real Prometheus and a real probe watch a service, which becomes unhealthy and recovers.

Both are Debian's; `.ci/prometheus` installs them, and `.ci/run` does that first. The scrape is that
of docs/operating.md and the alerts are those of docs/alerts.yml, but for three things: addresses,
intervals of half a second, and no alert waits (`for: 0s`). How long they wait is tried by promtool,
which needs no time for it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.process.program import COUNTER, wait_until
from tests.process.reaching import Reached, reached
from tests.process.running import PATIENCE_SECONDS
from tests.unit.pages import ROOT, section

ALERTS = ROOT / "docs" / "alerts.yml"
ALERT_CASES = ROOT / "tests" / "fixtures" / "prometheus" / "alerts.test.yml"
DASHBOARD = ROOT / "docs" / "grafana.json"
PROBE = Path("/usr/lib/nagios/plugins/check_http")

#: How often a test's Prometheus scrapes, and looks at its rules.
INTERVAL = "500ms"

WAITING = """\
from bg_charm_service import Charm, Wait

class Waiting(Charm):
    def bg_updater(self, event: dict) -> None:
        raise Wait(1, "the quota of this second is used up")
"""

#: What Grafana puts in the place of its variables.
GRAFANA_VARIABLES = {"$__rate_interval": "1m", "$instance": ".*"}


def needed(program: str) -> str:
    """Give the path of a program that these tests need; skip without it, or fail where CI is."""
    found = shutil.which(program)
    if found is None:
        missing = f"{program} is missing: .ci/prometheus installs it"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@dataclass(frozen=True)
class Watched:
    """A service, and a Prometheus that scrapes it."""

    door: Reached
    prometheus: str

    def ask(self, path: str, **query: str) -> Any:
        """Ask Prometheus something."""
        url = f"{self.prometheus}/api/v1/{path}"
        answer = httpx2.get(url, params=query, timeout=PATIENCE_SECONDS).json()
        assert "success" == answer["status"], (query, answer)
        return answer["data"]

    def values(self, expression: str) -> list[float]:
        """What an expression gives now."""
        return [float(one["value"][1]) for one in self.ask("query", query=expression)["result"]]

    def firing(self) -> set[str]:
        """The alerts that fire; those of a service that has no backup are left out."""
        alerts = self.ask("alerts")["alerts"]
        names = {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}
        return names - {"BgCharmBackupOld"}

    def probe(self) -> tuple[int, str]:
        """What a monitor of addresses says of the service: its exit code and its line."""
        host, _, port = self.door.url.removeprefix("http://").partition(":")
        done = subprocess.run(
            [needed(str(PROBE)), "-H", host, "-p", port, "-u", "/readyz"],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A service with charms that work, fail and wait, scraped with a token."""
    program, folder = needed("prometheus"), tmp_path_factory.mktemp("prometheus")
    with reached(folder, "--interval=1", "--failures=1000000", "--max-retries=0") as door:
        for cause, error in (("works", ""), ("fails", "always")):
            door.service.add(
                COUNTER,
                cause=cause,
                values={"error": error},
                register=True,
                integration="my-test",
            )
        door.service.add(WAITING, cause="waits", register=True, integration="my-test")
        token = folder / "token"
        token.write_text(door.token("prometheus", read_only=True))
        (folder / "alerts.yml").write_text(re.sub(r"\bfor: \w+", "for: 0s", ALERTS.read_text()))
        config = folder / "prometheus.yml"
        config.write_text(configuration(door, token, folder / "alerts.yml"))
        with running(program, config, folder) as url:
            yield Watched(door, url)


def configuration(door: Reached, token: Path, alerts: Path) -> str:
    """The configuration of the guide, for this service."""
    (block,) = re.findall(
        r"^```yaml\n(.*?)^```", section("docs/operating.md", "Monitoring"), re.DOTALL | re.M
    )
    for told, here in {
        "localhost:8000": door.url.removeprefix("http://"),
        "/etc/prometheus/bg-charm-service.token": str(token),
        "/etc/prometheus/bg-charm-service.yml": str(alerts),
    }.items():
        assert told in block
        block = block.replace(told, here)
    return f"global:\n  scrape_interval: {INTERVAL}\n  evaluation_interval: {INTERVAL}\n{block}"


@contextmanager
def running(program: str, config: Path, folder: Path) -> Iterator[str]:
    """Run Prometheus; gives its address."""
    log = folder / "prometheus.log"
    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    with open(log, "wb") as output, subprocess.Popen(command, stderr=output) as process:
        try:

            def address() -> str:
                assert process.poll() is None, log.read_text()
                found = re.search(r'msg="Listening on" address=(\S+)', log.read_text())
                return f"http://{found[1]}" if found else ""

            yield wait_until(address)
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE_SECONDS)
            finally:
                process.kill()


def test_a_scraper_and_a_monitor_see_it_fail_and_recover(watched: Watched) -> None:
    """The database's file is moved away and put back: alerts fire and clear, the probe is critical
    and well again, `status` says 4 and 0.
    """
    service = watched.door.service
    wait_until(lambda: watched.values("bg_charm_healthy") == [1])
    assert not {"BgCharmUnhealthy", "BgCharmNotReady"} & watched.firing()
    assert 0 == watched.probe()[0]
    assert 0 == service.cli("status").returncode
    database = service.data_dir / "bg-charm-service.db"
    database.rename(service.data_dir / "elsewhere")
    wait_until(lambda: {"BgCharmUnhealthy", "BgCharmNotReady"} <= watched.firing())
    code, line = watched.probe()
    assert (2, True) == (code, "503" in line), line
    assert 4 == service.cli("status").returncode
    assert [1] == watched.values('bg_charm_problem{kind="storage"}')
    (service.data_dir / "elsewhere").rename(database)
    wait_until(lambda: not {"BgCharmUnhealthy", "BgCharmNotReady"} & watched.firing())
    wait_until(lambda: watched.values("bg_charm_healthy") == [1])
    code, line = watched.probe()
    assert (0, True) == (code, "200 OK" in line), line
    assert 0 == service.cli("status").returncode


def test_the_scrape_comes_with_its_token(watched: Watched) -> None:
    """Prometheus sends what is in the file, and the service knows whose it is."""
    wait_until(lambda: watched.values('up{job="bg-charm-service"}') == [1])
    tokens = {one["name"]: one for one in watched.door.service.request("GET", "/api/tokens")}
    assert tokens["prometheus"]["last_used_at"] > 0


def test_every_query_of_the_dashboard_gives_something(watched: Watched) -> None:
    """Each panel shows data of a service that runs charms, some of which fail or wait."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(queries) > 20
    for query in queries:
        for name, value in GRAFANA_VARIABLES.items():
            query = query.replace(name, value)
        assert "$" not in query
        assert wait_until(lambda query=query: watched.values(query)), query


def test_every_alert_asks_for_something_that_is_there(watched: Watched) -> None:
    """No rule is broken, and each metric that one names is exported."""
    (group,) = watched.ask("rules")["groups"]
    wait_until(lambda: "unknown" not in {rule["health"] for rule in rules(watched)})
    assert {"ok"} == {rule["health"] for rule in rules(watched)}
    named = set(re.findall(r"\b(?:bg_charm|process)_\w+", ALERTS.read_text()))
    assert len(group["rules"]) >= 11
    assert set() == named - set(watched.ask("label/__name__/values"))


def rules(watched: Watched) -> list[dict[str, Any]]:
    """The rules as Prometheus has them."""
    (group,) = watched.ask("rules")["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def test_the_alerts_do_what_they_say(tmp_path: Path) -> None:
    """By promtool: they are well written, each fires for its cause after its time, and none for a
    service that is well.
    """
    promtool = needed("promtool")
    for file in (ALERTS, ALERT_CASES):
        shutil.copy(file, tmp_path)
    for command in (["check", "rules", ALERTS.name], ["test", "rules", ALERT_CASES.name]):
        done = subprocess.run(
            [promtool, *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert 0 == done.returncode, done.stdout + done.stderr
    alerts = set(re.findall(r"- alert: (\w+)", ALERTS.read_text()))
    silent = set(re.findall(r"{eval_time: 50m, alertname: (\w+)}", ALERT_CASES.read_text()))
    firing = set(
        re.findall(r'alertname="(\w+)"|alertname: (\w+)\n +exp_alerts', ALERT_CASES.read_text())
    )
    assert alerts == silent == {one or other for one, other in firing}
