"""When charms run: what their class says, what the operator says, and what a run knows of it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.process.running import Refused, RunningCharm, Service

OSLO = ZoneInfo("Europe/Oslo")

SOURCE = """
from bg_charm_service import Charm

class Timed(Charm):
    {words}
    seen: list[list[float | None]] = []
    large: str = ""
    left: float = 0.0
    room: int = 0

    async def bg_updater(self, event: dict) -> None:
        told = self.context
        self.seen = [*self.seen, [told.scheduled_at, told.previous]][-5:]
        self.left, self.room = told.seconds_left, told.room

    async def fill(self, event: dict) -> None:
        self.large = "x" * 200_000
"""


PLAIN = SOURCE.replace("{words}", "pass")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that polls nothing for an hour, unless it is told to."""
    folder = tmp_path_factory.mktemp("schedules") / "data"
    with Service(folder, "--interval=3600", "--min-interval=1") as found:
        yield found


def add(service: Service, *words: str, register: bool = True) -> RunningCharm:
    """Add a charm whose class says this."""
    source = SOURCE.replace("{words}", "\n    ".join(words) or "pass")
    return service.add(source, register=register)


def schedule_of(charm: RunningCharm) -> dict[str, Any]:
    """Give how the service tells when a charm runs."""
    schedule: dict[str, Any] = charm.show()["schedule"]
    return schedule


def test_a_class_says_when_it_runs(service: Service) -> None:
    """In words, with the next five times, and it does not run before the first of them."""
    charm = add(service, 'cron = "0 8 * * mon-fri"', 'time_zone = "Europe/Oslo"')
    schedule = schedule_of(charm)
    assert schedule["words"] == "weekdays at 08:00, Europe/Oslo"
    assert (schedule["set_by"], schedule["cron"]) == ("class", "0 8 * * 1-5")
    walls = [datetime.fromtimestamp(each, OSLO) for each in schedule["next_times"]]
    assert len(walls) == 5
    assert walls == sorted(walls)
    assert {f"{wall:%H:%M:%S}" for wall in walls} == {"08:00:00"}
    assert all(wall.weekday() < 5 and wall.timestamp() > time.time() for wall in walls)
    view = charm.view()
    assert (view["schedule"], view["interval_seconds"]) == (schedule["words"], 0)
    assert view["next_due"] == schedule["next_times"][0]
    assert view["executions"] == 0


def test_a_run_knows_for_when_it_was_due_and_what_it_may_use(service: Service) -> None:
    """What one poll was due for is what the next one finds as the last."""
    charm = add(service, 'every = "1s"')
    charm.wait_for("run.succeeded", times=3)
    charm.post("disable")
    seen = charm.get("seen")
    assert seen[0][1] is None
    assert [each[1] for each in seen[1:]] == [each[0] for each in seen[:-1]]
    assert all(time.time() - 600 < each[0] <= time.time() for each in seen)
    assert 0 < charm.get("left") <= 30
    most = 16 * 1024 * 1024
    assert most - 1000 < charm.get("room") < most
    charm.post("enable")
    charm.perform("fill")
    charm.run()
    assert most - 201_000 < charm.get("room") < most - 200_000


def test_a_run_by_hand_has_no_time(service: Service) -> None:
    """It was due for none, and is none that counts as the last."""
    charm = add(service, 'cron = "0 0 1 1 *"')
    charm.run()
    charm.run()
    assert charm.get("seen") == [[None, None], [None, None]]


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (['cron = "*/90 * * * *"'], "scripted.py: Timed.cron: minute: a step of 90"),
        (['cron = "0 0 30 2 *"'], "Timed.cron: '0 0 30 2 *' names no date that ever comes"),
        (["every = 0"], "Timed.every: expected seconds, or a text such as 90s, 5m"),
        (["every = [5]"], "Timed.every: expected seconds, or a text such as"),
        (["every = 60", 'cron = "@daily"'], "Timed.every and cron are two schedules"),
        (
            ['time_zone = "Europe/Olso"'],
            "Timed.time_zone: there is no time zone 'Europe/Olso': did",
        ),
        (['quiet = "22-7"'], "Timed.quiet: expected hours such as 22:00-07:00"),
        (['missed = "always"'], "Timed.missed: expected once or skip"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_added(
    service: Service, words: list[str], refusal: str
) -> None:
    """With the file, the word, and what it may be; nothing was added."""
    before = len(service.request("GET", "/api/charms?limit=500")["charms"])
    with pytest.raises(Refused) as refused:
        add(service, *words)
    assert refusal in str(refused.value)
    assert refused.value.status == 400
    assert len(service.request("GET", "/api/charms?limit=500")["charms"]) == before


def test_the_operator_s_word_counts_until_it_is_taken_back(service: Service) -> None:
    """An expression against an interval of the class, an interval against both."""
    # Far from now: it is to run at once.
    hour = datetime.now(ZoneInfo("Europe/Oslo")) + timedelta(hours=12)
    begins, ends = f"{hour:%H}:00", f"{hour + timedelta(hours=1):%H}:00"
    quiet = f'quiet = "{begins}-{ends}"'
    charm = add(service, 'every = "2h"', quiet, 'time_zone = "Europe/Oslo"')
    words = f"every 2 h, not from {begins} to {ends}, Europe/Oslo"
    assert schedule_of(charm)["words"] == words
    charm.wait_for("run.succeeded")
    body = {"cron": "30 9 * * 6-7", "quiet": "none", "missed": "skip"}
    told = service.request("PUT", f"{charm.path}/schedule", body)
    assert told["words"] == "weekends at 09:30, Europe/Oslo, missed times are skipped"
    assert told["set_by"] == "operator"
    assert schedule_of(charm) == told
    service.request("PUT", f"{charm.path}/schedule", {"time_zone": "Asia/Tokyo"})
    assert schedule_of(charm)["words"].startswith("weekends at 09:30, Asia/Tokyo")
    service.request("PUT", f"{charm.path}/interval", {"seconds": 900})
    assert schedule_of(charm)["words"] == "every 15 min, missed times are skipped"
    back = service.request("DELETE", f"{charm.path}/schedule")
    assert back["words"] == words
    assert (back["set_by"], charm.view()["interval_seconds"]) == ("class", 7200)


def test_what_the_operator_cannot_mean_is_refused(service: Service) -> None:
    """Nothing was changed by it."""
    charm = add(service)
    before = schedule_of(charm)
    for body, words in [
        ({}, "Give a schedule such as '0 8 * * *'"),
        ({"cron": "often"}, "cron: expected five fields"),
        ({"cron": "@daily", "time_zone": "Mars"}, "time_zone: there is no time zone 'Mars'"),
        ({"quiet": "always"}, "quiet: expected hours such as 22:00-07:00, or none"),
        ({"missed": "never"}, "missed: expected once or skip"),
    ]:
        with pytest.raises(Refused, match=re.escape(words)):
            service.request("PUT", f"{charm.path}/schedule", body)
    after = schedule_of(charm)
    assert [each["words"] for each in (before, after)] == ["every 60 min", "every 60 min"]
    assert [each["set_by"] for each in (before, after)] == ["service", "service"]


def test_the_commands_tell_and_set_it(service: Service) -> None:
    """On a terminal as in the API."""
    charm = add(service, 'cron = "0 8 * * mon-fri"', 'time_zone = "Europe/Oslo"')
    shown = service.cli("charm", "schedule", charm.ref).stdout.splitlines()
    assert shown[0] == "Polled weekdays at 08:00, Europe/Oslo (by its class)."
    assert len(shown) == 6
    assert all(line.endswith(" 08:00:00") for line in shown[1:])
    told = service.cli("charm", "schedule", charm.ref, "@hourly", "--time-zone=UTC").stdout
    assert told.startswith("Polled at the start of every hour, UTC (by the operator).")
    facts = service.cli("charm", "show", charm.ref).stdout
    assert "at the start of every hour, UTC (by the operator)" in " ".join(facts.split())
    refused = service.cli("charm", "schedule", charm.ref, "--reset", "--missed=skip")
    assert refused.returncode == 2
    assert "--reset takes back all that was said" in refused.stderr
    back = service.cli("charm", "schedule", charm.ref, "--reset").stdout
    assert back.startswith("Polled weekdays at 08:00, Europe/Oslo (by its class).")
    wrong = service.cli("charm", "schedule", charm.ref, "0 8 * *")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert "expected five fields" in wrong.stderr


def test_new_source_changes_when_a_charm_runs(service: Service) -> None:
    """What the class said before does not count any more."""
    charm = add(service, 'cron = "0 8 * * *"')
    updated = SOURCE.replace("{words}", 'cron = "0 9 * * *"')
    assert charm.update(updated)["applied"]
    schedule = schedule_of(charm)
    assert schedule["words"] == "every day at 09:00, UTC"
    assert {each % 86400 for each in schedule["next_times"]} == {9 * 3600}


def test_new_source_takes_back_the_next_run_that_the_old_one_named(service: Service) -> None:
    """With another schedule it runs by that, and waits for nothing any more."""
    source = SOURCE.replace("{words}", "pass")
    goes_on = source.replace("told = ", "self.again(after=86400)\n        told = ")
    charm = service.add(goes_on, register=True)
    charm.wait_for("run.succeeded")
    assert charm.view()["waiting"]["kind"] == "again"
    assert charm.update(source.replace("pass", 'every = "30m"'))["applied"]
    charm.wait_for("run.succeeded", times=2)
    view = charm.view()
    assert view["waiting"] is None
    assert view["next_due"] - time.time() < 3600


def test_a_class_that_asks_for_too_much_is_told(tmp_path: Path) -> None:
    """It runs as often as the operator allows; the page and the answer to `charm add` say so."""
    with Service(tmp_path / "data", "--interval=3600", "--min-interval=600") as service:
        source = SOURCE.replace("{words}", 'every = "1m"')
        body = {"source": source, "space": "test", "file": "often.py", "register": True}
        added = service.request("POST", "/api/charms", body)
        sentence = "It asks to run every 60 s, and the operator allows 10 min: --min-interval."
        assert added["unmet"] == [sentence]
        schedule = service.request("GET", f"/api/charms/{added['space']}/{added['charm_id']}")[
            "schedule"
        ]
        assert (schedule["words"], schedule["unmet"]) == ("every 10 min", [sentence])


def test_times_survive_a_kill(tmp_path: Path) -> None:
    """Of the class and of the operator."""
    data = tmp_path / "data"
    with Service(data, "--interval=3600") as first:
        of_class = add(first, 'cron = "0 8 * * *"')
        of_operator = add(first)
        first.request("PUT", f"{of_operator.path}/schedule", {"cron": "15 10 * * *"})
        due = [charm.view()["next_due"] for charm in (of_class, of_operator)]
        first.kill()
    with Service(data, "--interval=3600") as second:
        views = [second.request("GET", charm.path)["charm"] for charm in (of_class, of_operator)]
        assert [view["next_due"] for view in views] == due
        assert views[0]["executions"] == 0


ZONES = """
import zoneinfo
from datetime import datetime, timedelta
from bg_charm_service import Charm

class Zones(Charm):
    offsets: list[float] = []

    async def bg_updater(self, event: dict) -> None:
        summer = datetime(2026, 7, 1)
        for paths in (zoneinfo.TZPATH, ()):
            zoneinfo.reset_tzpath(to=paths)
            zone = zoneinfo.ZoneInfo.no_cache("Europe/Oslo")
            self.offsets.append(summer.replace(tzinfo=zone).utcoffset().total_seconds())
"""


def test_a_charm_can_read_time_zones_behind_its_walls(service: Service) -> None:
    """Those of the machine, and those that come with the service, where it has none."""
    charm = service.add(ZONES)
    assert charm.run()["status"] == "success"
    assert charm.get("offsets") == [7200, 7200]


def test_what_is_said_while_no_service_runs_counts_for_the_next_one(tmp_path: Path) -> None:
    """The charm is not polled once more by what counted before."""
    data = tmp_path / "data"
    with Service(data, "--interval=3600") as first:
        charm = add(first)
        charm.wait_for("run.succeeded")
    told = first.cli("charm", "schedule", charm.ref, "0 8 1 1 *").stdout
    assert told.startswith("Polled at 08:00 on January 1, UTC (by the operator).")
    with Service(data, "--interval=3600") as second:
        view = second.request("GET", charm.path)["charm"]
        assert view["executions"] == 1
        due = datetime.fromtimestamp(view["next_due"], ZoneInfo("UTC"))
        assert f"{due:%m-%d %H:%M:%S}" == "01-01 08:00:00"


def test_an_export_keeps_what_the_operator_says(service: Service) -> None:
    """A schedule or an interval goes along, and counts from the import on: nothing runs at once."""
    words = {"cron": "0 8 * * *", "time_zone": "Europe/Oslo", "quiet": "22:00-07:00"}
    timed, spread = (service.add(PLAIN, cause=cause) for cause in "ab")
    said = {**words, "missed": "skip"}
    service.request("PUT", f"{timed.path}/schedule", said)
    service.request("PUT", f"{spread.path}/interval", {"seconds": 7200})
    exported = [json.loads(line) for line in service.cli("charm", "export").stdout.splitlines()]
    lines = {line["cause"]: line for line in exported if line["cause"] in ("a", "b")}
    assert (said, None) == (lines["a"]["schedule"], lines["a"].get("interval"))
    assert (7200, None) == (lines["b"]["interval"], lines["b"].get("schedule"))

    before = {charm.charm_id: schedule_of(charm) for charm in (timed, spread)}
    for charm in (timed, spread):
        charm.remove()
    added = service.request(
        "POST", "/api/charms/import", [{**line, "register": True} for line in lines.values()]
    )
    assert [True, True] == [one["charm"]["created"] for one in added]
    for charm in (timed, spread):
        shown = schedule_of(charm)
        assert "operator" == shown["set_by"]
        assert {**before[charm.charm_id], "next_times": []} == {**shown, "next_times": []}
    assert [] == timed.runs()
    assert re.search(r"T08:00:00\+0[12]:00$", next_of(timed))


def next_of(charm: RunningCharm) -> str:
    """The next time of a charm, by the clocks of Oslo."""
    return datetime.fromtimestamp(charm.view()["next_due"], OSLO).isoformat(timespec="seconds")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"schedule": {"cron": "0 8 * *"}}, "cron: "),
        ({"schedule": {"cron": "@daily"}, "interval": 60}, "two schedules"),
        ({"interval": 0.5}, "between 1 second and 366 days"),
    ],
)
def test_an_import_with_a_schedule_that_cannot_be_adds_nothing(
    service: Service, wrong: dict[str, Any], said: str
) -> None:
    """The line is refused with the word, as the commands refuse it."""
    line = {"source": PLAIN, "space": "wrong", "cause": "wrong", **wrong}
    (answer,) = service.request("POST", "/api/charms/import", [line])
    assert said in answer["error"]
    causes = [charm["cause"] for charm in service.request("GET", "/api/charms")["charms"]]
    assert "wrong" not in causes
